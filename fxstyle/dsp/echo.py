"""A delay line whose loop is filtered and may cross from one channel to the other; and its exact adjoint.

    v_c[n] = sum_{j<4} c_j f_c[n - d - j]                   the line, read between samples
    z_L = (1 - s) v_L + s v_R,   z_R = (1 - s) v_R + s v_L  s = cross, of a pair of channels; else z = v
    u_L = (1 - s) x_L,           u_R = (1 - s) x_R + s (x_L + x_R)/2                          u = x
    w_c[n] = u_c[n] + r z_c[n]                              r = feedback
    h_c[n] = (1 + p)/2 (w_c[n] - w_c[n-1]) + p h_c[n-1]     low cut
    f_c[n] = (1 - q)/2 (h_c[n] + h_c[n-1]) + q f_c[n-1]     high cut
    y_c[n] = x_c[n] + l v_c[n]                              l = level

Adjoint, with a bar for the derivative by a signal, in reverse time; Z and U are the transposes of the maps
from v to z and from x to u:

    f'[n] = sum_j c_j v'[n + d + j] + q f'[n+1]
    h'[n] = (1 - q)/2 (f'[n] + f'[n+1]) + p h'[n+1]
    w'[n] = (1 + p)/2 (h'[n] - h'[n+1])
    v'[n] = l y'[n] + r Z w'[n],   x'[n] = y'[n] + U w'[n]

    c_j: sum v'[n] f[n-d-j]        r: sum w' z        l: sum y' v
    s: sum w'_L (r (v_R - v_L) - x_L) + w'_R (r (v_L - v_R) + (x_L - x_R)/2)
    p: sum h'[n] (h[n-1] + (w[n] - w[n-1])/2)    q: sum f'[n] (f[n-1] - (h[n] + h[n-1])/2)

Speed. What is read lies at least d samples back, so a piece of at most d samples has no recursion across
the line: its v, w and y are computed on the processor's lanes, and only the two filters sample by sample,
of two channels side by side, which takes the time of one. Denormals: below TINY_IN_LOOP v is zero, and so
are the filters' states at multiples of PIECE samples since the beginning of the stream, wherever blocks
are cut. Each sample goes through the same operations in the same order in a piece of any length,
hence to the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from fxstyle.dsp.kernel import flush
from fxstyle.dsp.lagrange import LAGRANGE_TAPS
from fxstyle.dsp.recurrence import own
from fxstyle.effect import Samples

Floats = npt.NDArray[np.float64]

PIECE = 512
"""Longest piece in samples: five arrays of two channels stay in the first-level cache."""

PAGE = 4096
"""Arrays of a stream's line shorter than this are joined with the next block."""

REACH = LAGRANGE_TAPS - 1
"""Samples beyond d that are read."""

_MEMORY = 4
"""Numbers that a channel remembers besides its line; see State."""

# Columns of the settings as the kernels take them, behind the taps.
_FEEDBACK, _LOW, _HIGH, _LEVEL, _CROSS = range(LAGRANGE_TAPS, LAGRANGE_TAPS + 5)


@njit(cache=True, nogil=True, error_model="numpy")
def _weigh(line: Floats, taps: Floats, out: Floats, size: int) -> None:
    """out[k] = sum_j c_j line[k + 3 - j], zero below TINY_IN_LOOP."""
    c0, c1, c2, c3 = taps[0], taps[1], taps[2], taps[3]
    l0, l1, l2 = line[3:], line[2:], line[1:]
    for k in range(size):
        out[k] = flush(c0 * l0[k] + c1 * l1[k] + c2 * l2[k] + c3 * line[k])


@njit(cache=True, nogil=True, error_model="numpy")
def _enter(
    x: Samples, other: Samples, v: Floats, v_other: Floats, p: Floats, right: bool, w: Floats, size: int
) -> None:
    """Fill w from this channel's x and v and, where they cross, from the other's."""
    r, s = p[_FEEDBACK], p[_CROSS]
    if s == 0.0:
        for k in range(size):
            w[k] = x[k] + r * v[k]
        return
    half = 0.5 * s if right else 0.0
    straight = 1.0 - s + half
    for k in range(size):
        w[k] = (straight * x[k] + half * other[k]) + r * ((1.0 - s) * v[k] + s * v_other[k])


