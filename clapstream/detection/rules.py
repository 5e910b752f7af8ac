"""What the settings say about labels and the gate, as detection wants it: in samples, with slugs."""

from __future__ import annotations

from clapstream.audio.block import RATE_HZ
from clapstream.config import GateSettings, LabelSet
from clapstream.detection.events import EventRule
from clapstream.detection.gate import GateRule
from clapstream.updates import LabelInfo


def label_infos(label_set: LabelSet) -> tuple[LabelInfo, ...]:
    """The labels as sinks see them."""
    return tuple(LabelInfo(label.name, label.slug, label.start, label.stop) for label in label_set.labels)


def event_rules(label_set: LabelSet) -> tuple[EventRule, ...]:
    """When events of each label start and stop, in the label set's order."""
    return tuple(
        EventRule(info, label.confirm_windows, round(label.hold_seconds * RATE_HZ), label.always_score)
        for info, label in zip(label_infos(label_set), label_set.labels, strict=True)
    )


def gate_rule(gate: GateSettings) -> GateRule | None:
    """How sure the gate has to be, None if it is off."""
    return GateRule(gate.margin_db, round(gate.check_seconds * RATE_HZ)) if gate.enabled else None
