"""The audio tower: taught by YAMNet's opinion of every 0.64 s and by true labels, all through text embeddings.

Every class is represented in each step by one random phrase of its own, so the tower learns to land near what the
text tower makes of words, not near class numbers. The text body is frozen; its projection learns along.
"""

from __future__ import annotations

import copy
import json
import math
import socket
import time
from pathlib import Path

import numpy as np
import scipy.special
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.nn import functional

from clapstream.clap.audio import ClapAudioModel
from clapstream.clap.config import ClapAudioConfig, ClapConfig
from clapstream.clap.projection import ClapProjectionLayer
from training.bank import SHARD_WINDOWS
from training.paths import CACHE
from training.text_tower import POOLED_NORM, teacher_embeddings, text_config
from training.texts import class_phrases, label_classes, label_phrases
from training.yamnet import PATCH_HOP_SECONDS, PATCH_SECONDS, WINDOW_PATCHES, class_names

NEPERS = math.log(10) / 10
"""Logarithm of a power ratio of one dB."""
TOKENS = 16
TOKEN_SECONDS = 10 / TOKENS
WORKERS = 2
BATCH = 24
"""Windows a worker and step; workers average their gradients."""
RATE = 1.5e-3
SEED = 7
WEAK_CLASSES = ("Silence", "Sound effect", "Inside, small room", "Environmental noise", "Noise")
"""What the teacher says about everything quiet or unsure: no news about the sound, so it weighs less."""


def model_config() -> ClapConfig:
    """Geometry of the whole checkpoint: overlapping patches, three stages, a last grid of 4 x 4.

    A stage of patches at a stride of 8 would cost a third of the time and gave nothing that 128 wide patches lack.
    """
    audio = ClapAudioConfig(
        patch_size=24, patch_stride=[16, 16], patch_embeds_hidden_size=128, depths=[2, 4, 1],
        num_attention_heads=[4, 8, 16], num_hidden_layers=3, window_size=4, hidden_size=512, projection_dim=512,
        hidden_dropout_prob=0.0, drop_path_rate=0.0,
    )  # fmt: skip
    return ClapConfig(text_config=text_config().to_dict(), audio_config=audio.to_dict(), projection_dim=512)


class Student(nn.Module):
    """What is trained: the audio tower, both projections, and what only training needs."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        config = model_config()
        self.audio_model = ClapAudioModel(config.audio_config)
        self.audio_projection = ClapProjectionLayer(config.audio_config)
        self.text_projection = ClapProjectionLayer(config.text_config)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.bias = nn.Parameter(torch.tensor(-5.0))
        self.class_bias = nn.Parameter(torch.zeros(classes))
        self.teacher_embedding = nn.Linear(config.audio_config.hidden_size, 1024)

    def embed_audio(self, mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Unit embeddings `(batch, 512)` of windows, `(batch, 16, 512)` of their tokens, pooled `(batch, 512)`."""
        out = self.audio_model(mel)
        tokens = out.last_hidden_state.flatten(2).transpose(1, 2)
        both = torch.cat([out.pooler_output[:, None], tokens], dim=1)
        embedded = functional.normalize(self.audio_projection(both).float(), dim=-1)
        return embedded[:, 0], embedded[:, 1:], out.pooler_output

    def embed_text(self, pooled: Tensor) -> Tensor:
        """Unit embeddings `(texts, 512)` of the text body's pooled outputs."""
        return functional.normalize(self.text_projection(pooled).float(), dim=-1)


class Phrases:
    """The text body's outputs for every phrase of every class, with and without template."""

    def __init__(self) -> None:
        self.labels = sorted(label_phrases())
        self.classes = class_names()
        listed = [class_phrases()[name] for name in self.classes] + [label_phrases()[name] for name in self.labels]
        texts, self._spans = [], []
        for phrases in listed:
            first = len(texts)
            for phrase in phrases:
                texts += [phrase, f"This is a sound of {phrase}.", f"the sound of {phrase}"]
            self._spans.append((first, len(texts)))
        self.texts = texts
        self.pooled = pooled_texts(texts)

    def draw(self, random: np.random.Generator) -> Tensor:
        """Pooled outputs `(classes + labels, 384)` of one random phrase each."""
        return self.pooled[[int(random.integers(first, last)) for first, last in self._spans]]

    def plain(self) -> Tensor:
        """Pooled outputs of "This is a sound of <name>."."""
        return self.pooled[[first + 1 for first, _ in self._spans]]