@njit(cache=True, nogil=True, error_model="numpy")
def _differences(w: Floats, b: float, e: Floats, size: int) -> None:
    for k in range(size):
        e[k] = b * (w[k + 1] - w[k])


@njit(cache=True, nogil=True, error_model="numpy")
def _leave(x: Samples, v: Floats, level: float, y: Samples, size: int) -> None:
    for k in range(size):
        y[k] = x[k] + level * v[k]


@njit(cache=True, nogil=True, error_model="numpy")
def _filter(
    p: float, q: float, h_a: Floats, h_b: Floats, f_a: Floats, f_b: Floats, a: Floats, b: Floats, size: int
) -> None:
    """Run both filters of two channels, which may be the same one.

    h: its first entry is the sample before; from the second on the differences, which become h.
    f: receives f. a, b: (3,), w, h and f of the sample before; h and f are brought up to date.
    """
    c = (1 - q) / 2
    h_a1, h_b1, f_a1, f_b1 = a[1], b[1], a[2], b[2]
    for k in range(size):
        h_a0 = h_a[k + 1] + p * h_a1
        h_b0 = h_b[k + 1] + p * h_b1
        f_a1 = c * (h_a0 + h_a1) + q * f_a1
        f_b1 = c * (h_b0 + h_b1) + q * f_b1
        h_a[k + 1], h_b[k + 1], f_a[k], f_b[k] = h_a0, h_b0, f_a1, f_b1
        h_a1, h_b1 = h_a0, h_b0
    a[1], b[1], a[2], b[2] = h_a1, h_b1, f_a1, f_b1


@njit(cache=True, nogil=True, error_model="numpy")
def _run(
    x: Samples,
    p: Floats,
    whole: int,
    read: Floats,
    write: Floats,
    offset: int,
    memory: Floats,
    v: Floats,
    w: Floats,
    h: Floats,
    y: Samples,
) -> None:
    """Run the module's equations over a block (channel, time).

    read: the line, (channel, ..), of which read[:, n + 3] = f[n - d]. write: write[:, offset + n] receives
    f[n]; where the delay is shorter than the block it is the later part of `read`. memory: (channel, 4), as
    in State. v, w, h: (channel, ..) for one piece, or for the whole block, which then is kept; w and h begin
    with the sample before.
    """
    keep = v.shape[1] >= x.shape[1]
    for i in range(0, x.shape[0], 2):
        j = min(i + 1, x.shape[0] - 1)
        n = 0
        while n < x.shape[1]:
            passed = int(memory[i, 3])
            size = min(whole, PIECE - passed, x.shape[1] - n)
            at = n if keep else 0
            for c in range(i, j + 1):
                _weigh(read[c, n:], p, v[c, at:], size)
            for c in range(i, j + 1):
                o = i + j - c
                w[c, at], h[c, at] = memory[c, 0], memory[c, 1]
                _enter(x[c, n:], x[o, n:], v[c, at:], v[o, at:], p, c == j, w[c, at + 1 :], size)
                _differences(w[c, at:], 0.5 * (1.0 + p[_LOW]), h[c, at + 1 :], size)
                _leave(x[c, n:], v[c, at:], p[_LEVEL], y[c, n:], size)
                memory[c, 0] = w[c, at + size]
            f_i, f_j = write[i, offset + n :], write[j, offset + n :]
            _filter(p[_LOW], p[_HIGH], h[i, at:], h[j, at:], f_i, f_j, memory[i], memory[j], size)
            n += size
            for c in range(i, j + 1):
                memory[c, 3] = passed + size
                if passed + size == PIECE:
                    memory[c, 1], memory[c, 2], memory[c, 3] = flush(memory[c, 1]), flush(memory[c, 2]), 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _filter_adjoint(
    p: float, q: float, f_a: Floats, f_b: Floats, h_a: Floats, h_b: Floats, a: Floats, b: Floats, size: int
) -> None:
    """Go back through both filters of two channels, which may be the same one.

    f: what the line hands back, which becomes f'. h: receives h'. a, b: (2,), f' and h' of the sample
    after; brought up to date.
    """
    c = (1 - q) / 2
    f_a1, f_b1, h_a1, h_b1 = a[0], b[0], a[1], b[1]
    for k in range(size - 1, -1, -1):
        f_a0 = f_a[k] + q * f_a1
        f_b0 = f_b[k] + q * f_b1
        h_a1 = c * (f_a0 + f_a1) + p * h_a1
        h_b1 = c * (f_b0 + f_b1) + p * h_b1
        f_a[k], f_b[k], h_a[k], h_b[k] = f_a0, f_b0, h_a1, h_b1
        f_a1, f_b1 = f_a0, f_b0
    a[0], b[0], a[1], b[1] = flush(f_a1), flush(f_b1), flush(h_a1), flush(h_b1)


