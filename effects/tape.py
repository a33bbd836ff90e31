"""Tape machine: saturation of the tape, sway of its speed, and what the playback head adds and loses.

    u = tanh(d x)/d                          the tape, at four times the rate
    v[n] = u(n + q(n))                       the transport, wow (1) and flutter (2):
    q(n) = sum_j p_j/100 rate/(2 pi f_j) sin(2 pi f_j n/rate)
    y = 10^(output_db/20) L(B(v))            the head: bump B, loss L

    d           0.6288 x 10^(drive_db/20)
    p_j, f_j    wow_percent, wow_hz; flutter_percent, flutter_hz
    n, rate     samples since the beginning; samples per second

Saturation. A biased tape is symmetric: third and fifth harmonic, no second. Its maximum output level
(MOL) is, by the usual definition, where a 1 kHz tone has 3 % of third harmonic; tanh has that at 0.6288.
So drive_db is how far full scale lies above the MOL: at 0 a full-scale sine has those 3 % and loses
0.8 dB. Low levels pass as they are.

Wow and flutter. The pitch is 1 + sum_j p_j/100 cos(2 pi f_j n/rate) times what it was, 1 on average, and
the same in all channels. p_j is the peak deviation, which IEC 60386 (DIN 45507, AES6-2008) states too,
after weighting it by some 6 dB per octave on both sides of 4 Hz, where people hear it best: about .05 %
for studio machines, .1 to .2 % for cassette decks. Wow is slow (reels, eccentric rollers), flutter fast
(capstan and motor).

Head bump. At wavelengths near the length of the whole head its core picks up flux as well (J. G.
McKnight, JAES 8(3), 1960): a hill whose frequency goes with the speed of the tape, 30 Hz at 7.5 ips,
60 Hz at 15, 120 Hz at 30. B is a peak of Q 1.5, about an octave wide (R. Bristow-Johnson's:
(s^2 + s A/Q + 1)/(s^2 + s/(A Q) + 1), A = 10^(bump_db/40)).

Loss. Short wavelengths suffer from gap, spacing and thickness (R. L. Wallace, BSTJ 30, 1951), which a
machine's equalisers make up for as far as they can. L is what is left: a Butterworth low-pass of second
order, -3 dB at loss_hz, which may lie above half the rate (M. Vicanek, "Matched second order digital
filters", 2016). At 44.1 kHz it is right to 1 dB up to 20 kHz, and to 0.1 dB at loss_hz below 13 kHz.

Limits. With drive, bump, wow and flutter at their lowest and loss_hz at its highest, y is x: at 44.1 kHz
to -58 dB up to 20 kHz, and to -80 dB up to 4 kHz. There is no hiss, no print-through and no hysteresis.
An amount below 1 mixes in the dry sound, against which the swaying one cancels at moving frequencies, as in a
flanger: turn the knobs down instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch

from fxstyle.dsp.oversample import LATE
from fxstyle.dsp.recurrence import Floats, SosState, sosfilt, sosfilt_block
from fxstyle.dsp.varispeed import reach, sway, sway_block
from fxstyle.dsp.waveshaper import CURVES, shape, shape_block
from fxstyle.effect import Effect, Samples
from fxstyle.param import Param
from fxstyle.units import NEPERS_OF_60_DB, db_to_amplitude

MOL_DRIVE = 0.6287902522396438
"""d for which tanh(d sin wt) has a third harmonic of 3 % of its fundamental."""

STAGES = 2
"""Oversampling by 2^STAGES = 4."""

BUMP_Q = 1.5
"""Of the head bump: it covers about an octave."""

_TANH = CURVES.index("tanh")

_DRIVE_DB = Param(
    "drive_db", "dB", -36.0, 24.0, default=0.0,
    help="how far full scale lies above 3 % distortion; up: denser, softer peaks",
)  # fmt: skip
_BUMP_HZ = Param(
    "bump_hz", "Hz", 20.0, 200.0, default=60.0, scale="log",
    help="head bump; 30 Hz at 7.5 ips, 60 at 15, 120 at 30",
)  # fmt: skip
_BUMP_DB = Param("bump_db", "dB", 0.0, 6.0, default=1.5, help="height of the head bump; up: rounder lows")
_LOSS_HZ = Param(
    "loss_hz", "Hz", 2_000.0, 100_000.0, default=20_000.0, scale="log", spread=0.2,
    help="where highs are 3 dB down; down: duller, as slow or worn tape",
)  # fmt: skip
_WOW_HZ = Param("wow_hz", "Hz", 0.5, 4.0, default=0.8, scale="log", help="slow sways of the pitch per second")
_WOW_PERCENT = Param(
    "wow_percent", "%", 0.0, 1.0, default=0.02, spread=0.1,
    help="how far the pitch sways slowly, peak; .05 studio, .2 cassette, 1 broken",
)  # fmt: skip
_FLUTTER_HZ = Param(
    "flutter_hz", "Hz", 5.0, 20.0, default=9.0, scale="log", help="fast sways of the pitch per second"
)
_FLUTTER_PERCENT = Param(
    "flutter_percent", "%", 0.0, 1.0, default=0.03, spread=0.1,
    help="how far the pitch sways fast, peak; up: rougher",
)  # fmt: skip
_OUTPUT_DB = Param("output_db", "dB", -24.0, 12.0, default=0.0, help="level after the tape")


def _swing(percent: torch.Tensor, hz: torch.Tensor, rate: float) -> torch.Tensor:
    """Return the amplitude in samples of a sway in position, from that in speed."""
    return 0.01 * percent * rate / (2.0 * math.pi * hz)


def _sways(
    rate: float,
    wow_hz: torch.Tensor,
    wow_percent: torch.Tensor,
    flutter_hz: torch.Tensor,
    flutter_percent: torch.Tensor,
) -> torch.Tensor:
    """Return the settings of fxstyle.dsp.varispeed, (batch, 4)."""
    columns = (
        _swing(wow_percent.double(), wow_hz.double(), rate),
        wow_hz.double() / rate,
        _swing(flutter_percent.double(), flutter_hz.double(), rate),
        flutter_hz.double() / rate,
    )
    return torch.stack(columns, dim=1)


def _curves(drive_db: torch.Tensor, output_db: torch.Tensor) -> torch.Tensor:
    """Return the settings of fxstyle.dsp.waveshaper, (batch, 5)."""
    drive = MOL_DRIVE * db_to_amplitude(drive_db.double())
    fixed = torch.tensor((0.0, _TANH, STAGES), dtype=torch.float64).expand(drive.shape[0], -1)
    return torch.cat([torch.stack([drive, db_to_amplitude(output_db.double()) / drive], dim=1), fixed], dim=1)


def _head(rate: float, bump_hz: torch.Tensor, bump_db: torch.Tensor, loss_hz: torch.Tensor) -> torch.Tensor:
    """Return bump and loss as sections, (batch, 2, 6).

    The poles of the loss are exp(analogue poles/rate), its zeros such that its magnitude is the analogue one
    at 0, rate/4 and rate/2 (Vicanek).
    """
    w = 2.0 * math.pi / rate * bump_hz.double()
    a, alpha, c = db_to_amplitude(bump_db.double() / 2.0), w.sin() / (2.0 * BUMP_Q), -2.0 * w.cos()
    one = torch.ones_like(w)
    bump = torch.stack([1.0 + alpha * a, c, 1.0 - alpha * a, 1.0 + alpha / a, c, 1.0 - alpha / a], dim=1)

    pole = math.sqrt(0.5) * 2.0 * math.pi / rate * loss_hz.double()
    a1, a2 = -2.0 * (-pole).exp() * pole.cos(), (-2.0 * pole).exp()
    quarter, half = (1.0 / (1.0 + (part * rate / loss_hz.double()) ** 4) for part in (0.25, 0.5))
    # sum and alternating sum of b, then |B|^2 at a quarter of the rate
    even, odd = 1.0 + a1 + a2, (1.0 - a1 + a2) * half.sqrt()
    middle = ((1.0 - a2) ** 2 + a1**2) * quarter - (even**2 + odd**2) / 2.0
    w_ = (even + odd) / 2.0
    b0 = (w_ + (w_**2 + middle).sqrt()) / 2.0
    loss = torch.stack([b0, (even - odd) / 2.0, -middle / (4.0 * b0), one, a1, a2], dim=1)
    return torch.stack([bump / bump[:, 3:4], loss], dim=1)


def _late(rate: float) -> int:
    """Return by how much the transport is late: enough for any setting."""
    swings = (
        0.01 * percent.high * rate / (2.0 * math.pi * hz.low)
        for percent, hz in ((_WOW_PERCENT, _WOW_HZ), (_FLUTTER_PERCENT, _FLUTTER_HZ))
    )
    return reach(sum(swings))


def _latency(rate: float, settings: Mapping[str, float]) -> int:
    return LATE[STAGES] + _late(rate)


def forward(
    x: torch.Tensor,
    rate: float,
    *,
    drive_db: torch.Tensor,
    bump_hz: torch.Tensor,
    bump_db: torch.Tensor,
    loss_hz: torch.Tensor,
    wow_hz: torch.Tensor,
    wow_percent: torch.Tensor,
    flutter_hz: torch.Tensor,
    flutter_percent: torch.Tensor,
    output_db: torch.Tensor,
) -> torch.Tensor:
    """Record each row of (batch, channel, time) and play it back; time 0 is its first sample."""
    # What rings and what is early comes before the sound, and after its end it may still be read.
    margin = LATE[STAGES] + _late(rate)
    u = shape(torch.nn.functional.pad(x, (margin, margin)), _curves(drive_db, output_db))
    sways = _sways(rate, wow_hz, wow_percent, flutter_hz, flutter_percent)
    v = sway(u, sways, -margin)
    return sosfilt(v, _head(rate, bump_hz, bump_db, loss_hz))[..., margin : margin + x.shape[-1]]


@lru_cache(maxsize=64)  # the same for every block of a stream
def _row(rate: float, *knobs: float) -> tuple[Floats, Floats, Floats]:
    """Return the settings of the three parts from the knobs in their order."""
    each = torch.tensor(knobs, dtype=torch.float64)[:, None]
    drive_db, bump_hz, bump_db, loss_hz, *swaying, output_db = each
    parts = (_curves(drive_db, output_db), _sways(rate, *swaying), _head(rate, bump_hz, bump_db, loss_hz))
    curves, sways, head = (part[0].numpy() for part in parts)
    return curves, sways, head


@dataclass(frozen=True)
class State:
    """Where a stream stands. Nothing in it is ever written to, so a state can be used more than once.

    Attributes
    ----------
    recorded, passed: (channel, time), the end of what went into the saturation, and into the transport.
    head: the filters.
    time: samples so far.
    """

    recorded: Samples | None = None
    passed: Samples | None = None
    head: SosState | None = None
    time: int = 0


def render(
    x: Samples,
    rate: float,
    state: State | None,
    *,
    drive_db: float,
    bump_hz: float,
    bump_db: float,
    loss_hz: float,
    wow_hz: float,
    wow_percent: float,
    flutter_hz: float,
    flutter_percent: float,
    output_db: float,
) -> tuple[Samples, State]:
    """Record a block (channel, time) and play it back; a sway turned between two blocks makes a jump."""
    state = state or State()
    curves, sways, head = _row(
        rate, drive_db, bump_hz, bump_db, loss_hz, wow_hz, wow_percent, flutter_hz, flutter_percent, output_db
    )
    u, recorded = shape_block(x, curves, state.recorded)
    late = _late(rate)
    v, passed = sway_block(u, sways, late, state.time - late - LATE[STAGES], state.passed)
    y, filters = sosfilt_block(v, head, state.head)
    return y, State(recorded, passed, filters, state.time + x.shape[1])


def _tail_s(settings: Mapping[str, float]) -> float:
    """The bump rings longest: its poles have Q 10^(bump_db/40) times as high."""
    q = BUMP_Q * math.pow(10.0, settings["bump_db"] / 40.0)
    return NEPERS_OF_60_DB * q / (math.pi * settings["bump_hz"])


EFFECT = Effect(
    name="tape",
    summary="Tape machine: saturation, head bump, loss of highs, wow and flutter",
    params=(
        _DRIVE_DB,
        _BUMP_HZ,
        _BUMP_DB,
        _LOSS_HZ,
        _WOW_HZ,
        _WOW_PERCENT,
        _FLUTTER_HZ,
        _FLUTTER_PERCENT,
        _OUTPUT_DB,
    ),
    forward=forward,
    render=render,
    # Both forms run the same kernels; the filters look for denormals at other places of the signal.
    tolerance_db=-140.0,
    latency=_latency,
    tail_s=_tail_s,
    time_invariant=False,
)