def pooled_texts(texts: list[str]) -> Tensor:
    """Pooled outputs `(texts, 384)` that the text body aims at: the sentence encoder's; computed once.

    So both towers can be trained at the same time.
    """
    path = CACHE / "phrase_targets.pt"
    if path.exists():
        stored, found = torch.load(path)
        if stored == texts:
            return found * POOLED_NORM
    found = teacher_embeddings(texts).float()
    torch.save((texts, found), path)
    return found * POOLED_NORM


def token_weights() -> Tensor:
    """Matrix `(16, 20)` that averages the teacher's patches over each token, by overlap in time."""
    token = (np.arange(TOKENS) + 0.5) * TOKEN_SECONDS
    patch = np.arange(WINDOW_PATCHES) * PATCH_HOP_SECONDS + PATCH_SECONDS / 2
    overlap = np.maximum(0, 0.72 - np.abs(token[:, None] - patch))
    return torch.from_numpy((overlap / overlap.sum(1, keepdims=True)).astype(np.float32))


class Bank:
    """The shards that exist so far, and batches of them."""

    def __init__(self, folder: Path, phrases: Phrases) -> None:
        self._folder = folder
        self._phrases = phrases
        self._mels: list[NDArray[np.float16]] = []
        self._logits: list[NDArray[np.float16]] = []
        self._embeddings: list[NDArray[np.float16]] = []
        self._events: list[list[list[tuple[str, float, float, float]]]] = []
        self._names: set[str] = set()
        index = {name: number for number, name in enumerate(phrases.classes)}
        self._implied = [[index[name] for name in label_classes()[label]] for label in phrases.labels]
        self._label_index = {label: number for number, label in enumerate(phrases.labels)}
        self.refresh()
        self.shift, self.weight = self._calibrate()
        stacked = np.concatenate(self._embeddings).astype(np.float32)
        self.mel_mean, self.mel_variance = self._mel_statistics()
        self._mean, self._deviation = stacked.mean(0), stacked.std(0) + 0.05

    def refresh(self) -> int:
        """Take in shards that have appeared; return how many windows there are."""
        for path in sorted(self._folder.iterdir()):
            if path.suffix == "" and path.name not in self._names:
                self._names.add(path.name)
                self._mels.append(np.load(path / "mel.npy", mmap_mode="r"))
                self._logits.append(np.load(path / "logits.npy"))
                self._embeddings.append(np.load(path / "embedding.npy"))
                self._events.append(json.loads((path / "events.json").read_text()))
        return len(self._mels) * SHARD_WINDOWS

    def _calibrate(self) -> tuple[NDArray[np.float32], Tensor]:
        """Per class: a shift of the teacher's logit so that one window in 300 counts as heard, and a loss weight."""
        peaks = np.concatenate([shard.max(1) for shard in self._logits]).astype(np.float32)
        shift = (0.85 - np.quantile(peaks, 0.997, axis=0)).clip(0, 2.0)
        frequency = scipy.special.expit(peaks + shift).mean(0)
        weight = (0.02 / frequency).clip(0.2, 4) ** 0.35
        for name in WEAK_CLASSES:
            weight[self._phrases.classes.index(name)] = 0.15
        label_weight = np.full(len(self._phrases.labels), 1.5)
        return shift.astype(np.float32), torch.from_numpy(np.concatenate([weight, label_weight])).float()

    def _mel_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of each mel band `(64,)` in dB over the shards there are, digital silence left out."""
        some = torch.from_numpy(np.concatenate([mel[::16, ::10] for mel in self._mels]).astype(np.float32))
        sounding = some[some.amax(-1) > -80]
        return sounding.mean(0), sounding.var(0)

    def batch(self, random: np.random.Generator, size: int) -> dict[str, Tensor]:
        """`mel` `(size, 1, 1001, 64)`, targets `window` `(size, classes + labels)`, `tokens` `(size, 16, classes)`,
        `labels` `(size, labels)`, `embedding` `(size, 1024)` and `whole` `(size,)`: whether nothing was mixed in."""
        shards = random.integers(len(self._mels), size=2 * size)
        rows = random.integers(SHARD_WINDOWS, size=2 * size)
        pairs = list(zip(shards, rows, strict=True))
        pairs = pairs[: size + int(0.4 * size)]  # the last ones are mixed into the first ones
        mel = torch.from_numpy(np.stack([self._mels[shard][row] for shard, row in pairs])).float()
        logits = np.stack([self._logits[shard][row] for shard, row in pairs]).astype(np.float32) + self.shift
        heard = torch.from_numpy(logits).sigmoid_()
        true = torch.from_numpy(np.stack([self._true(self._events[shard][row]) for shard, row in pairs]))
        embedding = np.stack([self._embeddings[shard][row] for shard, row in pairs[:size]]).astype(np.float32)
        power = mel.mul_(NEPERS).exp_()
        power, heard, true = mix(power, heard, true, size, random)
        whole = torch.arange(size) >= len(pairs) - size
        power, heard, cropped = crop_some(power, heard, random)
        mel = alter(power, random).clamp_(min=1e-10).log_().div_(NEPERS)
        tokens = torch.einsum("tp,bpc->btc", token_weights(), heard)
        return {
            "mel": mask_some(mel, random)[:, None],
            "tokens": tokens,
            "window": self._window_targets(heard, true),
            "labels": true,
            "embedding": torch.from_numpy((embedding - self._mean) / self._deviation),
            "whole": whole & ~cropped,
        }

    def _true(self, events: list[tuple[str, float, float, float]]) -> NDArray[np.float32]:
        """How surely each label is heard `(labels,)`, from the level at which it was mixed in."""
        found = np.zeros(len(self._phrases.labels), np.float32)
        for label, _, _, level in events:
            sure = float(np.clip((level + 40) / 14, 0, 1))
            found[self._label_index[label]] = max(found[self._label_index[label]], sure)
        return found

    def _window_targets(self, heard: Tensor, true: Tensor) -> Tensor:
        """Targets `(batch, classes + labels)`: the teacher's patches pooled, true labels on top."""
        pooled = 0.5 * (heard.square().sum(1) / heard.sum(1).clamp(min=1e-6) + heard.amax(1))
        labels = torch.empty_like(true)
        for number, implied in enumerate(self._implied):
            labels[:, number] = 0.95 * true[:, number]
            if implied:  # where nobody said so, the teacher's nearest class hints at the label
                labels[:, number] = torch.maximum(labels[:, number], 0.8 * pooled[:, implied[0]])
            for place, index in enumerate(implied):
                pooled[:, index] = torch.maximum(pooled[:, index], (0.85 if place == 0 else 0.7) * true[:, number])
        return torch.cat([pooled, labels], dim=1)


