"""What listens: by name, an embedding with its distance (protocol `fxstyle.embed.Embedding`).

measured         fxstyle's descriptors, `fxstyle.embed.measured`.
mfcc             mean and standard deviation over frames of 20 MFCC of mid and of side, Euclidean distance,
                 each feature scaled by how it varies over performances of our own.
encoder          fxstyle's learned encoder, 1 less the cosine of the styles.
encoder-place    the same, Euclidean distance of the places.
score            the relative score: measured and encoder together, calibrated to Ld.
encoder-random   the encoder with the weights it began with.
aisfx            PyPI aisfx 0.1.2, a general embedding of sounds, cosine distance; its weights, and its
                 spectrograms computed as its librosa variant does.
cdpam            PyPI cdpam 0.0.6, a perceptual distance at 22.05 kHz mono; very slow.

The packages of the last two ask for old versions of others that they hardly use. Only their networks and
weights are read here, so let pip put them somewhere by themselves:

    pip install --no-deps --target DIR aisfx==0.1.2 cdpam==0.0.6;  PYTHONPATH=DIR python bench/ear.py ...

All but fxstyle's own hear what they were made for: the last two know no stereo.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft
import scipy.signal
import torch
from ear_row import Limited

from fxstyle.embed import Embedding
from fxstyle.embed.encoder import Ear, load, untrained
from fxstyle.embed.measured import Measured
from fxstyle.embed.score import load_score
from fxstyle.errors import AudioError
from fxstyle.performance import SONGS, perform

if TYPE_CHECKING:
    from fxstyle.embed import Vectors


class AbsentError(RuntimeError):
    """A method that is not there, and why."""


def mel_matrix(bands: int, fft: int, rate: float) -> torch.Tensor:
    """Return triangles of unit sum on HTK's mel scale up to half the rate, (band, bin)."""
    top = 2595.0 * np.log10(1.0 + rate / 2.0 / 700.0)
    edges = 700.0 * (10.0 ** (np.linspace(0.0, top, bands + 2) / 2595.0) - 1.0)
    hz = np.linspace(0.0, rate / 2.0, fft // 2 + 1)
    low, centre, high = (edges[i : i + bands, None] for i in range(3))
    weights = np.maximum(np.minimum((hz - low) / (centre - low), (high - hz) / (high - centre)), 0.0)
    # a band so narrow that it holds no bin takes the nearest
    for band in np.flatnonzero(weights.sum(1) == 0.0):
        weights[band, np.abs(hz - centre[band]).argmin()] = 1.0
    return torch.from_numpy(weights / weights.sum(1, keepdims=True)).float()


def power(x: torch.Tensor, fft: int, hop: int) -> torch.Tensor:
    """Return the power spectra of (row, time) under a Hann window, (row, bin, frame)."""
    window = torch.hann_window(fft, dtype=x.dtype)
    return torch.stft(x, fft, hop, window=window, return_complex=True).abs().square()


def one_of_each(x: torch.Tensor, crops: int) -> torch.Tensor:
    """Mean over the crops of each candidate, (candidate * crop, feature) -> (candidate, feature)."""
    return x.reshape(-1, crops, x.shape[-1]).mean(1)


def cosine(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return 1 less the cosine, (candidate,)."""
    return 1.0 - torch.nn.functional.cosine_similarity(output, target, dim=-1)


MFCC_FFT, MFCC_HOP, MFCC_BANDS, MFCC_COUNT = 2048, 1024, 128, 20
MFCC_FLOOR = 1e-6
"""Power below which a band is silent: a full-scale sine has about 1e5, so some 110 dB below."""


@dataclass(frozen=True)
class Mfcc:
    """Statistics of MFCC. `scale`: standard deviation of each feature, (feature,)."""

    scale: torch.Tensor
    name: str = "mfcc"

    def embed(self, x: torch.Tensor, rate: float, crops: int = 1) -> Vectors:
        """Return means and standard deviations of mid and side, (candidate, 80)."""
        left, right = x[:, 0], x[:, -1]
        dct = torch.from_numpy(scipy.fft.dct(np.eye(MFCC_BANDS), norm="ortho", axis=0)[:MFCC_COUNT]).float()
        parts = []
        for part in (0.5 * (left + right), 0.5 * (left - right)):
            mel = mel_matrix(MFCC_BANDS, MFCC_FFT, rate) @ power(part, MFCC_FFT, MFCC_HOP)
            coefficients = dct @ (mel + MFCC_FLOOR).log()
            parts += [coefficients.mean(-1), coefficients.var(-1).clamp_min(1e-12).sqrt()]
        return {"mfcc": one_of_each(torch.cat(parts, dim=-1), crops)}

    def distance(self, output: Vectors, target: Vectors) -> Mapping[str, torch.Tensor]:
        """Return the Euclidean distance of the scaled features."""
        return {"mfcc": ((output["mfcc"] - target["mfcc"]) / self.scale).square().mean(-1).add(1e-12).sqrt()}


CALIBRATION_SEEDS, CALIBRATION_S, CALIBRATION_RATE = 4, 5.0, 44100


def mfcc() -> Embedding:
    """Return MFCC statistics scaled by performances that no protocol uses."""
    x = np.stack(
        [
            perform(CALIBRATION_S, CALIBRATION_RATE, song=song, seed=seed)
            for song in range(len(SONGS))
            for seed in range(CALIBRATION_SEEDS)
        ]
    )
    vectors = Mfcc(torch.ones(1)).embed(torch.from_numpy(x.astype(np.float32)), CALIBRATION_RATE)["mfcc"]
    spread = vectors.std(0)
    return Mfcc(spread.clamp_min(0.1 * float(spread.median())))


def _package(name: str, version: str) -> Path:
    """Return the folder of a package without importing it: its __init__ would ask for much more."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise AbsentError(
            f"the package is not there: pip install --no-deps --target DIR {name}=={version},"
            " and DIR in PYTHONPATH"
        )
    return Path(found.origin).parent


def _module(path: Path) -> ModuleType:
    found = importlib.util.spec_from_file_location(f"_ear_{path.stem}", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def _checkpoint(path: Path) -> Any:
    # The files hold more than weights. They came with the packages, whose code is run as well.
    return torch.load(path, map_location="cpu", weights_only=False)


AISFX_FFT, AISFX_HOP, AISFX_BANDS, AISFX_BLOCK = 2048, 1024, 96, 100
AISFX_TOP = 9.457798957824707
"""The largest value of its training's spectrograms, by which it scales."""


@dataclass(frozen=True, eq=False)
class Aisfx:
    """The embedding of aisfx, mean over half-overlapping blocks of 2.3 s; its network has no stubs."""

    network: Any
    name: str = "aisfx"

    def embed(self, x: torch.Tensor, rate: float, crops: int = 1) -> Vectors:
        """Return (candidate, 512)."""
        mid = x.mean(1)
        mid = mid / mid.abs().amax(-1, keepdim=True).clamp_min(1e-8)
        mel = mel_matrix(AISFX_BANDS, AISFX_FFT, rate) @ power(mid, AISFX_FFT, AISFX_HOP)
        spectrum = ((1e4 * mel + 1.0).log10() / AISFX_TOP).transpose(1, 2)
        blocks = spectrum.unfold(1, AISFX_BLOCK, AISFX_BLOCK // 2).transpose(2, 3)
        vectors = self.network.get_embedding(blocks.flatten(0, 1))
        return {"aisfx": one_of_each(vectors.reshape(len(x), -1, vectors.shape[-1]).mean(1), crops)}

    def distance(self, output: Vectors, target: Vectors) -> Mapping[str, torch.Tensor]:
        """Return 1 less the cosine."""
        return {"aisfx": cosine(output["aisfx"], target["aisfx"])}


def aisfx() -> Embedding:
    """Return the embedding with the package's weights."""
    folder = _package("aisfx", "0.1.2") / "models"
    weights, datasets = _checkpoint(folder / "checkpoint.pth")
    code = _module(folder / "cnn2d.py")
    network = code.CrossNet(code.EmbeddingNet("max", 3, 1, 64), datasets, "cpu")
    network.load_state_dict(weights)
    return Aisfx(network.eval().requires_grad_(False))


CDPAM_RATE, CDPAM_FULL_SCALE = 22050.0, 32768.0
CDPAM_TAPS = 65


@dataclass(frozen=True, eq=False)
class Cdpam:
    """The perceptual distance of cdpam, from its acoustic half; its network has no stubs."""

    network: Any
    name: str = "cdpam"

    def embed(self, x: torch.Tensor, rate: float, crops: int = 1) -> Vectors:
        """Return (candidate, 512). Raises ValueError for a rate other than 44.1 kHz."""
        if rate != 2.0 * CDPAM_RATE:
            raise ValueError(f"rate = {rate:g} Hz: cdpam is fed from {2.0 * CDPAM_RATE:g} Hz only")
        taps = torch.from_numpy(scipy.signal.firwin(CDPAM_TAPS, 0.45)).float()
        mid = torch.nn.functional.conv1d(
            x.mean(1)[:, None], taps[None, None], stride=2, padding=CDPAM_TAPS // 2
        )
        _, acoustics, _ = self.network.base_encoder(CDPAM_FULL_SCALE * mid)
        return {"cdpam": one_of_each(torch.nn.functional.normalize(acoustics, dim=1), crops)}

    def distance(self, output: Vectors, target: Vectors) -> Mapping[str, torch.Tensor]:
        """Return the learned distance."""
        both = target["cdpam"].expand_as(output["cdpam"])
        return {"cdpam": self.network.model_dist(both, output["cdpam"])}


def cdpam() -> Embedding:
    """Return the distance with the package's weights."""
    folder = _package("cdpam", "0.0.6")
    state = _checkpoint(folder / "CDPAM_trained" / "scratchJNDdefault_best_model.pth")["state"]
    network = _module(folder / "models.py").FINnet(
        dev=torch.device("cpu"), encoder_layers=16, encoder_filters=64, ndim=[16, 6], classif_dp=0.05,
        classif_BN=0, classif_act="no", input_size=512,
    )  # fmt: skip
    network.load_state_dict(state)
    return Cdpam(network.eval().requires_grad_(False))


RANDOM_SEED = 0


def _ear(weights: Path | None) -> Ear:
    try:
        return load(weights)
    except AudioError as missing:
        raise AbsentError(f"{missing}") from missing


@dataclass(frozen=True, eq=False)
class Place:
    """The encoder's other distance: how far apart the sounds would lie, had they one content."""

    ear: Ear
    name: str = "encoder-place"

    def embed(self, x: torch.Tensor, rate: float, crops: int = 1) -> Vectors:
        """Return the encoder's vectors."""
        return self.ear.embed(x, rate, crops)

    def distance(self, output: Vectors, target: Vectors) -> Mapping[str, torch.Tensor]:
        """Return the Euclidean distance of the places."""
        return {"place": self.ear.true_distance(output, target)}


def trained_on(method: Embedding) -> frozenset[str]:
    """Return the names of the units of treatment that a method's weights say they were trained on."""
    match method:
        case Limited(embedding=inner):
            return trained_on(inner)
        # the encoder itself, or what listens through one
        case Ear(about=about) | object(ear=Ear(about=about)):
            return frozenset(name.strip() for name in about.get("units", "").split(",") if name)
        case _:
            return frozenset()


METHODS: dict[str, Callable[[Path | None], Embedding]] = {
    "measured": lambda _: Measured(),
    "mfcc": lambda _: mfcc(),
    "encoder": _ear,
    "encoder-place": lambda weights: Place(_ear(weights)),
    "score": lambda weights: load_score(None, _ear(weights)),
    "encoder-random": lambda _: untrained(RANDOM_SEED),
    "aisfx": lambda _: aisfx(),
    "cdpam": lambda _: cdpam(),
}
"""From the encoder's weights file (None: the shipped one) to a method; AbsentError says why there is none.

A distance may have several named terms: what is ranked is their sum.
"""

WEIGHED = frozenset({"encoder", "encoder-place", "score"})
"""Methods that a weights file decides: of several files each gives one."""

BASELINES = frozenset({"measured", "mfcc", "encoder-random", "aisfx", "cdpam"})
"""What the others are compared with, query by query."""

UNASKED = tuple(name for name in METHODS if name != "cdpam")
"""Those that run unless others are named; cdpam takes hours."""
