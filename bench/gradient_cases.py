"""What `gradients.py` compares: the same job by fxstyle and by its peers, each forward and back once.

Every program is made by `prepare` from a function of the sound and its settings, so that all are asked for
the same: gradients to the sound and to every setting. Settings that two programs share have the same values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec

import scipy.signal
import torch

from fxstyle import effects
from fxstyle.dsp.recurrence import sosfilt
from fxstyle.features.stft_loss import StftLoss

RATE = 44100
OURS = "fxstyle"

PEERS = {"dasp": "dasp_pytorch", "torchcomp": "torchcomp", "torchlpc": "torchlpc", "auraloss": "auraloss"}
"""Words in a program's name, and the module that each stands for."""

INSTALL = "pip install dasp-pytorch auraloss; pip install --no-build-isolation --no-deps torchlpc torchcomp"

SHELF_Q = 0.5**0.5
BANDS = ((200.0, -4.0, 1.0), (500.0, 2.0, 1.4), (1250.0, -3.0, 2.0), (3200.0, 4.0, 1.0))
LOW_SHELF, HIGH_SHELF = (100.0, 3.0, SHELF_Q), (8000.0, -2.0, SHELF_Q)
"""Frequency in Hz, gain in dB, Q: the six bands that dasp has."""

BAND_KNOBS = ("shelf_gain_db", "cutoff_freq", "q_factor", *(f"band{i}_gain_db" for i in range(len(BANDS))))
"""How dasp's names of the bands' settings end."""

COMPRESSOR = {"threshold_db": -24.0, "ratio": 4.0, "attack_ms": 10.0, "release_ms": 120.0, "knee_db": 6.0}
SECTIONS_HZ = 8000.0

Tensors = dict[str, torch.Tensor]
Run = Callable[[], tuple[torch.Tensor, torch.Tensor]]
"""Go forward and back once: the output, and a gradient to the sound."""

Prepare = Callable[[torch.Tensor, torch.Tensor], Run]
"""Batch and target, both (row, channel, time) -> a run; what is done once per target is done here."""


@dataclass(frozen=True)
class Case:
    """Programs for one job, fxstyle's first; `same_law`: those that must have its gradients."""

    name: str
    programs: dict[str, Prepare]
    same_law: tuple[str, ...] = ()
    tuned: bool = False
    note: str = ""


def prepare(
    forward: Callable[..., torch.Tensor],
    knobs: Callable[[int], Tensors],
    loss: Callable[[torch.Tensor], Callable[[torch.Tensor], torch.Tensor]] | None = None,
) -> Prepare:
    """Make a program of forward(x, **knobs), and of a loss made from the target, if there is one."""

    def with_batch(batch: torch.Tensor, target: torch.Tensor) -> Run:
        compare = loss(target) if loss is not None else None

        def run() -> tuple[torch.Tensor, torch.Tensor]:
            x = batch.detach().requires_grad_(True)
            settings = knobs(x.shape[0])
            y = forward(x, **settings)
            if compare is None:
                # something other than a constant, so that every sample counts for itself
                seed = torch.linspace(-1.0, 1.0, y.shape[-1]).expand_as(y)
            else:
                y = compare(y)
                seed = torch.full_like(y, 1.0 / y.numel())
            gradients = torch.autograd.grad(y, [x, *settings.values()], seed, allow_unused=True)
            return y.detach(), gradients[0]

        return run

    return with_batch


def each_row(values: dict[str, float], dtype: torch.dtype) -> Callable[[int], Tensors]:
    """Settings for so many rows, each (row,) with a gradient."""
    return lambda rows: {
        k: torch.full((rows,), v, dtype=dtype).requires_grad_(True) for k, v in values.items()
    }


def sections(count: int) -> Callable[[int], Tensors]:
    """So many second-order sections for every row: a Butterworth low pass."""
    sos = torch.from_numpy(scipy.signal.butter(2 * count, SECTIONS_HZ, fs=RATE, output="sos"))
    return lambda rows: {"sos": sos.repeat(rows, 1, 1).requires_grad_(True)}


def eq_and_compressor(x: torch.Tensor, **knobs: torch.Tensor) -> torch.Tensor:
    """Run fxstyle's; a knob's name begins with the effect's."""
    for name in ("eq", "compressor"):
        effect = effects.get(name)
        own = {p.name: knobs[f"{name}.{p.name}"] for p in effect.params if f"{name}.{p.name}" in knobs}
        if own:
            x = effect.forward(x, RATE, **own)
    return x


def of_effect(name: str, values: dict[str, float]) -> dict[str, float]:
    """All settings of an effect under their addresses."""
    return {f"{name}.{knob}": v for knob, v in {**effects.get(name).defaults(), **values}.items()}


def eq_settings() -> dict[str, float]:
    """Return fxstyle's equaliser set to the six bands."""
    values = {"low_shelf_hz": LOW_SHELF[0], "low_shelf_db": LOW_SHELF[1]}
    values |= {"high_shelf_hz": HIGH_SHELF[0], "high_shelf_db": HIGH_SHELF[1]}
    for i, (hz, gain_db, q) in enumerate(BANDS, start=2):
        values |= {f"peak{i}_hz": hz, f"peak{i}_db": gain_db, f"peak{i}_q": q}
    return of_effect("eq", values)


def compressor_settings() -> dict[str, float]:
    """Return fxstyle's compressor, each channel by itself as torchcomp's."""
    return of_effect("compressor", {**COMPRESSOR, "makeup_db": 0.0, "link": 0.0})


