"""Network streams: RTSP, HTTP and others that FFmpeg's libraries read.

`stream` is the source; its thread (`stream_reader`) opens it (`opening`), decodes it (`decoding`), places the
sound by its time stamps (`stream_section`, `timestamps`) and passes blocks to the event loop (`handover`).
"""
