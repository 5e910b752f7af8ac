"""The exit codes of every command."""

from __future__ import annotations

OK = 0
"""The command is done, or a signal stopped it."""

FAILURE = 1
"""It failed while it ran; a service manager starts the daemon again."""

USAGE = 2
"""An argument or the configuration is wrong."""
