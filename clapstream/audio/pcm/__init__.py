"""Raw 16-bit samples on standard input.

`pcm` reads as fast as its consumer takes blocks, `live_pcm` in real time; both read the pipe through `pcm_input`.
"""
