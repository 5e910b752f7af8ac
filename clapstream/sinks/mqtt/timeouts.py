"""How long the MQTT sink waits for the broker, and how often it repeats itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """All in seconds."""

    connect: float = 3.0
    """For a TCP connection, and again for TLS."""
    reply: float = 10.0
    first_retry: float = 1.0
    longest_retry: float = 60.0
    steady: float = 10.0
    """A connection that lasted this long was a good one: after it, retries start anew."""
    retained: float = 0.5
    """For our own retained messages after subscribing; there are none before the first start."""
    flush: float = 2.0
    """For what is still to be published when the sink is closed."""
    disk: float = 1.0
    """For the spool's file to follow; the disk may hang."""
    farewell: float = 0.3
    """For `offline`, and again for DISCONNECT."""
    refused_retry: float = 300.0
    """Until a publication that the broker refused is tried again on the same connection."""
    disconnected_retry: float = 3_600.0
    """Until a publication that the broker answered by disconnecting is tried again."""
    diagnostics: float = 30.0
    """Between two publications of the same counters or the same level."""
    heartbeat: float = 60.0
    """Between two publications of the owner record of a node."""
    owner_silence: float = 180.0
    """An owner whose heartbeat did not come for this long is gone, whatever its retained status says."""
    takeover: float = 30.0
    """An owner that went offline may be restarting: this long nobody takes over."""
