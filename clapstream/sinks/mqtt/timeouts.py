"""How long the MQTT sink waits for the broker, and how often it repeats itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """All in seconds."""

    connect: float = 3.0
    """For connecting over TCP, and again for TLS."""
    reply: float = 10.0
    first_retry: float = 1.0
    longest_retry: float = 60.0
    stable: float = 10.0
    """After a connection that lasted this long, retries start from the first delay."""
    retained: float = 0.5
    """For our own retained messages after subscribing; there are none before the first start."""
    flush: float = 2.0
    """For what is still to be published when the sink is closed."""
    disk: float = 1.0
    """For the spool's file to be written; the disk may hang."""
    disconnect: float = 0.3
    """For publishing `offline`, and again for DISCONNECT."""
    refused_retry: float = 300.0
    """Before a message that the broker refused is tried again on the same connection."""
    disconnected_retry: float = 3_600.0
    """Before a message that made the broker disconnect is tried again."""
    diagnostics: float = 30.0
    """Between two publications of the same counters or the same level."""
    heartbeat: float = 60.0
    """Between two publications of the owner record of a node."""
    owner_silence: float = 180.0
    """An owner without a heartbeat for this long is gone, even if its retained status is online."""
    takeover: float = 30.0
    """An owner that went offline may be restarting: its name is not taken over before this."""
