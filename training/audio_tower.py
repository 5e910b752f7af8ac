"""The audio tower: taught by YAMNet's opinion of every 0.64 s and by true labels, all through text embeddings.

Every class is represented in each step by one random phrase of its own, so the tower learns to land near what
words mean, not near class numbers. Where phrases lie is fixed (see `text_space`).
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

from clapstream.clap.audio import ClapAudioEncoder, ClapAudioModel
from clapstream.clap.config import ClapAudioConfig, ClapConfig
from clapstream.clap.projection import ClapProjectionLayer
from training.bank import SHARD_WINDOWS
from training.paths import CACHE
from training.text_space import TextSpace
from training.text_tower import teacher_embeddings, text_config
from training.texts import class_phrases, label_classes, label_phrases
from training.yamnet import PATCH_HOP_SECONDS, PATCH_SECONDS, WINDOW_PATCHES, class_names

NEPERS = math.log(10) / 10
"""Logarithm of a power ratio of one dB."""
SINGLE = 0.7
"""Share of windows drawn among those with a single labelled sound: what people ask about is mostly that."""
MIXED = 0.12
"""Share of windows that get another one mixed in: most of the bank's are mixtures already."""
TOKENS = 16
TOKEN_SECONDS = 10 / TOKENS
WORKERS = 2
BATCH = 16
"""Windows a worker and step; workers average their gradients."""
RATE = 7e-4
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
    """What is trained: the audio tower, its projection, and what only training needs."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        config = model_config()
        self.audio_model = ClapAudioModel(config.audio_config)
        self.audio_projection = ClapProjectionLayer(config.audio_config)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(20.0)))
        self.bias = nn.Parameter(torch.tensor(-5.0))
        self.class_bias = nn.Parameter(torch.zeros(classes))
        self.token_bias = nn.Parameter(torch.zeros(classes))
        hidden = config.audio_config.hidden_size
        self.teacher_embedding = nn.Linear(hidden, 1024)
        self.window_head = nn.Linear(hidden, classes)
        self.token_head = nn.Linear(hidden, len(class_names()))

    def embed_audio(self, mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Unit embeddings `(batch, 17, 512)` of windows and their tokens; pooled `(batch, 512)`, tokens before."""
        out = self.audio_model(mel)
        tokens = out.last_hidden_state.flatten(2).transpose(1, 2)
        both = torch.cat([out.pooler_output[:, None], tokens], dim=1)
        embedded = functional.normalize(self.audio_projection(both).float(), dim=-1)
        return embedded, out.pooler_output, tokens


class Phrases:
    """Embeddings of every phrase of every class, with and without template."""

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
        vectors = phrase_vectors(texts)
        self.space = TextSpace(vectors)
        self.embeddings = self.space(vectors)

    def draw(self, random: np.random.Generator) -> Tensor:
        """Embeddings `(classes + labels, 512)` of one random phrase each."""
        return self.embeddings[[int(random.integers(first, last)) for first, last in self._spans]]

    def plain(self) -> Tensor:
        """Embeddings of "This is a sound of <name>."."""
        return self.embeddings[[first + 1 for first, _ in self._spans]]


