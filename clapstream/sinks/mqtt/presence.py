"""Retained messages that the node is online and which installation uses its name (no input or output here)."""

from __future__ import annotations

from collections.abc import Callable

from clapstream.sinks.mqtt import payloads
from clapstream.sinks.mqtt.message import Message
from clapstream.sinks.mqtt.owner import Owner
from clapstream.sinks.mqtt.topics import Topics


class Presence:
    """The status and the owner record of a node while it is connected.

    `status_due` tells that `online` is to be published. `taken_by` is the other installation that claimed the name
    meanwhile. `clock` gives seconds of a monotonic clock.
    """

    def __init__(
        self, topics: Topics, owner: Owner, *, heartbeat_seconds: float, clock: Callable[[], float]
    ) -> None:
        self._topics = topics
        self._owner = owner
        self._heartbeat_seconds = heartbeat_seconds
        self._clock = clock
        self._heartbeat_at = 0.0
        self._claim_returned = False
        self.status_due = False
        self.taken_by: Owner | None = None

    def on_connect(self) -> None:
        """Forget what the broker sent on the connection before."""
        self._claim_returned = False
        self.taken_by = None

    def claim(self, discovery: tuple[str, ...]) -> Message:
        """The owner record, which claims the name and is the heartbeat; `discovery` are the topics it names."""
        self._heartbeat_at = self._clock() + self._heartbeat_seconds
        owner = Owner(self._owner.id, self._owner.host, discovery)
        return Message(self._topics.owner, owner.payload(), retain=True)

    def claim_now(self) -> None:
        """The owner record is missing or out of date: the heartbeat is due."""
        self._heartbeat_at = 0.0

    def heartbeat_in_seconds(self) -> float:
        """How long until the next heartbeat; not above 0 once it is due."""
        return self._heartbeat_at - self._clock()

    def take_status(self) -> list[Message]:
        """`online`, if it is due."""
        if not self.status_due:
            return []
        self.status_due = False
        return [Message(self._topics.status, payloads.ONLINE, retain=True)]

    def offline(self) -> Message:
        """What is published last."""
        return Message(self._topics.status, payloads.OFFLINE, retain=True)

    def receive_status(self, payload: bytes) -> None:
        """A will that the broker publishes late must not outlast this connection: it is corrected."""
        self.status_due = self.status_due or payload != payloads.ONLINE.encode()

    def receive_owner(self, payload: bytes) -> None:
        """Of two installations that claim a name at once, the one whose record stays has it."""
        owner = Owner.read(self._topics, payload)
        if owner is not None and owner.id == self._owner.id:
            self._claim_returned = True
        elif owner is not None and self._claim_returned:
            self.taken_by = owner
        elif self._claim_returned:
            self.claim_now()  # somebody deleted or damaged it
