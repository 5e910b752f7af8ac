"""What happens as log lines: events and lifecycle at INFO, losses at WARNING, every window at DEBUG."""

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
"""How many labels a window's line names."""


class LogSink:
    """Logs updates. Losses are told when they begin and when they are over, not at every count."""

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
        """Let `run` return."""
        self._closing.set()

    async def run(self) -> None:
        """Wait for `close`: logging has no work of its own."""
        await self._closing.wait()

    def _log_listening(self, update: SourceListening) -> None:
        """A change only, or a source that starts switched off."""
        if self._listening.get(update.source.name, True) is not update.listening:
            _logger.info(
                "source %s: listening is switched %s", update.source.name, "on" if update.listening else "off"
            )
        self._listening[update.source.name] = update.listening

    def _log_availability(self, update: SourceAvailability) -> None:
        """A change only: a source that keeps failing reports it again and again."""
        if update.failed:
            self._online[update.source.name] = False
            _logger.error("source %s: failed: %s", update.source.name, update.reason)
            return
        if self._online.get(update.source.name) is update.online:
            return
        self._online[update.source.name] = update.online
        if update.online:
            _logger.info("source %s: there is sound", update.source.name)
        elif update.reason in (ENDED, STOPPED):
            _logger.info("source %s: %s", update.source.name, update.reason)
        else:
            _logger.warning("source %s: lost: %s", update.source.name, update.reason or "no reason known")

    def _log_dropped_blocks(self, update: SourceDiagnostics) -> None:
        """Skipped windows and muted microphones are logged where they are noticed."""
        source = update.source.name
        dropped = update.dropped_blocks - self._dropped_blocks.get(source, 0)
        self._dropped_blocks[source] = update.dropped_blocks
        if dropped > 0 and source not in self._losing:
            self._losing.add(source)
            _logger.warning("source %s: audio lost: %d blocks of 0.1 s", source, dropped)
        elif dropped == 0 and source in self._losing:
            self._losing.discard(source)
            _logger.info("source %s: no more audio lost; %d blocks since the start", source, update.dropped_blocks)


def _log_window(update: WindowHeard) -> None:
    if not _logger.isEnabledFor(logging.DEBUG):
        return
    top = ", ".join(
        f"{item.label.name} {item.score:.2f}{' (on)' if item.active else ''}" for item in update.scores[:TOP_LABELS]
    )
    how = "gated" if update.gated else f"{update.inference_ms:.0f} ms"
    _logger.debug("%s: %.1f dBFS, %s: %s", update.source.name, update.level_dbfs, how, top)
