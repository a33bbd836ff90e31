"""Limiter: lets no peak above the ceiling, between the samples either, by turning down before it comes.

    u_c[n] = 10^(gain_db/20) x_c[n]
    m[n]   = the highest |u_c| of all channels, at sample n and at the eighths on both sides of it
    r[n]   = min(1, C/m[n])                          the gain that this peak asks for
    q[n]   = min(r[n-R] .. r[n+L+R])                 the lowest one, now and in the look-ahead
    s[n]   = min(q[n], k s[n-1] + (1 - k) q[n])      falls at once, recovers with the release
    g[n]   = mean over s[n-L] .. s[n]                ramps in the place of steps
    y_c[n] = g[n] u_c[n]

    C       10^(ceiling_db/20)
    L       lookahead_ms in samples, 48 at least
    k       exp(-1000/(rate t)) for t = release_ms: 63 % of the way back in that time
            (rate: samples per second)
    R       17 samples: how far to either side a value between two samples depends on the samples
    mean    two running means, one after the other, over half of the look-ahead each: no corners
    c, n    channel and sample; all channels get one gain, so the picture stays

With detect = sample_peak only the samples count: R is 0, L at least 1, and there is one mean. Between the
samples peaks may then lie 3 dB and more above the ceiling.

Values between samples are those of a true-peak meter (ITU-R BS.1770-4, annex 2; here 32 taps at 4 times
the rate, and a cubic for the points half-way between those). The scheme, a minimum and then means, is the
common one (G. Luff, "Designing a straightforward limiter", Signalsmith Audio).

How exact. Samples never exceed the ceiling. Between them a meter of this kind reads at most 0.0002 dB above
it in noise, tones, squares, clicks and music at any drive, and 0.01 dB in signals made to break it. Finer
meters read more, as these points are eighths: an ideal one at most 0.07 dB in sound up to 18 kHz of 44.1
and 0.04 dB on music, ffmpeg's 0.03 dB on music and 0.08 dB on test signals. What lies above .43 of the rate
is seen less well: there an ideal meter reads 0.7 dB above the ceiling for a tone at .45, up to 1.7 dB for
noise of the full band, and 2.6 dB where the phase turns over at half the rate.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from numba import njit

from fxstyle.device import lane_functions
from fxstyle.dsp.kernel import each_row
from fxstyle.dsp.lookahead import Memory, gain, gain_adjoint, rest
from fxstyle.dsp.recurrence import Floats, own
from fxstyle.dsp.truepeak import (
    QUARTERS,
    REACH,
    cubic_weights,
    eighths,
    exceeds,
    folded,
    level_adjoint,
    levels,
    peaks,
    room,
)
from fxstyle.effect import Effect, Samples
from fxstyle.param import Param
from fxstyle.units import db_to_amplitude, ms_to_samples, time_constant

TRUE_PEAK = 0
"""Number of the choice of `detect` that looks between the samples."""

# Between the samples y is sum_k h_k g[n-k] u[n-k]. The minimum spans REACH samples on either side, which is
# all that the peak depends on: none of these gains is above C/m, and unless a louder peak is near, all of
# them are C/m. What the ramp towards a louder one adds is small because it has no corners: interpolation
# passes the product of a sound and a straight line as it is. Nothing is clipped there: it makes new peaks.
# Eighths and not quarters: finer meters and converters see more; on music quarters would leave 0.07 dB.
LEAST_RAMP = 48
"""Samples. Over a shorter ramp the gain bends within the interpolator's reach, and peaks between overshoot:
over 22 samples by up to 0.11 dB."""

_CHUNK = 511
"""Samples worked on at a time; with the one before, a whole number of SIMD lanes."""

_NEARLY = 1.0 - 1e-12
"""What rounding may do to a quotient is less than that."""

# Columns of the settings as the kernels take them; the last in samples.
_DRIVE, _CEILING, _RELEASE, _AHEAD = range(4)

# Rows of what the forward pass keeps for the backward pass.
_R, _S, _G = range(3)

_KEEP_NOTHING = np.empty((3, 0))


class LimiterState(NamedTuple):
    """What the limiter remembers: late (channel, L + 2R), the last inputs; and what the gain depends on."""

    late: Samples
    memory: Memory


@njit(cache=True, nogil=True, error_model="numpy")
def _needed(
    buf: Samples, p: Floats, tables: tuple[Samples, Samples], work: Samples, r: Floats, size: int
) -> None:
    """Fill r[0:size] with C/m or 1; no tables: for samples alone. work is from fxstyle.dsp.truepeak.room."""
    drive, ceiling, start = p[_DRIVE], p[_CEILING], int(p[_AHEAD])
    if tables[0].shape[0] > 0:
        high = levels(buf, start, size, ceiling / drive, tables[0], tables[1], work, r)
    else:
        level = work[0]
        peaks(buf, start, size, level)
        high = exceeds(level, size, _NEARLY * ceiling / drive)
        for n in range(size):
            r[n] = level[n]
    if high:
        for n in range(size):
            value = drive * r[n]
            r[n] = ceiling / (value if value > ceiling else ceiling)
    else:
        for n in range(size):
            r[n] = 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def _apply(buf: Samples, p: Floats, g: Floats, y: Samples, first: int, begin: int, size: int) -> None:
    """Scale columns `first` to `size` of buf into y from `begin` on, within the ceiling.

    Every gain that g averages spans the sample it scales; only what rounding adds is clipped off.
    """
    drive, ceiling = p[_DRIVE], p[_CEILING]
    for c in range(y.shape[0]):
        source, factor, out = buf[c, first:], g[first:], y[c, begin:]
        for n in range(size - first):
            value = drive * source[n] * factor[n]
            value = value if value < ceiling else ceiling
            out[n] = value if value > -ceiling else -ceiling


@njit(cache=True, nogil=True, error_model="numpy")
def _copy(source: Samples, begin: int, size: int, target: Samples, to: int) -> None:
    for c in range(source.shape[0]):
        part, out = source[c, begin:], target[c, to:]
        for n in range(size):
            out[n] = part[n]


@njit(cache=True, nogil=True, error_model="numpy")
def _run(
    x: Samples, skip: int, p: Floats, tables: tuple[Samples, Samples], late: Samples, memory: Memory,
    work: Samples, y: Samples, kept: Floats,
) -> None:  # fmt: skip
    """Limit x (channel, time), and move `late` and the memory on.

    The first `skip` samples put out are left out, and as many zeros follow x. `kept` (3, time + skip) takes
    r, s and g, or is empty.
    """
    channels, past = late.shape
    buf = np.zeros((channels, past + _CHUNK), x.dtype)
    r, s, g = np.empty(_CHUNK), np.empty(_CHUNK), np.empty(_CHUNK)
    least = np.empty((3, past + _CHUNK))
    _copy(late, 0, past, buf, 0)
    for begin in range(0, x.shape[1] + skip, _CHUNK):
        size = min(_CHUNK, x.shape[1] + skip - begin)
        there = max(0, min(size, x.shape[1] - begin))
        _copy(x, min(begin, x.shape[1]), there, buf, past)
        for c in range(channels if there < size else 0):
            for n in range(past + there, past + size):
                buf[c, n] = 0.0
        _needed(buf, p, tables, work, r, size)
        gain(r, p[_RELEASE], memory, least, s, g, size)
        first = min(size, max(0, skip - begin))
        _apply(buf, p, g, y, first, begin + first - skip, size)
        for n in range(size if kept.shape[1] > 0 else 0):
            kept[_R, begin + n], kept[_S, begin + n], kept[_G, begin + n] = r[n], s[n], g[n]
        _copy(buf, size, past, buf, 0)
    _copy(buf, 0, past, late, 0)


@njit(cache=True, nogil=True, error_model="numpy")
def _run_adjoint(
    dy: Samples, x: Samples, p: Floats, tables: tuple[Samples, Samples], taps: Floats, late: Samples,
    memory: Memory, work: Samples, dx: Samples, dp: Floats,
) -> None:  # fmt: skip
    """Fill dx like x and add to dp (4,) from dy, all (channel, time).

    That of g is in fxstyle.dsp.lookahead. With a_j the taps of the loudest point of the loudest channel, and
    D the drive:

        dr/dC = 1/m,   dr/dm = -r/m   where m > C,   dm/dx[n+j] = D a_j sign(a . x)
    """
    drive, ceiling, delay = p[_DRIVE], p[_CEILING], late.shape[1]
    kept = np.empty((3, x.shape[1] + delay))
    _run(x, delay, p, tables, late, memory, work, dx, kept)
    r, s, g = kept[_R], kept[_S], kept[_G]
    ddrive = dceiling = 0.0
    dg = g  # in place: each entry is read before its gradient takes its room
    for n in range(delay):
        dg[n] = 0.0
    for n in range(x.shape[1]):
        factor, total = g[n + delay], 0.0
        for c in range(x.shape[0]):
            dx[c, n] = dy[c, n] * drive * factor
            total += dy[c, n] * x[c, n]
        ddrive += total * factor
        dg[n + delay] = drive * total
    dr = np.empty(r.shape[0])
    dp[_RELEASE] += gain_adjoint(dg, r, s, p[_RELEASE], memory, dr)
    reach = (delay - int(p[_AHEAD])) // 2
    for n in range(r.shape[0]):
        if r[n] < 1.0 and dr[n] != 0.0:
            # r = C/m and m = D |x|
            dpeak = -dr[n] * r[n] * r[n] / ceiling
            dceiling += dr[n] * r[n] / ceiling
            ddrive += dpeak * level_adjoint(dpeak * drive, x, n - reach, taps, dx)
    dp[_DRIVE] += ddrive
    dp[_CEILING] += dceiling


def _geometry(rate: float, lookahead_ms: float, detect: float) -> tuple[int, int]:
    """Return L and R in samples."""
    ahead = round(ms_to_samples(lookahead_ms, rate))
    return (max(LEAST_RAMP, ahead), REACH) if detect == TRUE_PEAK else (max(1, ahead), 0)


def _at_rest(channels: int, dtype: npt.DTypeLike, ahead: int, reach: int) -> LimiterState:
    """Return the state of a stream that was silent so far."""
    past = ahead + 2 * reach
    late = np.zeros((channels, past), dtype)
    return LimiterState(late, rest(past, ahead // 2, ahead - ahead // 2) if reach else rest(past, ahead, 0))


@cache
def _tables(dtype: npt.DTypeLike, true_peak: bool) -> tuple[Samples, Samples]:
    """Return the tables of fxstyle.dsp.truepeak in the type of the audio, or empty ones."""
    return folded(QUARTERS).astype(dtype)[: 3 if true_peak else 0], cubic_weights().astype(dtype)


def _forward_row(x: Samples, p: Floats, reach: int, y: Samples) -> None:
    state = _at_rest(x.shape[0], x.dtype, int(p[_AHEAD]), reach)
    tables, work = _tables(x.dtype, reach > 0), room(_CHUNK, x.dtype)
    _run(x, state.late.shape[1], p, tables, *state, work, y, _KEEP_NOTHING)


def _backward_row(dy: Samples, x: Samples, p: Floats, reach: int, dx: Samples, dp: Floats) -> None:
    state = _at_rest(x.shape[0], x.dtype, int(p[_AHEAD]), reach)
    tables, work = _tables(x.dtype, reach > 0), room(_CHUNK, x.dtype)
    _run_adjoint(dy, x, p, tables, eighths()[: 7 if reach else 0], *state, work, dx, dp)


def delay(rate: float, *, lookahead_ms: float, detect: float) -> int:
    """Return the samples by which `render` is late."""
    ahead, reach = _geometry(rate, lookahead_ms, detect)
    return ahead + 2 * reach


def forward(
    x: torch.Tensor,
    rate: float,
    *,
    gain_db: torch.Tensor,
    ceiling_db: torch.Tensor,
    release_ms: torch.Tensor,
    lookahead_ms: torch.Tensor,
    detect: torch.Tensor,
) -> torch.Tensor:
    """Limit each row of (batch, channel, time) by its own settings, aligned with the input.

    Rows may differ in look-ahead and in what they detect.
    """
    rows = zip(lookahead_ms.double().tolist(), detect.tolist(), strict=True)
    geometry = [_geometry(rate, time_ms, choice) for time_ms, choice in rows]
    columns = (
        db_to_amplitude(gain_db.double()),
        db_to_amplitude(ceiling_db.double()),
        time_constant(release_ms.double(), rate),
        # A step: the gradient is there, and zero.
        gain_db.new_tensor([ahead for ahead, _ in geometry], dtype=torch.float64)
        + 0.0 * lookahead_ms.double(),
    )
    reaches = [reach for _, reach in geometry]
    if lane_functions.away(x):
        from fxstyle.device import limiter as elsewhere

        return elsewhere.limit(x, torch.stack(columns, dim=1), reaches)
    return each_row(x, torch.stack(columns, dim=1), reaches, _forward_row, _backward_row)


def render(
    x: Samples,
    rate: float,
    state: LimiterState | None,
    *,
    gain_db: float,
    ceiling_db: float,
    release_ms: float,
    lookahead_ms: float,
    detect: float,
) -> tuple[Samples, LimiterState]:
    """Limit a block (channel, time); the output is late by `delay` samples.

    Where look-ahead or detection change between two blocks, the gain begins anew.
    """
    ahead, reach = _geometry(rate, lookahead_ms, detect)
    p = np.array(
        (db_to_amplitude(gain_db), db_to_amplitude(ceiling_db), time_constant(release_ms, rate), ahead)
    )
    fixed = p, _tables(x.dtype, reach > 0)
    work, new = room(_CHUNK, x.dtype), _at_rest(x.shape[0], x.dtype, ahead, reach)
    if state is not None:
        late = state.late.astype(x.dtype)
        if all(old.shape == part.shape for old, part in zip(state.memory, new.memory, strict=True)):
            new = LimiterState(late, Memory(*(part.copy() for part in state.memory)))
        else:
            _run(late, 0, *fixed, *new, work, np.empty_like(late), _KEEP_NOTHING)
    y = np.empty_like(x, order="C")
    _run(own(x), 0, *fixed, *new, work, y, _KEEP_NOTHING)
    return y, new


EFFECT = Effect(
    name="limiter",
    summary="Look-ahead true-peak limiter",
    params=(
        Param("gain_db", "dB", 0.0, 24.0, 0.0, help="drive into the limiter; up: louder and denser"),
        Param(
            "ceiling_db", "dB", -24.0, 0.0, -0.3,
            help="no peak is higher; down: more room for converters and codecs",
        ),
        Param(
            "release_ms", "ms", 5.0, 1000.0, 100.0, "log",
            "time to recover 63 % after a peak; down: louder, may distort, up: cleaner",
        ),
        Param(
            "lookahead_ms", "ms", 0.5, 20.0, 2.0, "log",
            "how early it turns down before a peak; up: smoother, more latency", fitted=False,
        ),
        Param.choice(
            "detect", ("true_peak", "sample_peak"), "true_peak", "whether peaks between the samples count"
        ),
    ),
    forward=forward,
    render=render,
    # Both forms run the same kernels.
    tolerance_db=-120.0,
    latency=lambda rate, settings: delay(
        rate, lookahead_ms=settings["lookahead_ms"], detect=settings["detect"]
    ),
)  # fmt: skip
