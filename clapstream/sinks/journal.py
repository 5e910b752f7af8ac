"""What happens as log lines: events and lifecycle at INFO, losses at WARNING, every window at DEBUG."""

from __future__ import annotations

import asyncio
import logging

from clapstream.updates import (
    EventEnded,
    EventStarted,
    LabelsChanged,
    SourceAvailability,
    SourceDiagnostics,
    SourceListening,
    Update,
    WindowHeard,
)

_logger = logging.getLogger(__name__)

TOP_LABELS = 3
"""How many labels a window's line names."""


class JournalSink:
    """Logs updates. Losses are told when they begin and when they are over, not at every count."""

    def __init__(self) -> None:
        self._online: dict[str, bool] = {}
        self._diagnostics: dict[str, SourceDiagnostics] = {}
        self._losing: set[str] = set()
        self._closing = asyncio.Event()

    def offer(self, update: Update) -> None:
        """Log one update."""
        match update:
            case WindowHeard():
                _log_window(update)
            case EventStarted(event):
                _logger.info("%s: %s started (score %.2f)", event.source, event.label.name, event.score)
            case EventEnded(event):
                _logger.info(
                    "%s: %s ended after %.1f s (peak score %.2f)",
                    event.source,
                    event.label.name,
                    event.duration_seconds or 0.0,
                    event.peak_score,
                )
            case SourceAvailability():
                self._log_availability(update)
            case SourceListening(source, listening):
                _logger.info("%s: listening is switched %s", source, "on" if listening else "off")
            case SourceDiagnostics():
                self._log_diagnostics(update)
            case LabelsChanged(labels):
                _logger.info("listening for %d labels: %s", len(labels), ", ".join(label.name for label in labels))

    def close(self) -> None:
        """Let `run` return."""
        self._closing.set()

    async def run(self) -> None:
        """Wait for `close`: logging has no work of its own."""
        await self._closing.wait()

    def _log_availability(self, update: SourceAvailability) -> None:
        """A change only: a source that keeps failing reports it again and again."""
        if self._online.get(update.source) is update.online:
            return
        self._online[update.source] = update.online
        if update.online:
            _logger.info("%s: the source is there", update.source)
        else:
            _logger.warning("%s: the source is lost: %s", update.source, update.reason or "no reason known")

    def _log_diagnostics(self, update: SourceDiagnostics) -> None:
        source = update.source
        before = self._diagnostics.get(source, SourceDiagnostics(source, 0.0, 0, 0, 0, 0))
        self._diagnostics[source] = update
        if update.silent and not before.silent:
            _logger.warning("%s: only digital silence for a minute; is the microphone muted?", source)
        elif before.silent and not update.silent:
            _logger.info("%s: there is sound again", source)
        blocks = update.dropped_blocks - before.dropped_blocks
        windows = update.skipped_windows - before.skipped_windows
        losing = blocks > 0 or windows > 0
        if losing and source not in self._losing:
            _logger.warning("%s: falling behind: %d blocks dropped, %d windows skipped", source, blocks, windows)
            self._losing.add(source)
        elif not losing and source in self._losing:
            _logger.info(
                "%s: keeping up again; since the start %d blocks were dropped, %d windows skipped",
                source,
                update.dropped_blocks,
                update.skipped_windows,
            )
            self._losing.discard(source)


def _log_window(update: WindowHeard) -> None:
    if not _logger.isEnabledFor(logging.DEBUG):
        return
    top = ", ".join(
        f"{item.label.name} {item.score:.2f}{' (on)' if item.active else ''}" for item in update.scores[:TOP_LABELS]
    )
    _logger.debug("%s: %.1f dBFS, %.0f ms: %s", update.source, update.level_dbfs, update.inference_ms, top)