def mix(
    power: Tensor, heard: Tensor, true: Tensor, size: int, random: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Add the windows after `size` to the first ones, at random level; what is heard is the union."""
    count = len(power) - size
    level = torch.from_numpy(random.uniform(-18, 3, count).astype(np.float32))
    sure = ((level + 18) / 12).clamp(0, 1)  # how much of the added one is still heard
    fade = (1 - (level + 3) / 15).clamp(max=1)  # and of the first, once it is the weaker
    gain = power[:count].mean((1, 2)) / power[size:].mean((1, 2)).clamp(min=1e-9) * 10 ** (level / 10)
    power[:count] += power[size:] * gain[:, None, None]
    heard[:count] = torch.maximum(heard[:count] * fade[:, None, None], heard[size:] * sure[:, None, None])
    true[:count] = torch.maximum(true[:count] * fade[:, None], true[size:] * sure[:, None])
    return power[:size], heard[:size], true[:size]


def crop_some(power: Tensor, heard: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Cut a stretch out of some windows and repeat-pad it, in whole patches of the teacher."""
    cropped = torch.zeros(len(power), dtype=torch.bool)
    for row in np.flatnonzero(random.random(len(power)) < 0.15):
        patches = int(random.integers(2, 12))
        first = int(random.integers(WINDOW_PATCHES - patches))
        repeats = 20 // patches
        index = torch.arange(first, first + patches).repeat(repeats)[:WINDOW_PATCHES]
        frames = (48 * first + torch.arange(48 * patches)).repeat(repeats)[:1001]
        window = torch.full_like(power[row], 1e-10)
        window[: len(frames)] = power[row, frames]
        power[row] = window
        silent = torch.zeros_like(heard[row])
        silent[: len(index)] = heard[row, index]
        heard[row] = silent
        cropped[row] = True
    return power, heard, cropped


def alter(power: Tensor, random: np.random.Generator) -> Tensor:
    """Random gain and equalisation of each window, and a little noise floor."""
    size = len(power)
    knots = random.normal(0, 3, (size, 6)) * (random.random((size, 1)) < 0.6) + random.normal(0, 5, (size, 1))
    curve = functional.interpolate(torch.from_numpy(knots.astype(np.float32))[:, None], 64, mode="linear")
    power *= curve.mul_(NEPERS).exp_()
    for row in np.flatnonzero(random.random(size) < 0.25):
        power[row] += float(10 ** random.uniform(-9.5, -5)) * torch.empty_like(power[row]).exponential_()
    return power


def mask_some(mel: Tensor, random: np.random.Generator) -> Tensor:
    """Blank a band or a moment of some windows, at the window's quietest level."""
    for row in np.flatnonzero(random.random(len(mel)) < 0.35):
        quiet = mel[row].amin()
        if random.random() < 0.5:
            first, width = int(random.integers(60)), int(random.integers(2, 10))
            mel[row, :, first : first + width] = quiet
        else:
            first, width = int(random.integers(950)), int(random.integers(5, 60))
            mel[row, first : first + width] = quiet
    return mel


def losses(student: Student, batch: dict[str, Tensor], pooled: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """All terms of the loss for one batch, given one phrase's pooled output for each class and label."""
    with torch.autocast("cpu", torch.bfloat16):
        window, tokens, hidden = student.embed_audio(batch["mel"])
        texts = student.embed_text(pooled)
    classes = batch["tokens"].shape[-1]
    scale = student.logit_scale.exp().clamp(max=100)
    cosines = window @ texts.T
    logits = scale * cosines + student.bias + student.class_bias
    whole = functional.binary_cross_entropy_with_logits(logits, batch["window"], reduction="none")
    parts = scale * (tokens @ texts[:classes].T) + student.bias + student.class_bias[:classes]
    each = functional.binary_cross_entropy_with_logits(parts, batch["tokens"], reduction="none")
    teacher = functional.cosine_similarity(student.teacher_embedding(hidden.float()), batch["embedding"])
    return {
        "window": (whole * weight).sum(1).mean() / 20,
        "tokens": (each * weight[:classes]).sum(-1).mean() / 20,
        "ranking": choice_loss(scale * cosines[:, :classes], (batch["window"][:, :classes] * weight[:classes]) ** 2),
        "labels": choice_loss(scale * cosines[:, classes:], batch["labels"]),
        "embedding": ((1 - teacher) * batch["whole"]).mean(),
    }


def choice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy against `target` made a distribution; windows with little in it count less."""
    mass = target.sum(1, keepdim=True)
    share = target / mass.clamp(min=1e-6)
    return -(mass.clamp(max=1)[:, 0] * (share * functional.log_softmax(logits, dim=1)).sum(1)).mean()


WEIGHTS = {"window": 1.0, "tokens": 0.7, "ranking": 0.25, "labels": 0.4, "embedding": 0.7}


def train(minutes: float, name: str = "audio") -> None:
    """Train for `minutes` of wall clock, going on from the last state; the average of weights is what counts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_train, (port, minutes, name), WORKERS)


def _train(worker: int, port: int, minutes: float, name: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=worker, world_size=WORKERS)
    torch.manual_seed(SEED)
    phrases = Phrases()
    bank = Bank(CACHE / "bank", phrases)
    student = Student(len(phrases.classes) + len(phrases.labels)).train()
    norm = student.audio_model.audio_encoder.batch_norm
    norm.running_mean.copy_(bank.mel_mean)
    norm.running_var.copy_(bank.mel_variance)
    norm.requires_grad_(False).eval()  # fixed from the start: nothing is gained by learning it, and time is lost
    average = copy.deepcopy(student).eval()
    optimiser = make_optimiser(student)
    state_file, step, spent = CACHE / f"{name}.pt", 0, 0.0
    if state_file.exists():
        state = torch.load(state_file)
        student.load_state_dict(state["student"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent = state["step"], state["spent"]
    random = np.random.default_rng((SEED, step, worker))
    torch.manual_seed(SEED + worker)
    began, saved, sums, first = time.monotonic() - spent, time.monotonic(), dict.fromkeys(WEIGHTS, 0.0), step
    while (done := _agreed((time.monotonic() - began) / 60 / minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 100) * (0.005 + 0.995 * (1 + math.cos(math.pi * done)) / 2)
        terms = losses(student, bank.batch(random, BATCH), noisy(phrases.draw(random)), bank.weight)
        total = sum(WEIGHTS[key] * value for key, value in terms.items())
        optimiser.zero_grad()
        total.backward()
        average_gradients(student)
        nn.utils.clip_grad_norm_(student.parameters(), 2.0)
        optimiser.step()
        step += 1
        if worker == 0:
            follow(average, student, step)
        for key, value in terms.items():
            sums[key] += float(value.detach()) / 50
        if step % 50 == 0 and worker == 0:
            shown = " ".join(f"{key} {value:.3f}" for key, value in sums.items())
            rate = WORKERS * BATCH * (step - first) / (time.monotonic() - began - spent)
            print(f"step {step} {100 * done:.1f}% {shown} scale {student.logit_scale.exp():.1f} "
                  f"{rate:.1f} windows/s", flush=True)  # fmt: skip
        if step % 50 == 0:
            sums = dict.fromkeys(WEIGHTS, 0.0)
        if worker == 0 and time.monotonic() - saved > 150:
            save(state_file, student, average, optimiser, step, time.monotonic() - began)
            saved = time.monotonic()
    if worker == 0:
        save(state_file, student, average, optimiser, step, time.monotonic() - began)
    distributed.destroy_process_group()


def make_optimiser(student: Student) -> torch.optim.AdamW:
    """AdamW that lets vectors be and pulls matrices towards zero a little."""
    learned = [value for value in student.parameters() if value.requires_grad]
    groups = [
        {"params": [value for value in learned if value.ndim > 1], "weight_decay": 0.05},
        {"params": [value for value in learned if value.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98))


def _agreed(done: float) -> float:
    """The first worker's share of the time spent, so that all take the same steps."""
    value = torch.tensor(done)
    distributed.broadcast(value, 0)
    return float(value)


def average_gradients(student: Student) -> None:
    """Replace each gradient by the mean over the workers."""
    gradients = [value.grad for value in student.parameters() if value.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= WORKERS
    for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def noisy(pooled: Tensor) -> Tensor:
    """Pooled text outputs moved a little, so that the projection learns neighbourhoods rather than points."""
    return pooled + torch.randn_like(pooled) * (0.25 * pooled.norm(dim=1, keepdim=True) / pooled.shape[1] ** 0.5)


@torch.no_grad()
def follow(average: Student, student: Student, step: int) -> None:
    """Move the running average towards the student's weights."""
    decay = min(0.998, (step + 1) / (step + 10))
    for mean, value in zip(average.parameters(), student.parameters(), strict=True):
        mean.lerp_(value, 1 - decay)


def save(path: Path, student: Student, average: Student, optimiser: torch.optim.Optimizer, step: int, spent: float) -> None:
    """Store everything that going on needs, in one move."""
    state = {
        "student": student.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": step,
        "spent": spent,
    }
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)