# In both kernels below reassociation lets the sums run in SIMD lanes; nothing there tests for NaN.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "nsz"})
def _filter_sums(df: Floats, dh: Floats, f: Floats, h: Floats, w: Floats, size: int, dp: Floats) -> None:
    """Add the gradients of p and q; f, h and w begin with the sample before."""
    low, high = 0.0, 0.0
    for k in range(size):
        low += dh[k] * (h[k] + 0.5 * (w[k + 1] - w[k]))
        high += df[k] * (f[k] - 0.5 * (h[k + 1] + h[k]))
    dp[_LOW] += low
    dp[_HIGH] += high


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "nsz"})
def _line_sums(
    dy: Samples,
    x: Samples,
    other: Samples,
    dw: Floats,
    dw_other: Floats,
    v: Floats,
    v_other: Floats,
    line: Floats,
    p: Floats,
    right: bool,
    size: int,
    dv: Floats,
    dx: Samples,
    dp: Floats,
) -> None:
    """Fill v' and x' of one channel and add the gradients of taps, r, l and s; line[k + 3] is f[n - d]."""
    r, s, level = p[_FEEDBACK], p[_CROSS], p[_LEVEL]
    half = 0.5 if right else 0.0
    straight, across = 1.0 - s + s * half, s * (0.5 - half)
    g0, g1, g2, g3, dr, dlevel, ds = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(size):
        back = level * dy[k] + r * ((1.0 - s) * dw[k] + s * dw_other[k])
        dv[k] = back
        dx[k] = dy[k] + (straight * dw[k] + across * dw_other[k])
        g0 += back * line[k + 3]
        g1 += back * line[k + 2]
        g2 += back * line[k + 1]
        g3 += back * line[k]
        dr += dw[k] * ((1.0 - s) * v[k] + s * v_other[k])
        dlevel += dy[k] * v[k]
        ds += dw[k] * (r * (v_other[k] - v[k]) - (1.0 - half) * x[k] + half * other[k])
    dp[0] += g0
    dp[1] += g1
    dp[2] += g2
    dp[3] += g3
    dp[_FEEDBACK] += dr
    dp[_LEVEL] += dlevel
    dp[_CROSS] += ds


@njit(cache=True, nogil=True, error_model="numpy")
def _run_adjoint(
    dy: Samples,
    x: Samples,
    p: Floats,
    taps: Floats,
    whole: int,
    line: Floats,
    v: Floats,
    w: Floats,
    h: Floats,
    dv: Floats,
    dx: Samples,
    dp: Floats,
) -> None:
    """Go backwards through (channel, time), piece by piece.

    taps: in the opposite order, for the transpose reads ahead. line, v, w, h: as `_run` left them, line with
    d + 3 zeros before. dv: (channel, time + d + 3), zero.
    """
    back = whole + REACH
    df, dh, after = np.empty((2, PIECE)), np.empty((2, PIECE + 1)), np.empty((2, 2))
    for i in range(0, x.shape[0], 2):
        j = min(i + 1, x.shape[0] - 1)
        after[0, 0], after[0, 1], after[1, 0], after[1, 1] = 0.0, 0.0, 0.0, 0.0
        end = x.shape[1]
        while end > 0:
            size = min(whole, PIECE, end)
            n = end - size
            for c in range(i, j + 1):
                _weigh(dv[c, n + whole :], taps, df[c - i], size)
                dh[c - i, size] = after[c - i, 1]
            _filter_adjoint(
                p[_LOW], p[_HIGH], df[0], df[j - i], dh[0], dh[j - i], after[0], after[j - i], size
            )
            for c in range(i, j + 1):
                _filter_sums(df[c - i], dh[c - i], line[c, back + n - 1 :], h[c, n:], w[c, n:], size, dp)
                # from here on df holds w'
                _differences(dh[c - i], -0.5 * (1.0 + p[_LOW]), df[c - i], size)
            for c in range(i, j + 1):
                o = i + j - c
                _line_sums(
                    dy[c, n:], x[c, n:], x[o, n:], df[c - i], df[o - i], v[c, n:], v[o, n:], line[c, n:], p,
                    c > i, size, dv[c, n:], dx[c, n:], dp,
                )  # fmt: skip
            end = n


