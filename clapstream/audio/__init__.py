"""Sources of sound, and what turns their blocks into windows.

A source (in `microphone`, `files`, `stream`, `pcm`) gives `Block`s of mono sound at 48 kHz; a `Windower` cuts them
into windows for the model, a `StreamClock` tells when they were heard. `live` is what sources in real time share.
"""
