"""What the proposer hears of a recording: what is measured of it, and what the encoder makes of it.

Groups of numbers by name, as of fxstyle.embed's `Ear.embed` and `hear` and of fxstyle.features' `describe`,
of a few salient windows of WINDOW_S together. Mono counts as two equal channels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import torch

from fxstyle.audio import Audio, resample
from fxstyle.embed.encoder import WINDOW_S, Ear
from fxstyle.embed.frontend import hear
from fxstyle.errors import AudioError
from fxstyle.features.descriptors import describe
from fxstyle.fit.crops import salient
from fxstyle.loudness import measure_loudness

RATE = 44_100
"""Hz; as fits (fit/target.py) and the training."""

WINDOWS = 6
"""Of a long recording, so many windows are listened to."""

SHORTEST_S, SILENT_LUFS = 0.5, -69.0
"""As of a fit: less has neither spectrum nor dynamics."""

ENCODER = "encoder."
"""Begins the names of groups that depend on the encoder's weights."""


def vectors(x: torch.Tensor, rate: float, ear: Ear, crops: int = 1) -> dict[str, torch.Tensor]:
    """Return groups (recording, number) of windows (recording * crop, 2, time)."""
    with torch.no_grad():
        made = ear.embed(x, rate, crops)
        heard = hear(x, rate)
        measured = describe(x, rate, crops)
    out = {f"{ENCODER}{name}": made[name] for name in ("style", "place", "common")}
    out["level"] = made["level"]
    out["texture"] = heard.texture.reshape(-1, crops, heard.texture.shape[1]).mean(dim=1)
    return {**out, **{f"measured.{name}": vector for name, vector in measured.items()}}


def listened(audio: Audio, role: str, ear: Ear) -> dict[str, torch.Tensor]:
    """Return groups (number,) of a recording.

    Raises AudioError where it is silent or shorter than SHORTEST_S.
    """
    if audio.duration_s < SHORTEST_S:
        raise AudioError(
            f"the {role} is {audio.duration_s:.3f} s long; at least {SHORTEST_S} s are needed to hear its"
            " sound"
        )
    lufs = measure_loudness(audio).integrated_lufs
    if not lufs > SILENT_LUFS:
        raise AudioError(f"the {role} is silent ({lufs:.0f} LUFS): choose a passage with sound")
    x = audio.samples if audio.channels <= 2 else audio.samples.mean(axis=0, keepdims=True)
    size = min(round(WINDOW_S * audio.rate), x.shape[1])
    begins = salient(x, size, min(WINDOWS, x.shape[1] // size))
    windows = []
    for begin in begins:
        window = Audio(np.ascontiguousarray(x[:, begin : begin + size]), audio.rate)
        samples = window.samples if audio.rate == RATE else resample(window, RATE).samples
        windows.append(np.broadcast_to(samples, (2, samples.shape[1])))
    stacked = torch.from_numpy(np.stack(windows).astype(np.float32))
    return {name: group[0] for name, group in vectors(stacked, RATE, ear, len(windows)).items()}


def fingerprint(ear: Ear) -> str:
    """Return what tells an encoder's weights from others: a SHA-256 of them in half precision."""
    digest = hashlib.sha256()
    tensors: Mapping[str, torch.Tensor] = ear.network.state_dict()
    for name in sorted(tensors):
        tensor = tensors[name]
        half = tensor.half() if tensor.is_floating_point() else tensor
        digest.update(name.encode() + half.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()
