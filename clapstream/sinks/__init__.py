"""Where updates go: an MQTT broker and Home Assistant (`mqtt`), a terminal (`dashboard`), the log (`log`)."""
