"""What dynamics listen to: a side chain's low cut, peak or mean square, linked channels; with adjoints.

The low cut is a first-order high pass (trapezoidal; Zavalishin, "The Art of VA Filter Design", 2018, ch. 3),
3 dB down at f. The level is the root of a mean square of what is left; without a mean (c = 0) it is the peak:

    u[n] = x[n] - s[n-1],  s[n] = s[n-1] + 2 G u[n],  h[n] = (1 - G) u[n]   G = K/(1 + K), K = tan(pi f/rate)
    v[n] = c v[n-1] + (1 - c) h[n]^2,   d[n] = sqrt v[n];  d[n] = |h[n]| for c = 0

With f = 0 s stays 0, and h is x to the bit. The channels are linked by fxstyle.dsp.levels.rectify.

Adjoint, with a bar for the derivative and sigma that of s, mu that of v in all they flow to:

    mu[n] = d_bar[n]/(2 d[n]) + c mu[n+1],   c_bar += mu[n] (v[n-1] - h[n]^2)
    h_bar[n] = 2 (1 - c) h[n] mu[n], or d_bar[n] sgn h[n] for c = 0
    sigma[n-1] = (1 - 2 G) sigma[n] - (1 - G) h_bar[n]
    x_bar[n] = (1 - G) h_bar[n] + 2 G sigma[n],   G_bar += u[n] (2 sigma[n] - h_bar[n])

All of it works on blocks in float64.
"""

from __future__ import annotations

import math

from numba import njit

from fxstyle.dsp.follow import back, fused
from fxstyle.dsp.recurrence import TINY, Floats
from fxstyle.effect import Samples

# Columns of what the side chain remembers, and, backwards, of what flows to the block before.
SLOW, ENERGY = range(2)


@njit(cache=True, nogil=True, error_model="numpy")
def _leak(t: Floats, share: float, keep: float, s: Floats, size: int) -> None:
    """Fill s[:, 1:] with keep s[:, n-1] + share (t[:, n] + TINY), two channels at a time.

    s[:, 0]: from before. TINY keeps a decay from ending in denormals.
    """
    channels = t.shape[0]
    for c in range(0, channels, 2):
        other = min(c + 1, channels - 1)
        one, two = s[c, 0], s[other, 0]
        for n in range(size):
            one = fused(keep, one, share * (t[c, n] + TINY))
            two = fused(keep, two, share * (t[other, n] + TINY))
            s[c, n + 1] = one
            s[other, n + 1] = two


@njit(cache=True, nogil=True, error_model="numpy")
def listen(
    u: Floats, d: Samples, s: Floats, t: Floats, cut: float, keep: float, memory: Floats, size: int
) -> None:
    """Turn u (channel, time) in place from x into u and fill d; `memory` moves on.

    cut: G. keep: c. s, t: scratch, (channel, time + 1) at least.
    """
    channels = u.shape[0]
    for c in range(channels):
        s[c, 0] = memory[c, SLOW]
        memory[c, SLOW] = 0.0
    if cut != 0.0:
        _leak(u, 2.0 * cut, 1.0 - 2.0 * cut, s, size)
        for c in range(channels):
            memory[c, SLOW] = s[c, size]
            for n in range(size):
                u[c, n] -= s[c, n]
    for c in range(channels):
        s[c, 0] = memory[c, ENERGY]
        for n in range(size):
            h = (1.0 - cut) * u[c, n]
            d[c, n], t[c, n] = abs(h), h * h
    if keep > 0.0:
        _leak(t, 1.0 - keep, keep, s, size)
        for c in range(channels):
            memory[c, ENERGY] = s[c, size]
            for n in range(size):
                d[c, n] = math.sqrt(s[c, n + 1])


# Reassociation lets the sums run in SIMD lanes, in loops that write to no array: see fxstyle.dsp.curve.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def listen_adjoint(
    g: Floats, u: Floats, d: Samples, cut: float, keep: float, memory: Floats, carry: Floats, s: Floats,
    k: Floats, size: int,
) -> tuple[float, float]:  # fmt: skip
    """Turn g (channel, time) in place from the gradient of d into that of x.

    Returns those of G and c. memory: from before the block. carry (2, channel): from the block after, moves
    on. s, k: scratch, (channel, time + 1) at least.
    """
    channels = g.shape[0]
    dcut = dkeep = 0.0
    if keep > 0.0:
        for c in range(channels):
            for n in range(size):
                k[c, n] = keep
                g[c, n] *= 0.5 / d[c, n]
        back(g, k, carry[ENERGY], size)
        for c in range(channels):
            for n in range(size):
                h = (1.0 - cut) * u[c, n]
                before = float(d[c, n - 1]) * d[c, n - 1] if n > 0 else memory[c, ENERGY]
                dkeep += g[c, n] * (before - h * h)
            for n in range(size):
                g[c, n] *= 2.0 * (1.0 - keep) * (1.0 - cut) * u[c, n]
    for c in range(channels if keep == 0.0 else 0):
        for n in range(size):
            g[c, n] = g[c, n] if u[c, n] > 0.0 else (-g[c, n] if u[c, n] < 0.0 else 0.0)
    for c in range(channels):
        s[c, size] = carry[SLOW, c] / (1.0 - 2.0 * cut)
        for n in range(size):
            k[c, n] = 1.0 - 2.0 * cut
            s[c, n] = (cut - 1.0) * g[c, n]
    back(s, k, carry[SLOW], size)
    for c in range(channels):
        for n in range(size):
            dcut += u[c, n] * (2.0 * s[c, n + 1] - g[c, n])
        for n in range(size):
            g[c, n] = (1.0 - cut) * g[c, n] + 2.0 * cut * s[c, n + 1]
    return dcut, dkeep


# Reassociation as in listen_adjoint.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def link_adjoint(g: Floats, x: Samples, begin: int, link: float, scratch: Floats, size: int) -> float:
    """Turn g (channel, time) in place from the gradient of the linked levels into that of |x[:, begin:]|.

    Returns that of the link. Of equal maxima the first takes the gradient. scratch: (3, time).
    """
    for n in range(size):
        for i in range(3):
            scratch[i, n] = 0.0
    for c in range(x.shape[0]):
        part = x[c, begin : begin + size]
        for n in range(size):
            louder = abs(part[n]) > scratch[0, n]
            scratch[0, n] = abs(part[n]) if louder else scratch[0, n]
            scratch[1, n] = c if louder else scratch[1, n]
            scratch[2, n] += g[c, n]
    dlink = 0.0
    for c in range(x.shape[0]):
        part = x[c, begin : begin + size]
        for n in range(size):
            dlink += g[c, n] * (scratch[0, n] - abs(part[n]))
        for n in range(size):
            g[c, n] = (1.0 - link) * g[c, n] + (link * scratch[2, n] if scratch[1, n] == c else 0.0)
    return dlink
