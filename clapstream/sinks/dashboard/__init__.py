"""The dashboard on a terminal: `sink` takes updates, `state` keeps what is shown, `layout` puts its parts together.

`drawing_thread` draws, so that a terminal that blocks costs no sound.
"""
