"""The network that is trained: the audio tower, heads that only training needs, and their initial values."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from clapstream.clap.audio import ClapAudioModel
from clapstream.clap.audio_encoder import ClapAudioEncoder
from clapstream.clap.projection import ClapProjectionLayer
from training.batches import TEACHER_DIRECTIONS, Batches
from training.geometry import audio_config
from training.vocabulary import Vocabulary

SEED = 7
FIRST_WINDOWS = 384
"""Windows from which the start is computed."""
DROP_PATH = 0.1
"""Of the last block's branches in training, rising from none in the first block (Huang et al. 2016)."""
AUDIO_SIDE = ("audio_model.", "audio_projection.")
"""Prefixes of the names of those parameters of the student that a checkpoint keeps."""


class Student(nn.Module):
    """What is trained: the audio tower, its projection, and what only training needs."""

    def __init__(self, targets: int, classes: int) -> None:
        """`targets` counts the classes and the labels, `classes` the teacher's classes alone."""
        super().__init__()
        config = audio_config(DROP_PATH)
        self.audio_model = ClapAudioModel(config)
        self.audio_projection = ClapProjectionLayer(config)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(20.0)))
        self.bias = nn.Parameter(torch.tensor(-5.0))
        self.class_bias = nn.Parameter(torch.zeros(targets))
        self.token_bias = nn.Parameter(torch.zeros(targets))
        hidden = config.hidden_size
        self.teacher_embedding = nn.Linear(hidden, TEACHER_DIRECTIONS)
        self.window_head = nn.Linear(hidden, targets)
        self.token_head = nn.Linear(hidden, classes)

    def embed_audio(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Unit embeddings `(batch, 17, 512)` of windows and their tokens, and what they are projected from."""
        out = self.audio_model(mel)
        tokens = out.last_hidden_state.flatten(2).transpose(1, 2)
        both = torch.cat([out.pooler_output[:, None], tokens], dim=1)
        embedded = functional.normalize(self.audio_projection(both).float(), dim=-1)
        return embedded, both


def initial_student(vocabulary: Vocabulary, batches: Batches, windows: int = FIRST_WINDOWS) -> Student:
    """A student of all classes and labels before its first step, see `initialise`."""
    student = Student(len(vocabulary.classes) + len(vocabulary.labels), len(vocabulary.classes)).train()
    initialise(student, batches, windows)
    return student


@torch.no_grad()
def initialise(student: Student, batches: Batches, windows: int) -> None:
    """Set what can be computed from so many windows before the first step, so that no step is spent on it.

    The mel statistics; matrices to the size that suits their width; the projection centred, because the cosine of
    two outputs of a fresh ReLU layer is 0.97 whatever went in; biases to how often each class is heard.
    """
    norm = student.audio_model.audio_encoder.batch_norm
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.copy_(batches.mel_mean)
    norm.running_var.copy_(batches.mel_variance)
    norm.requires_grad_(False).eval()  # fixed from here on: nothing is gained by learning it, and time is lost
    for name, module in student.audio_model.named_modules():
        if isinstance(module, nn.Linear):
            shrink = 0.25 if "output" in name else 0.7  # the ends of residual branches start small
            nn.init.trunc_normal_(module.weight, std=shrink / module.in_features**0.5)
    first = [batches.batch(np.random.default_rng((SEED, 0, index)), 32) for index in range(windows // 32)]
    spread_patches(student.audio_model.audio_encoder, torch.cat([batch["mel"] for batch in first]))
    out = student.audio_model(first[0]["mel"])
    tokens = out.last_hidden_state.flatten(2).transpose(1, 2).flatten(0, 1)
    centre(student.audio_projection, torch.cat([out.pooler_output, tokens]))
    classes = first[0]["tokens"].shape[-1]
    often = torch.cat([batch["window"] for batch in first]).mean(0)
    student.class_bias.copy_(torch.logit(often.clamp(1e-4, 0.5)) - student.bias)
    often = torch.cat([batch["tokens"] for batch in first]).mean((0, 1))
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
    assert not isinstance(proj.padding, str) and proj.bias is not None
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


@torch.no_grad()
def centre(projection: ClapProjectionLayer, inputs: Tensor) -> None:
    """Make both layers of a projection orthogonal, and their outputs for `inputs` zero on average."""
    nn.init.orthogonal_(projection.linear1.weight, gain=float(1 / inputs.std(0).square().mean().sqrt()))
    nn.init.orthogonal_(projection.linear2.weight, gain=2.0)
    projection.linear1.bias.copy_(-projection.linear1.weight @ inputs.mean(0))
    hidden = functional.relu(projection.linear1(inputs))
    projection.linear2.bias.copy_(-projection.linear2.weight @ hidden.mean(0))
