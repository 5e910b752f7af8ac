"""What can be set of the model, of the windows of sound that it sees, and of the gate before it."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from clapstream.config.fields import FromNumber
from clapstream.config.paths import check_checkpoint
from clapstream.config.section import Section


def _check_revision(revision: str) -> str:
    if not re.fullmatch(r"[^\s:~^?*\[\\\x00-\x1f\x7f]+", revision):
        raise ValueError("must be a branch, a tag or a commit of the hub")
    return revision


def _check_model_device(value: Any) -> Any:
    """What PyTorch calls a device, or `auto`."""
    if isinstance(value, str) and re.fullmatch(r"auto|cpu|mps|(cuda|xpu)(:\d{1,3})?", value):
        return value
    raise ValueError("must be auto, cpu, cuda, cuda:1, mps or xpu")


Revision = Annotated[str, Field(max_length=200), FromNumber, AfterValidator(_check_revision)]

LONGEST_WINDOW_SECONDS = 10.0
"""CLAP was trained on 10 s: more would be cut off."""
SHORTEST_WINDOW_SECONDS = 0.5
SHORTEST_HOP_SECONDS = 0.1


class ModelSettings(Section):
    """Which checkpoint runs where. `revision` is a branch, tag or commit of a hub checkpoint."""

    checkpoint: Annotated[str, Field(min_length=1), BeforeValidator(check_checkpoint)] = "bundled"
    device: Annotated[str, BeforeValidator(_check_model_device)] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    revision: Revision | None = None


class WindowSettings(Section):
    """The stretch of sound the model sees, and how often it looks."""

    seconds: float = Field(default=10.0, ge=SHORTEST_WINDOW_SECONDS, le=LONGEST_WINDOW_SECONDS)
    hop_seconds: float = Field(default=2.5, ge=SHORTEST_HOP_SECONDS, validate_default=True)

    @field_validator("hop_seconds")
    @classmethod
    def _check_hop(cls, hop_seconds: float, info: ValidationInfo) -> float:
        seconds = info.data.get("seconds")
        if seconds is not None and hop_seconds > seconds:
            allowed = f"allowed is {SHORTEST_HOP_SECONDS:g} to {seconds:g}"
            raise ValueError(f"{hop_seconds:g} is above window.seconds: sound would be skipped; {allowed}")
        return hop_seconds

    @property
    def windows_per_sound(self) -> int:
        """How many windows in a row a short sound can lie in at most."""
        return math.ceil(round(self.seconds / self.hop_seconds, 6))


class GateSettings(Section):
    """Whether windows that are certainly nothing pass unscored, and how sure that has to be."""

    enabled: bool = True
    margin_db: float = Field(default=3.0, ge=0.5, le=12.0)
    check_seconds: float = Field(default=30.0, ge=1.0, le=3600.0)
