"""Microphones, each recorded by a process of its own.

`microphone` is the source; it starts the process (`capture_process`, `capture`) and reads its `capture_messages`.
The process finds the input (`devices`) and records from PulseAudio or PipeWire (`server_recorder`), or through
`portaudio`.
"""
