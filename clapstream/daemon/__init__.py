"""The daemon: sources, model and sinks brought together.

`build` makes the parts that the settings ask for and `daemon` starts and stops them. `pipeline` runs one source;
each unbroken stream of it is an `open_stream`. `sources` and `running_sinks` run all of them.
"""
