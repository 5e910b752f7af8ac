"""MQTT and Home Assistant: the sink, its connection, and detections that wait on disk for the broker.

`sink` keeps a connection, `session` decides what is published, `outbox` and `spool` hold it. `topics` and
`payloads` are the format of messages, `discovery` that of Home Assistant's, `commands` what comes in.
"""
