"""What can be set of labels: the keys of a label file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from clapstream.config.fields import Text, defaults_when_empty, tuple_from_list
from clapstream.config.section import Section
from clapstream.slugs import slugify

Score = Annotated[float, Field(ge=0.0, le=1.0)]


class LabelDefaults(Section):
    """What a label inherits: thresholds (0..1), windows in a row that confirm it, seconds it holds on.

    `always_score` turns the gate off: no window may then be taken for nothing without being scored.
    """

    start: Score = 0.6
    stop: Score = Field(default=0.4, validate_default=True)
    confirm_windows: int = Field(default=1, ge=1)
    hold_seconds: float = Field(default=5.0, ge=0.0, le=3600.0)
    always_score: bool = False

    @field_validator("stop")
    @classmethod
    def _check_stop(cls, stop: float, info: ValidationInfo) -> float:
        start = info.data.get("start")
        if start is not None and stop >= start:
            raise ValueError(f"must be below start ({start:g})")
        return stop


class LabelSettings(LabelDefaults):
    """A label. Without prompts its name is the prompt, put into templates."""

    name: Text
    prompts: Annotated[tuple[Text, ...], BeforeValidator(tuple_from_list)] = ()

    @property
    def slug(self) -> str:
        """Topic-safe form of the name."""
        return slugify(self.name)


BackgroundPrompts = Annotated[tuple[Text, ...], BeforeValidator(tuple_from_list), Field(min_length=1)]


class LabelSet(Section):
    """The labels, and the prompts for everything that is not a label."""

    labels: Annotated[tuple[LabelSettings, ...], Field(min_length=1)]
    background: BackgroundPrompts

    def find(self, name: str) -> LabelSettings | None:
        """The label of this name, else the only one whose name has the same topic-safe form, else None."""
        same_name = [label for label in self.labels if label.name == name]
        same_slug = [label for label in self.labels if label.slug == slugify(name)]
        return next((found[0] for found in (same_name, same_slug) if len(found) == 1), None)

    def only(self, names: Iterable[str]) -> LabelSet:
        """The labels of these names, in the order of this set; KeyError for a name that `find` does not find."""
        chosen = set()
        for name in names:
            if (label := self.find(name)) is None:
                raise KeyError(name)
            chosen.add(label.slug)
        return LabelSet(
            labels=tuple(label for label in self.labels if label.slug in chosen), background=self.background
        )


class LabelsFile(Section):
    """The keys of labels.yaml, entries still as they were written. Without `background` the packaged one counts."""

    defaults: Annotated[LabelDefaults, BeforeValidator(defaults_when_empty)] = LabelDefaults()
    labels: Annotated[tuple[Any, ...], BeforeValidator(tuple_from_list), Field(min_length=1)]
    background: BackgroundPrompts | None = None


LABEL_SECTIONS: dict[str, type[Section]] = {"defaults": LabelDefaults, "labels": LabelSettings}
"""The sections of a label file, by their key."""