def dasp_settings() -> dict[str, float]:
    """Return the same bands and compressor as dasp names them."""
    bands = {"low_shelf": LOW_SHELF, **{f"band{i}": b for i, b in enumerate(BANDS)}, "high_shelf": HIGH_SHELF}
    values = {}
    for name, (hz, gain_db, q) in bands.items():
        values |= {f"{name}_gain_db": gain_db, f"{name}_cutoff_freq": hz, f"{name}_q_factor": q}
    return values | COMPRESSOR | {"makeup_gain_db": 0.0}


def dasp(x: torch.Tensor, **knobs: torch.Tensor) -> torch.Tensor:
    """Run dasp's equaliser and compressor, or one of them, by which settings are given."""
    import dasp_pytorch.functional as peer

    bands = {k: v for k, v in knobs.items() if k.endswith(BAND_KNOBS)}
    if bands:
        x = peer.parametric_eq(x, RATE, **bands)
    rest = {k: v for k, v in knobs.items() if k not in bands}
    return peer.compressor(x, RATE, **rest) if rest else x


def torchcomp(x: torch.Tensor, **knobs: torch.Tensor) -> torch.Tensor:
    """Apply torchcomp's gain to the signal whose magnitude it is made from; it has no knee."""
    import torchcomp as peer

    lanes = x.flatten(0, 1)
    k = {name: v.repeat_interleave(x.shape[1]) for name, v in knobs.items()}
    # its level must be positive, and its expander out of the way
    gain = peer.compexp_gain(
        lanes.abs().clamp_min(1e-8), k["threshold_db"], k["ratio"], -160.0, 0.5,
        peer.ms2coef(k["attack_ms"], RATE), peer.ms2coef(k["release_ms"], RATE),
    )  # fmt: skip
    return (lanes * gain).reshape(x.shape)


def torchlpc(x: torch.Tensor, sos: torch.Tensor) -> torch.Tensor:
    """Sections one by one: the zeros by shifts, the poles by torchlpc."""
    from torchlpc import sample_wise_lpc

    y = x.flatten(0, 1)
    for section in sos.to(x.dtype).repeat_interleave(x.shape[1], dim=0).unbind(1):
        past = torch.nn.functional.pad(y, (2, 0))
        b0, b1, b2 = section[:, 0:1], section[:, 1:2], section[:, 2:3]
        v = b0 * y + b1 * past[:, 1:-1] + b2 * past[:, :-2]
        y = sample_wise_lpc(v, section[:, None, 4:].expand(-1, y.shape[1], -1))
    return y.reshape(x.shape)


def auraloss(target: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return auraloss' multi-resolution STFT loss at its defaults."""
    from auraloss.freq import MultiResolutionSTFTLoss

    loss = MultiResolutionSTFTLoss()
    return lambda y: loss(y, target)  # type: ignore[no-any-return]


def _same(x: torch.Tensor) -> torch.Tensor:
    return x


def _none(rows: int) -> Tensors:
    return {}


def exact_sections(count: int) -> Prepare:
    """Return fxstyle's program of so many sections."""
    return prepare(sosfilt, sections(count))


def eq_then_compressor() -> Prepare:
    """Return fxstyle's program of both effects."""
    return prepare(eq_and_compressor, each_row(eq_settings() | compressor_settings(), torch.float64))


def cases() -> list[Case]:
    """All cases, without the peers that are not installed."""
    single, double = torch.float32, torch.float64
    bands = {k: v for k, v in dasp_settings().items() if k.endswith(BAND_KNOBS)}
    dynamics = {k: v for k, v in dasp_settings().items() if k not in bands}
    everything = [
        Case(
            "eq",
            {
                OURS: prepare(eq_and_compressor, each_row(eq_settings(), double)),
                "dasp": prepare(dasp, each_row(bands, single)),
            },
            note="fxstyle: ten sections in the time domain; dasp: six, by frequency sampling",
        ),
        Case(
            "sections",
            {OURS: exact_sections(6), "torchlpc": prepare(torchlpc, sections(6))},
            ("torchlpc",),
            note="six second-order sections, both exact",
        ),
        Case(
            "compressor",
            {
                OURS: prepare(eq_and_compressor, each_row(compressor_settings(), double)),
                "torchcomp": prepare(torchcomp, each_row(COMPRESSOR, single)),
                "dasp": prepare(dasp, each_row(dynamics, single)),
            },
            note="torchcomp: no knee; dasp: one time constant, channels linked",
        ),
        Case(
            "eq, compressor",
            {OURS: eq_then_compressor(), "dasp": prepare(dasp, each_row(dasp_settings(), single))},
        ),
        Case(
            "loss",
            {OURS: prepare(_same, _none, StftLoss), "auraloss": prepare(_same, _none, auraloss)},
            ("auraloss",),
            tuned=True,
            note="multi-resolution STFT; fxstyle has one value per row, and the target's spectra from before",
        ),
        Case(
            "step",
            {
                OURS: prepare(
                    eq_and_compressor, each_row(eq_settings() | compressor_settings(), double), StftLoss
                ),
                "dasp + auraloss": prepare(dasp, each_row(dasp_settings(), single), auraloss),
            },
            tuned=True,
            note="eq, compressor, loss",
        ),
    ]
    gone = missing()
    here = []
    for case in everything:
        programs = {name: p for name, p in case.programs.items() if not set(name.split()) & gone}
        same_law = tuple(name for name in case.same_law if name in programs)
        here.append(replace(case, programs=programs, same_law=same_law))
    return here


def missing() -> set[str]:
    """Return the names of the peers that are not installed."""
    return {name for name, module in PEERS.items() if find_spec(module) is None}


def find(name: str) -> Case:
    """Return the case of that name."""
    return next(c for c in cases() if c.name == name)
