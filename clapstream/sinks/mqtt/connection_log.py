"""Log lines about the connection to the broker: each reason of an outage once, and only the first as a warning."""

from __future__ import annotations

import logging

from clapstream.config import MqttSettings
from clapstream.sinks.mqtt.owner import Owner

_logger = logging.getLogger(__name__)


class ConnectionLog:
    """Logs what happens between the node named `node` and its broker."""

    def __init__(self, settings: MqttSettings, node: str) -> None:
        self._settings = settings
        self._address = settings.address
        self._node = node
        self._logged_reasons: set[str] = set()

    def starting(self) -> None:
        """Warn if the configuration is insecure."""
        if self._settings.tls is not None and self._settings.tls.insecure_skip_host_check:
            _logger.warning(
                "mqtt.tls.insecure_skip_host_check is on: the broker's certificate may be for any name; "
                "anyone with a certificate of the same authority can read the password and all messages"
            )

    def connected(self, *, retains: bool) -> None:
        """The broker accepted the connection; `retains`: whether it retains messages."""
        _logger.info("connected to broker at %s", self._address)
        if not retains:
            _logger.warning(
                "broker at %s does not retain messages: Home Assistant knows no states after its restart",
                self._address,
            )

    def connection_was_stable(self) -> None:
        """The next outage is a new one, and its reasons are logged again."""
        self._logged_reasons.clear()

    def disconnected(self, reason: str, *, was_connected: bool) -> None:
        """The connection, or the attempt to connect, failed."""
        if reason in self._logged_reasons:
            return
        level = logging.INFO if self._logged_reasons else logging.WARNING
        self._logged_reasons.add(reason)
        what = "lost the connection to broker at" if was_connected else "cannot connect to broker at"
        _logger.log(level, "%s %s (%s); retrying", what, self._address, reason)

    def closed_too_late(self) -> None:
        """What was left to publish at the end was not published."""
        _logger.warning("broker at %s did not accept the last messages in time", self._address)

    def name_in_use(self, owner: Owner | None) -> None:
        """Another installation uses the node's name."""
        host = f" on host {owner.host}" if owner is not None and owner.host else ""
        _logger.warning(
            "node name %s is in use by another clapstream%s: nothing is published; give each its own `node`",
            self._node,
            host,
        )

    def name_taken_over(self, owner: Owner) -> None:
        """The installation that used the node's name is gone."""
        _logger.warning(
            "node name %s was used by another installation of clapstream (host %s), which is offline: "
            "taking it over",
            self._node,
            owner.host or "unknown",
        )

    def unconfigured_sources(self, detections: dict[str, int]) -> None:
        """The spool has detections of sources that are not configured any more: how many, by source."""
        if detections:
            _logger.warning(
                "spool: %d detections are not published: their sources are not configured any more (%s)",
                sum(detections.values()),
                ", ".join(sorted(detections)),
            )
