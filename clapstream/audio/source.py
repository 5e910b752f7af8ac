"""What every source of sound has in common. (The protocol that sources follow lives with its consumer.)"""

from __future__ import annotations

BLOCK_SECONDS = 0.1
"""How much sound a source hands over at a time."""


class SourceError(Exception):
    """A source that can never work: the message says which, what is wrong and what to do, for a person to read.

    It takes this source offline and leaves the others alone. What may heal by itself (a device, a network) is no
    SourceError but a `StreamBrokenError`, which is retried.
    """