@dataclass(frozen=True)
class State:
    """Where a stream stands. Nothing in it is ever written to, so a state can be used more than once.

    Attributes
    ----------
    line: f up to now as arrays (channel, time), oldest first; no copy of what is already there is made
        when a block is added, unless the last array is short.
    memory: (channel, 4), the last w, h and f, and the samples since denormals were looked for.
    """

    line: tuple[Floats, ...]
    memory: Floats

    def past(self, back: int, count: int) -> Floats:
        """Return `count` samples of f from `back` samples ago, (channel, count); zero before all."""
        pieces: list[Floats] = []
        newest = 0
        for page in reversed(self.line):
            # This page reaches from newest + its length to newest samples ago.
            first = max(newest + page.shape[1] - back, 0)
            last = min(newest + page.shape[1] - back + count, page.shape[1])
            if first < last:
                pieces.append(page[:, first:last])
            newest += page.shape[1]
        missing = min(max(back - newest, 0), count)
        return np.concatenate([np.zeros((self.memory.shape[0], missing)), *reversed(pieces)], axis=1)

    def extended(self, written: Floats, memory: Floats, kept: int) -> State:
        """Return the state after `written` (channel, time), keeping at least the last `kept` samples."""
        line = [*self.line, written]
        if self.line and self.line[-1].shape[1] < PAGE:
            line[-2:] = [np.concatenate(line[-2:], axis=1)]
        surplus = sum(page.shape[1] for page in line) - kept
        while line[0].shape[1] <= surplus:
            surplus -= line.pop(0).shape[1]
        return State(tuple(line), memory)


def block(x: Samples, settings: Floats, whole: int, state: State | None) -> tuple[Samples, State]:
    """Return the output for one block (channel, time) of a stream, and the state after it.

    settings: (9,). whole: d. state: None at the beginning of the stream.
    """
    channels, count = x.shape
    if state is None:
        state = State((), np.zeros((channels, _MEMORY)))
    back = whole + REACH
    if count <= whole:
        read, write, offset = state.past(back, count + REACH), np.empty(x.shape), 0
    else:
        read = np.concatenate([state.past(back, back), np.zeros(x.shape)], axis=1)
        write, offset = read, back
    memory, y = state.memory.copy(), np.empty_like(x, order="C")
    v, w, h = (np.empty((channels, PIECE + more)) for more in (0, 1, 1))
    _run(own(x), settings, whole, read, write, offset, memory, v, w, h, y)
    return y, state.extended(write[:, offset:], memory, back)


def forward(x: Samples, settings: Floats, whole: int, y: Samples) -> None:
    """Fill y like x (channel, time)."""
    y[:], _ = block(x, settings, whole, None)


def adjoint(dy: Samples, x: Samples, settings: Floats, whole: int, dx: Samples, dsettings: Floats) -> None:
    """Fill dx like x and add to dsettings from dy; the adjoint of `forward`."""
    channels, count = x.shape
    back = whole + REACH
    line, dv = np.zeros((channels, back + count)), np.zeros((channels, back + count))
    v, w, h = (np.empty((channels, count + more)) for more in (0, 1, 1))
    _run(x, settings, whole, line, line, back, np.zeros((channels, _MEMORY)), v, w, h, dx)
    taps = settings[LAGRANGE_TAPS - 1 :: -1].copy()
    _run_adjoint(dy, x, settings, taps, whole, line, v, w, h, dv, dx, dsettings)