def phrase_vectors(texts: list[str]) -> Tensor:
    """The sentence encoder's unit vectors `(texts, 384)`; computed once."""
    path = CACHE / "phrase_targets.pt"
    if path.exists():
        stored, found = torch.load(path)
        if stored == texts:
            return found
    found = teacher_embeddings(texts).float()
    torch.save((texts, found), path)
    return found


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
        self.mel_mean, self.mel_variance = self._mel_statistics()
        self._mean, self._whiten = self._whitening()

    def refresh(self) -> int:
        """Take in shards that have appeared; return how many windows there are."""
        for path in sorted(self._folder.iterdir()):
            if path.suffix == "" and path.name not in self._names:
                self._names.add(path.name)
                self._mels.append(np.load(path / "mel.npy", mmap_mode="r"))
                self._logits.append(np.load(path / "logits.npy"))
                self._embeddings.append(np.load(path / "embedding.npy"))
                self._events.append(json.loads((path / "events.json").read_text()))
        events = [window for shard in self._events for window in shard]
        single = [len(window) == 1 and window[0][3] >= -30 for window in events]
        self._single, self._other = np.flatnonzero(single), np.flatnonzero(np.logical_not(single))
        return len(events)

    def _calibrate(self) -> tuple[NDArray[np.float32], Tensor]:
        """Per class: a shift of the teacher's logit so that one window in 300 counts as heard; a loss weight."""
        peaks = np.concatenate([shard.max(1) for shard in self._logits]).astype(np.float32)
        shift = (0.85 - np.quantile(peaks, 0.997, axis=0)).clip(0, 2.0)
        frequency = scipy.special.expit(peaks + shift).mean(0)
        weight = (0.02 / frequency).clip(0.2, 4) ** 0.35
        for name in WEAK_CLASSES:
            weight[self._phrases.classes.index(name)] = 0.15
        label_weight = np.full(len(self._phrases.labels), 1.5)
        return shift.astype(np.float32), torch.from_numpy(np.concatenate([weight, label_weight])).float()

    def _whitening(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean of the teacher's embeddings and a matrix that makes the 256 main directions weigh alike.

        As they are, three quarters of their variance is a single direction: whether there is sound at all.
        """
        stacked = np.concatenate(self._embeddings).astype(np.float32)
        mean = stacked.mean(0)
        values, vectors = np.linalg.eigh(np.cov(stacked - mean, rowvar=False))
        values, vectors = values[-256:], vectors[:, -256:]
        return mean, ((vectors * (values + 0.01 * values[-2]) ** -0.5) @ vectors.T).astype(np.float32)

    def _mel_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of each mel band `(64,)` in dB over the shards there are, digital silence left out."""
        some = torch.from_numpy(np.concatenate([mel[::16, ::10] for mel in self._mels]).astype(np.float32))
        sounding = some[some.amax(-1) > -80]
        return sounding.mean(0), sounding.var(0)

    def batch(self, random: np.random.Generator, size: int) -> dict[str, Tensor]:
        """`mel` `(size, 1, 1001, 64)`, targets `window` `(size, classes + labels)`, `tokens` `(size, 16, classes)`,
        `labels` `(size, labels)`, `embedding` `(size, 1024)` and `whole` `(size,)`: whether nothing was changed."""
        number = size + int(MIXED * size)  # the last ones are mixed into the first ones
        chosen = np.where(
            random.random(number) < SINGLE, random.choice(self._single, number), random.choice(self._other, number)
        )
        pairs = [divmod(int(index), SHARD_WINDOWS) for index in chosen]
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
            "embedding": torch.from_numpy((embedding - self._mean) @ self._whiten),
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


def losses(student: Student, batch: dict[str, Tensor], texts: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """All terms of the loss for one batch, given one phrase's embedding for each class and label."""
    with torch.autocast("cpu", torch.bfloat16):
        embedded, hidden, hidden_tokens = student.embed_audio(batch["mel"])
        whole_head, token_head = student.window_head(hidden).float(), student.token_head(hidden_tokens).float()
    classes = batch["tokens"].shape[-1]
    scale = student.logit_scale.exp().clamp(max=100)
    cosines = embedded[:, 0] @ texts.T
    parts = scale * (embedded[:, 1:] @ texts[:classes].T) + student.bias + student.token_bias[:classes]
    teacher = functional.cosine_similarity(student.teacher_embedding(hidden.float()), batch["embedding"])
    heard = (batch["window"][:, :classes] * weight[:classes]) ** 2

    def compare(logits: Tensor, target: Tensor) -> Tensor:
        loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return (loss * weight[: target.shape[-1]]).sum(-1).mean() / 20

    return {
        "window": compare(scale * cosines + student.bias + student.class_bias, batch["window"]),
        "tokens": compare(parts, batch["tokens"]),
        "ranking": choice_loss(scale * cosines[:, :classes], heard),
        "labels": choice_loss(scale * cosines[:, classes:], batch["labels"]),
        "alike": embedded[:, 0].detach().mean(0).square().sum(),
        "embedding": ((1 - teacher) * batch["whole"]).mean(),
        "head_window": compare(whole_head, batch["window"]),
        "head_tokens": compare(token_head, batch["tokens"]),
        "head_labels": choice_loss(whole_head[:, classes:], batch["labels"]),
    }


def choice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy against `target` made a distribution; windows with little in it count less."""
    mass = target.sum(1, keepdim=True)
    share = target / mass.clamp(min=1e-6)
    return -(mass.clamp(max=1)[:, 0] * (share * functional.log_softmax(logits, dim=1)).sum(1)).mean()


WEIGHTS = {
    "window": 0.5, "tokens": 0.4, "ranking": 0.5, "labels": 0.7, "embedding": 1.5,
    "head_window": 0.7, "head_tokens": 1.0, "head_labels": 0.5,
    "alike": 0.0,  # mean cosine between windows: only to be seen, 1 is a collapse
}  # fmt: skip
"""The heads are thrown away: plain classifiers teach the tower fast, the text space needs good features first."""


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
    begin(student, bank)
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
            group["lr"] = (
                group["pace"]
                * RATE
                * min(1.0, (step + 1) / 150)
                * (0.005 + 0.995 * (1 + math.cos(math.pi * done)) / 2)
            )
        terms = losses(student, bank.batch(random, BATCH), phrases.draw(random), bank.weight)
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


@torch.no_grad()
def begin(student: Student, bank: Bank) -> None:
    """Set what can be known before the first step, so that no step is spent on it.

    The mel statistics; matrices to the size that suits their width; the projection centred, because the cosine of
    two outputs of a fresh ReLU layer is 0.97 whatever went in; biases to how often each class is heard.
    """
    norm = student.audio_model.audio_encoder.batch_norm
    norm.running_mean.copy_(bank.mel_mean)
    norm.running_var.copy_(bank.mel_variance)
    norm.requires_grad_(False).eval()  # fixed from here on: nothing is gained by learning it, and time is lost
    for name, module in student.audio_model.named_modules():
        if isinstance(module, nn.Linear):
            shrink = 0.25 if "output" in name else 0.7  # the ends of residual branches start small
            nn.init.trunc_normal_(module.weight, std=shrink / module.in_features**0.5)
    batches = [bank.batch(np.random.default_rng((SEED, 0, index)), 32) for index in range(12)]
    spread_patches(student.audio_model.audio_encoder, torch.cat([batch["mel"] for batch in batches]))
    out = student.audio_model(batches[0]["mel"])
    tokens = out.last_hidden_state.flatten(2).transpose(1, 2).flatten(0, 1)
    centre(student.audio_projection, torch.cat([out.pooler_output, tokens]))
    classes = batches[0]["tokens"].shape[-1]
    often = torch.cat([batch["window"] for batch in batches]).mean(0)
    student.class_bias.copy_(torch.logit(often.clamp(1e-4, 0.5)) - student.bias)
    often = torch.cat([batch["tokens"] for batch in batches]).mean((0, 1))
    student.token_bias[:classes].copy_(torch.logit(often.clamp(1e-4, 0.5)) - student.bias)
    for head, bias in (
        (student.window_head, student.class_bias),
        (student.token_head, student.token_bias[:classes]),
    ):
        nn.init.trunc_normal_(head.weight, std=0.02)
        head.bias.copy_(bias + student.bias)


@torch.no_grad()
def spread_patches(encoder: ClapAudioEncoder, mel: Tensor) -> None:
    """Let the first layer see principal components of real patches, partly whitened and then turned at random.

    Of a random filter's output nearly all is how loud the patch is; texture, which tells sounds apart, is a tenth.
    """
    proj = encoder.patch_embed.proj
    images = encoder.fold(encoder.normalise(mel))
    patches = functional.unfold(images, proj.kernel_size, padding=proj.padding, stride=proj.stride)
    patches = patches.transpose(1, 2).flatten(0, 1)
    mean = patches.mean(0)
    values, vectors = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    filters = vectors[:, -proj.out_channels :] * values[-proj.out_channels :] ** -0.4
    turn = torch.linalg.qr(torch.randn(proj.out_channels, proj.out_channels)).Q
    filters = (filters @ turn).T
    filters /= (filters @ (patches[::16] - mean).T).std()
    proj.weight.copy_(filters.view_as(proj.weight))
    proj.bias.copy_(-filters @ mean)


def centre(projection: ClapProjectionLayer, inputs: Tensor) -> None:
    """Make both layers of a projection orthogonal, and their outputs for `inputs` zero on average."""
    nn.init.orthogonal_(projection.linear1.weight, gain=float(1 / inputs.std(0).square().mean().sqrt()))
    nn.init.orthogonal_(projection.linear2.weight, gain=2.0)
    projection.linear1.bias.copy_(-projection.linear1.weight @ inputs.mean(0))
    hidden = functional.relu(projection.linear1(inputs))
    projection.linear2.bias.copy_(-projection.linear2.weight @ hidden.mean(0))


def make_optimiser(student: Student) -> torch.optim.AdamW:
    """AdamW that pulls matrices towards zero a little.

    The projection's biases learn slowly: quick ones drift until all sounds are alike.
    """

    def pace(name: str) -> float:
        return 0.1 if "_projection" in name and name.endswith("bias") else 1.0

    groups = [
        {"params": [value], "weight_decay": 0.05 if value.ndim > 1 else 0.0, "pace": pace(name)}
        for name, value in student.named_parameters()
        if value.requires_grad
    ]
    return torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98), foreach=True)


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


@torch.no_grad()
def follow(average: Student, student: Student, step: int) -> None:
    """Move the running average towards the student's weights."""
    decay = min(0.998, (step + 1) / (step + 10))
    for mean, value in zip(average.parameters(), student.parameters(), strict=True):
        mean.lerp_(value, 1 - decay)


def save(
    path: Path, student: Student, average: Student, optimiser: torch.optim.Optimizer, step: int, spent: float
) -> None:
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
