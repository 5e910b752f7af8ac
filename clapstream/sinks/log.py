"""Writes updates to the log: events and changes of state at INFO, losses at WARNING, each window at DEBUG."""

from __future__ import annotations

import asyncio
import logging

from clapstream.updates import (
    ENDED,
    STOPPED,
    EventEnded,
    EventStarted,
    SourceAvailability,
    SourceDiagnostics,
    SourceLabels,
    SourceListening,
    Update,
    WindowHeard,
)

_logger = logging.getLogger(__name__)

TOP_LABELS = 3
"""How many labels the line of a window lists."""


class LogSink:
    """Logs updates. A loss of audio is logged when it begins and when it ends, not each time it is counted."""

    def __init__(self) -> None:
        self._online: dict[str, bool] = {}
        self._listening: dict[str, bool] = {}
        self._dropped_blocks: dict[str, int] = {}
        self._losing: set[str] = set()
        self._closing = asyncio.Event()

    def offer(self, update: Update) -> None:
        """Log one update."""
        match update:
            case WindowHeard():
                _log_window(update)
            case EventStarted(event):
                _logger.info("%s: %s started (score %.2f)", event.source.name, event.label.name, event.score)
            case EventEnded(event):
                _logger.info(
                    "%s: %s ended after %.1f s (peak score %.2f)",
                    event.source.name,
                    event.label.name,
                    event.duration_seconds or 0.0,
                    event.peak_score,
                )
            case SourceAvailability():
                self._log_availability(update)
            case SourceListening():
                self._log_listening(update)
            case SourceDiagnostics():
                self._log_dropped_blocks(update)
            case SourceLabels(source, labels):
                _logger.debug("%s: labels %s", source.name, ", ".join(label.name for label in labels))

    def close(self) -> None:
        """Make `run` return."""
        self._closing.set()

    async def run(self) -> None:
        """Wait for `close`; there is nothing else to do."""
        await self._closing.wait()

    def _log_listening(self, update: SourceListening) -> None:
        """Log changes, and sources that are off from the start."""
        if self._listening.get(update.source.name, True) is not update.listening:
            _logger.info(
                "source %s: listening switched %s", update.source.name, "on" if update.listening else "off"
            )
        self._listening[update.source.name] = update.listening

    def _log_availability(self, update: SourceAvailability) -> None:
        """Log changes only: a source that cannot reconnect reports each attempt."""
        if update.failed:
            self._online[update.source.name] = False
            _logger.error("source %s: failed (%s); not retrying", update.source.name, update.reason)
            return
        if self._online.get(update.source.name) is update.online:
            return
        self._online[update.source.name] = update.online
        if update.online:
            _logger.info("source %s: online", update.source.name)
        elif update.reason in (ENDED, STOPPED):
            _logger.info("source %s: offline (%s)", update.source.name, update.reason)
        else:
            _logger.warning(
                "source %s: offline (%s); retrying", update.source.name, update.reason or "unknown reason"
            )

    def _log_dropped_blocks(self, update: SourceDiagnostics) -> None:
        """Log lost audio; skipped windows and muted microphones are logged where they are detected."""
        source = update.source.name
        dropped = update.dropped_blocks - self._dropped_blocks.get(source, 0)
        self._dropped_blocks[source] = update.dropped_blocks
        if dropped > 0 and source not in self._losing:
            self._losing.add(source)
            _logger.warning("source %s: audio lost (%d blocks of 0.1 s)", source, dropped)
        elif dropped == 0 and source in self._losing:
            self._losing.discard(source)
            _logger.info("source %s: no more audio lost (%d blocks in total)", source, update.dropped_blocks)


def _log_window(update: WindowHeard) -> None:
    if not _logger.isEnabledFor(logging.DEBUG):
        return
    top = ", ".join(
        f"{item.label.name} {item.score:.2f}{' (on)' if item.active else ''}" for item in update.scores[:TOP_LABELS]
    )
    how = "gated" if update.gated else f"{update.inference_ms:.0f} ms"
    _logger.debug("%s: %.1f dBFS, %s: %s", update.source.name, update.level_dbfs, how, top)
