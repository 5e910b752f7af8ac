"""Network streams: RTSP, HTTP and whatever else FFmpeg's libraries read.

`stream` is the source; a thread (`stream_reader`) decodes the stream (`decoding`), places its sound by time stamps
(`stream_section`, `timestamps`) and passes blocks to the event loop (`handover`).
"""
