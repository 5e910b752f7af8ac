"""One configuration file on its way to settings: its content, and its problems by line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from clapstream.config.paths import FileContext
from clapstream.config.plain_values import number_or_text, written_text
from clapstream.config.problems import Problem, dotted
from clapstream.config.section import Section
from clapstream.config.validation_errors import explain, location_of
from clapstream.config.yaml_reader import Document, Location, UnreadableError, Value, read_yaml
from clapstream.slugs import slugify
from clapstream.urls import HIDDEN, may_hold_credentials

SectionType = TypeVar("SectionType", bound=Section)


class ConfigFile:
    """One configuration file: its content and its problems."""

    def __init__(self, path: Path, environment: Mapping[str, str], *, sources_may_fail: bool = False) -> None:
        """Read the file; see `FileContext` for `sources_may_fail`."""
        self.path = path
        self.problems: list[Problem] = []
        self._name = str(path)
        self._overridden: dict[Location, str] = {}
        self._unresolved: set[Location] = set()
        self._document = Document({})
        self._sources_may_fail = sources_may_fail
        self.readable = True
        try:
            self._document = read_yaml(path, environment)
        except UnreadableError as error:
            self.readable = False
            if may_hold_credentials(self._name):  # a URL where a file was asked for
                self._name = "the configuration file (its name is hidden, it may hold a password)"
            self.report((), str(error))
        self.value = self._mapping()

    @property
    def context(self) -> FileContext:
        """The directory that relative paths in this file start from."""
        return FileContext(self.path.absolute().parent, self._sources_may_fail)

    def report(self, location: Location, message: str) -> None:
        """Note a problem at a location in this file, or at the environment variable that was put there."""
        if location in self._unresolved:  # already reported; other errors there follow from it
            return
        if location in self._overridden:
            self.problems.append(Problem("environment", self._overridden[location], message))
            return
        nearest = location
        while nearest and nearest not in self._document.lines:
            nearest = nearest[:-1]
        line = self._document.lines.get(nearest) if location else None
        self.problems.append(Problem(self._name, dotted(location), message, line))

    def may_show(self, location: Location) -> bool:
        """Whether the value at a location may be repeated: it does not come from a variable of the environment."""
        return location not in self._document.from_environment

    def report_equal_slugs(self, key: str) -> None:
        """Two entries of the list at `key` whose names have one slug would share their topics."""
        first_with: dict[str, int] = {}
        for index, name in _names(self.value.get(key)).items():
            first = first_with.setdefault(slugify(name), index)
            if first != index:
                place = (key, index, "name")
                may_show = self.may_show(place) and self.may_show(place[:2]) and not may_hold_credentials(name)
                slug = repr(slugify(name)) if may_show else HIDDEN
                self.report(
                    place, f"gives the topic name {slug}, which {key}[{first}] has already; rename one of them"
                )

    def sorted_problems(self) -> list[Problem]:
        """What is wrong, in the order of the lines."""
        return sorted(self.problems, key=lambda problem: problem.line or 0)

    def override(self, overrides: Mapping[str, tuple[str, str]], environment: Mapping[str, str]) -> None:
        """Put the variables of `overrides` that are not empty at their section and key; `mqtt: null` stays so."""
        for variable, (section, key) in overrides.items():
            text = environment.get(variable)
            if not text:
                continue
            if section != "mqtt" and self.value.get(section) is None:
                self.value[section] = {}
            part = self.value.setdefault(section, {})
            if isinstance(part, dict):
                part[key] = number_or_text(text)
                self._overridden[section, key] = variable
                self._unresolved.discard((section, key))

    def validate(self, model: type[SectionType], value: Any, at: Location = ()) -> SectionType | None:
        """Validated section, or None after everything that is wrong with it was reported."""
        try:
            return model.model_validate(value, context=self.context)
        except ValidationError as error:
            for details in error.errors(include_url=False):
                location = at + location_of(details)
                self.report(location, explain(details, location, model, may_show=self.may_show(location)))
        return None

    def _mapping(self) -> dict[str, Value]:
        for location, message in self._document.problems:
            self.report(location, message)
            if location in self._document.from_environment:
                self._unresolved.add(location)
        value = self._document.value
        if isinstance(value, dict):
            return value
        if value is not None:
            self.report((), "must be a mapping of keys to values at the top")
        return {}


def _names(entries: Any) -> dict[int, str]:
    """Names of a list's entries by index, as far as they have one."""
    named = {}
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        name = written_text(entry.get("name")) if isinstance(entry, dict) else entry
        if isinstance(name, str) and name.strip():
            named[index] = name
    return named
