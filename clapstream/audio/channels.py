"""What `channel` means: mix, left, right or an index from 0. Imports nothing, so that capture starts fast."""

from __future__ import annotations


def channel_index(channel: str | int) -> int:
    """Return the index of a channel: left is 0, right is 1; negative for mix and for what is no channel."""
    return {"left": 0, "right": 1}.get(channel, -1) if isinstance(channel, str) else channel


def check_channel_exists(what: str, channels: int, channel: str | int) -> None:
    """Raise LookupError if `what`, which has that many channels, lacks the channel."""
    if channel == "mix" or 0 <= channel_index(channel) < channels:
        return
    counted = "1 channel" if channels == 1 else f"{channels} channels"
    indices = "mix, left or 0" if channels == 1 else f"mix, left, right or an index from 0 to {channels - 1}"
    raise LookupError(f"{what} has {counted}: there is no channel {channel}; set channel to {indices}")
