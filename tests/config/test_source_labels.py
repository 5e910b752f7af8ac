"""Labels of one source: a file of its own, or names out of the common labels."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.configuration import load, refusal

from clapstream.cli import main
from clapstream.config import (
    ConfigError,
    LabelSet,
    LabelSettings,
    MicrophoneSettings,
    Settings,
    load_settings,
)
from clapstream.updates import SourceInfo

COMMON = """\
defaults: {start: 0.7}
labels: [dog barking, {name: Doorbell!, start: 0.9}, siren]
background: [a quiet room]
"""
CELLAR = "labels: [{name: water dripping, confirm_windows: 2}]\n"


def sources(*labels: str) -> str:
    """A microphone for each value of `labels`, one a line from line 3 on."""
    entries = [f"  - {{name: s{index}, type: microphone, labels: {each}}}" for index, each in enumerate(labels)]
    return "\n".join(["labels: labels.yaml", "sources:", *entries, ""])


def names(label_set: LabelSet) -> list[str]:
    return [label.name for label in label_set.labels]


class TestMeaning:
    def test_each_source_has_its_labels(self, tmp_path: Path) -> None:
        (tmp_path / "cellar.yaml").write_text(CELLAR)
        text = sources("null", "[siren, dog barking]", "cellar.yaml") + "  - {name: Left out, type: pcm}\n"
        settings = load(tmp_path, text, COMMON)
        assert {source.slug: names(settings.labels_of(source)) for source in settings.sources} == {
            "s0": ["dog barking", "Doorbell!", "siren"],
            "s1": ["dog barking", "siren"],
            "s2": ["water dripping"],
            "left_out": ["dog barking", "Doorbell!", "siren"],
        }
        assert names(settings.labels) == ["dog barking", "Doorbell!", "siren"]

    @pytest.mark.parametrize("written", ["[Doorbell!]", "[doorbell]", "[' DOORBELL ']", "['${NAME}']"])
    def test_a_name_may_be_written_like_its_topic(self, tmp_path: Path, written: str) -> None:
        settings = load(tmp_path, sources(written), COMMON, NAME="Doorbell!")
        (label,) = settings.labels_of(settings.sources[0]).labels
        assert label == LabelSettings(name="Doorbell!", start=0.9)

    def test_a_name_as_written_wins(self) -> None:
        labels = LabelSet(labels=(LabelSettings(name="Bell"), LabelSettings(name="bell")), background=("b",))
        assert labels.find("bell") == LabelSettings(name="bell")
        assert labels.find("BELL") is None, "which of both is meant?"

    @pytest.mark.parametrize(("own", "meant"), [("", ("a quiet room",)), ("background: [drops]", ("drops",))])
    def test_a_file_of_a_source_has_its_own_defaults_and_background(
        self, tmp_path: Path, own: str, meant: tuple[str, ...]
    ) -> None:
        (tmp_path / "cellar.yaml").write_text(CELLAR + own)
        settings = load(tmp_path, sources("cellar.yaml"), COMMON)
        labels = settings.labels_of(settings.sources[0])
        assert labels.labels == (LabelSettings(name="water dripping", confirm_windows=2, start=0.6),)
        assert labels.background == meant

    def test_the_common_file_can_be_named(self, tmp_path: Path) -> None:
        settings = load(tmp_path, sources("labels.yaml", "./labels.yaml"), COMMON)
        assert [settings.labels_of(source) for source in settings.sources] == [settings.labels] * 2

    def test_sources_are_found_by_their_slug(self, tmp_path: Path) -> None:
        """The daemon knows a source that it started with by its slug, whatever the settings say after a reload."""
        settings = load(tmp_path, sources("[siren]"), COMMON)
        assert names(settings.labels_of(SourceInfo.of("S0"))) == ["siren"]
        assert settings.labels_of(SourceInfo.of("gone")) == settings.labels

    def test_settings_made_in_code(self) -> None:
        hall, yard = MicrophoneSettings(name="hall"), MicrophoneSettings(name="yard", labels=("bell",))
        labels = LabelSet(labels=(LabelSettings(name="dog"), LabelSettings(name="bell")), background=("b",))
        settings = load_settings(None).model_copy(update={"sources": (hall, yard), "labels": labels})
        assert settings.labels_of(hall) == labels
        assert names(settings.labels_of(yard)) == ["bell"]


class TestRestart:
    def settings(self, folder: Path, text: str, labels: str = COMMON) -> Settings:
        (folder / "cellar.yaml").write_text(CELLAR)
        return load(folder, text, labels)

    def test_labels_need_none(self, tmp_path: Path) -> None:
        before = self.settings(tmp_path, sources("null", "[siren]"))
        after = self.settings(tmp_path, sources("cellar.yaml", "null"), "labels: [cat]")
        assert before.restart_needed_for(after) == []

    def test_everything_else_needs_one(self, tmp_path: Path) -> None:
        before = self.settings(tmp_path, sources("null"))
        after = self.settings(tmp_path, f"{sources('null', 'null')}window: {{seconds: 5}}\nmqtt: null\n")
        assert before.restart_needed_for(after) == ["sources", "window", "mqtt"]


class TestMistakes:
    @pytest.mark.parametrize(
        ("labels", "said"),
        [
            ("[siren, dig barking]", "[1]: must be the name of a common label, not 'dig barking'; did you mean dog "
             "barking? allowed are dog barking, Doorbell!, siren"),
            ("[bark]", "[0]: must be the name of a common label, not 'bark'; did you mean dog barking?"),
            ("[train]", "[0]: must be the name of a common label, not 'train'; allowed are dog barking, Door"),
            ("[siren, dog barking, Siren]", "[2]: is given twice: sources[0].labels[0] is the same label; keep"),
            ("[]", ": must name at least one label; null listens for the common labels"),
            ("[5]", "[0]: must be the name of a common label, not '5'"),
            ("[true]", "[0]: must be text"),
            ("[[siren]]", "[0]: must be text"),
            ("[{name: siren}]", "[0]: must be text"),
            ("['']", "[0]: must not be empty"),
            ("true", ": must be a label file or a list of names of common labels, not true"),
            ("{siren: 0.5}", ": must be a label file or a list of names of common labels"),
            ("siren", ": siren does not exist; a list names common labels, as in [dog barking, doorbell]"),
            (".", " is a directory; a file is needed; a list names common labels"),
            ("''", ": must be a path"),
            ("rtsp://u:hunter2@camera", ": must be a path, not a URL"),
            ("['rtsp://u:hunter2@camera']", "[0]: must not hold a URL or a password"),
            ("['password=hunter2']", "[0]: must be the name of a common label; allowed are"),
            ("['${SECRET}']", "[0]: must be the name of a common label; allowed are"),
            ("'${SECRET}'", ": does not exist; a list names common labels"),
            ("${UNSET}", ": needs the environment variable UNSET, which is not set"),
            ("['${UNSET}']", "[0]: needs the environment variable UNSET, which is not set"),
        ],
    )  # fmt: skip
    def test_one_problem_names_file_line_and_field(self, tmp_path: Path, labels: str, said: str) -> None:
        text = sources(labels if labels[0] in "[{'" else f"'{labels}'" if labels != "true" else labels)
        found = refusal(tmp_path, text, COMMON, SECRET="hunter2")
        assert found.startswith("clapstream.yaml:3: sources[0].labels")
        assert said in found
        assert len(found.splitlines()) == 1
        assert "hunter2" not in found

    def test_many_names_are_shortened(self, tmp_path: Path) -> None:
        labels = f"labels: [{', '.join(f'label {number}' for number in range(300))}]\nbackground: [b]"
        assert refusal(tmp_path, sources("[horn]"), labels).endswith(", label 8, label 9 and 290 more")

    def test_common_labels_from_the_environment_are_not_repeated(self, tmp_path: Path) -> None:
        labels = "labels: [siren, '${SECRET}', {name: '${SECRET}2'}]\nbackground: [b]"
        assert "hunter2" not in refusal(tmp_path, sources("[hunter3]"), labels, SECRET="hunter2")

    def test_mistakes_of_all_files_are_reported_together_and_once_for_a_shared_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text("labels:\n  - {name: a, start: 2}\n  - {name: b, confirm_windows: 5}\n")
        (tmp_path / "b.yaml").write_text("defaults: {confirm_windows: 9}\nlabels: [a]\nbackgrond: [b]\n")
        (tmp_path / "c.yaml").write_text("labels:\n\t- a\n")
        text = sources("a.yaml", "b.yaml", "./a.yaml", "c.yaml") + "window: {seconds: 20}\n"
        assert refusal(tmp_path, text, "labels: [a, A]").splitlines() == [
            "clapstream.yaml:7: window.seconds: must be at most 10, not 20",
            "labels.yaml:1: labels[1].name: gives the topic name 'a', which labels[0] has already; "
            "rename one of them",
            "a.yaml:2: labels[0].start: must be at most 1, not 2",
            "b.yaml:3: backgrond: is not known; did you mean background? known here: background, defaults, labels",
            "c.yaml: line 2: a tab is used for indentation; YAML allows only spaces there",
        ]
        found = refusal(tmp_path, text.replace("20", "10"), "labels: [a]").splitlines()
        assert [line.partition(": must")[0] for line in found] == [
            "a.yaml:2: labels[0].start",
            "a.yaml:3: labels[1].confirm_windows",
            "b.yaml:1: defaults.confirm_windows",
            "b.yaml:3: backgrond: is not known; did you mean background? known here: background, defaults, labels",
            "c.yaml: line 2: a tab is used for indentation; YAML allows only spaces there",
        ]

    def test_a_mistake_in_the_common_file_is_reported_once(self, tmp_path: Path) -> None:
        found = refusal(tmp_path, sources("labels.yaml", "[siren]"), "labels: [a, {name: b, start: 3}]")
        assert found == "labels.yaml:1: labels[1].start: must be at most 1, not 3"

    def test_a_missing_label_file_is_refused_even_where_sources_may_fail(self, tmp_path: Path) -> None:
        """A source without its recording fails alone; one without its labels would be announced with wrong ones."""
        text = sources("null", "cellar.yaml") + "  - {name: yard, type: recording, path: yard.flac}\n"
        assert len(refusal(tmp_path, text, COMMON).splitlines()) == 2
        with pytest.raises(ConfigError) as raised:
            load_settings(tmp_path / "clapstream.yaml", {}, sources_may_fail=True)
        (problem,) = raised.value.problems
        assert (problem.field, problem.line) == ("sources[1].labels", 4)
        assert "cellar.yaml does not exist" in problem.message
        (tmp_path / "cellar.yaml").write_text(CELLAR)
        settings = load_settings(tmp_path / "clapstream.yaml", {}, sources_may_fail=True)
        assert names(settings.labels_of(settings.sources[1])) == ["water dripping"]


class TestCheck:
    def check(self, folder: Path, capsys: pytest.CaptureFixture[str], *labels: str) -> tuple[list[str], str]:
        (folder / "cellar.yaml").write_text(CELLAR)
        (folder / "labels.yaml").write_text(COMMON)
        (folder / "clapstream.yaml").write_text(sources(*labels))
        assert main(["check", "-c", str(folder / "clapstream.yaml")]) == 0
        captured = capsys.readouterr()
        return [line.partition("device, ")[2] for line in captured.out.splitlines() if " s" in line], captured.err

    def test_what_each_source_listens_for(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        listed, noted = self.check(tmp_path, capsys, "null", "cellar.yaml", "[doorbell, dog barking]")
        assert [line for line in listed if line] == [
            "the common labels",
            f"1 label of {tmp_path}/cellar.yaml",
            "labels dog barking, Doorbell!",
        ]
        assert noted == ""

    def test_labels_that_no_source_listens_for(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        _, noted = self.check(tmp_path, capsys, "[doorbell]", "cellar.yaml")
        assert noted == "clapstream: note: no source listens for these common labels: dog barking, siren\n"
