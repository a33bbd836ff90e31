"""Image sources of a rectangular room, in eight bands, with gradients to all that makes them.

A source at s between walls at 0 and L, of reflection factors beta_0 and beta_1, has along each axis the
images

    i even:   s + i L          times beta_0^(|i|/2) beta_1^(|i|/2)
    i odd:    (i + 1) L - s    times beta_1^(|i+1|/2) beta_0^(|i-1|/2)

(J. B. Allen, D. A. Berkley, "Image method for efficiently simulating small-room acoustics", JASA 65(4), 1979,
eqs. 5-9). With all |i| + |j| + |k| <= N, (2 N + 1)(2 N^2 + 2 N + 3)/3 of them, the response is

    h = sum_ijk a_ijk delta(t - r_ijk/c),    a = A_x[i] A_y[j] A_z[k] exp(-q p)/(4 pi r)

r being the distance from the microphone, p = r rate_2 - start the time since `start` in half samples, and q
what air takes per half sample. Each wall's factors are one per band: A and q have eight.

The sum is a non-uniform FFT (fxstyle.dsp.nonuniform). Its adjoint reads from the gradient's grid E_b, what
one more of band b at an image would add, and F_b, the same by its time:

    dA_x[i] = sum_jk A_y A_z e E,   e = exp(-q p)/(4 pi r)          (likewise y, z)
    dq      = -sum p a E,           dp = sum_b a (F - q E),         dr = dp rate_2 - sum_b a E/r
    dx[i]   = sum_jk dr x/r,        drate_2 = sum dp r,             dstart = -sum dp

from which torch goes on to L, s, the microphone and beta.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch.autograd.function import once_differentiable

from fxstyle.dsp import nonuniform
from fxstyle.dsp.nonuniform import LEAD, WIDTH, alike, eight, gather, none, plus_product, spread, total
from fxstyle.dsp.threads import for_each
from fxstyle.dsp.vectors import store
from fxstyle.octaves import BANDS

Floats = npt.NDArray[np.float64]
Signal = npt.NDArray[Any]

_STEP = 16
"""Half samples over which air's absorption is tabulated; between them it is a parabola."""

_LEAST_BETA = 1e-6
"""-120 dB: a wall that reflects nothing has no logarithm."""

_FOUR_PI = 4.0 * math.pi


def image_count(order: int) -> int:
    """Return the number of images with |i| + |j| + |k| <= order."""
    return (2 * order + 1) * (2 * order * order + 2 * order + 3) // 3


@njit(cache=True, nogil=True, error_model="numpy")
def _air(q: Floats, fall: Signal) -> None:
    """fall[n, b] = exp(-q_b n _STEP)."""
    for b in range(BANDS):
        ratio, value = math.exp(-q[b] * _STEP), 1.0
        for n in range(fall.shape[0]):
            fall[n, b] = value
            value *= ratio


@njit(cache=True, nogil=True, error_model="numpy")
def _column(
    x: Floats,
    i: int,
    j: int,
    room: int,
    clock: Floats,
    reach: float,
    direct: bool,
    p: Floats,
    r: Floats,
    which: npt.NDArray[np.int64],
) -> int:
    """Find the images (i, j, k), |k| <= room, within reach: times, distances, places of k; count them."""
    centre = x.shape[1] // 2
    across = x[0, centre + i] ** 2 + x[1, centre + j] ** 2
    count = 0
    for k in range(-room, room + 1):
        distance = math.sqrt(across + x[2, centre + k] ** 2)
        time = distance * clock[0] - clock[1]
        p[count], r[count], which[count] = time, distance, centre + k
        # the direct sound is the only image of no reflection
        if time < reach and (direct or i != 0 or j != 0 or k != 0):
            count += 1
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def _loss(p: float, r: float, q: Any, fall: Signal) -> Any:
    """Return exp(-q p)/(4 pi r) of the bands: q (a vector) from the nearest step of the table on."""
    real = fall.dtype.type
    step = int(p / _STEP + 0.5)
    y = q * alike(real(p - step * _STEP))
    one, half = alike(real(1.0)), alike(real(0.5))
    near = plus_product(one, y, plus_product(one - one, half, y) - one)
    return eight(fall, step * BANDS) * near * alike(real(1.0 / (_FOUR_PI * r)))


@njit(cache=True, nogil=True, error_model="numpy")
def _spread_images(
    x: Floats,
    gains: Signal,
    q: Floats,
    clock: Floats,
    order: int,
    direct: bool,
    table: Signal,
    grid: Signal,
) -> None:
    """Spread the images over the grid: x (3, image), gains (3, image, band), clock: rate_2 and start."""
    places = x.shape[1]
    centre = places // 2
    reach = grid.shape[0] - 2.0 * LEAD - WIDTH
    fall = np.empty((grid.shape[0] // _STEP + 2, BANDS), grid.dtype)
    _air(q, fall)
    typed = q.astype(grid.dtype)
    p, r, which = np.empty(places + 1), np.empty(places + 1), np.empty(places + 1, np.int64)
    a = np.empty((places, BANDS), grid.dtype)
    air = eight(typed, 0)
    for i in range(-order, order + 1):
        left = order - abs(i)
        for j in range(-left, left + 1):
            count = _column(x, i, j, left - abs(j), clock, reach, direct, p, r, which)
            both = eight(gains, (centre + i) * BANDS) * eight(gains, (places + centre + j) * BANDS)
            for n in range(count):
                third = eight(gains, (2 * places + which[n]) * BANDS)
                store(a, n * BANDS, both * third * _loss(p[n], r[n], air, fall))
            spread(p, a, count, table, grid)


@njit(cache=True, nogil=True, error_model="numpy")
def _gather_images(
    x: Floats,
    gains: Signal,
    q: Floats,
    clock: Floats,
    order: int,
    direct: bool,
    table: Signal,
    grid: Signal,
    dx: Floats,
    dgains: Signal,
    dq: Signal,
    dclock: Floats,
) -> None:
    """Add to the derivatives what a grid's gradient gives."""
    places = x.shape[1]
    centre = places // 2
    reach = grid.shape[0] - 2.0 * LEAD - WIDTH
    fall = np.empty((grid.shape[0] // _STEP + 2, BANDS), grid.dtype)
    _air(q, fall)
    real = grid.dtype.type
    typed = q.astype(grid.dtype)
    p, r, which = np.empty(places + 1), np.empty(places + 1), np.empty(places + 1, np.int64)
    values, slopes = np.empty((places, BANDS), grid.dtype), np.empty((places, BANDS), grid.dtype)
    air = eight(typed, 0)
    for i in range(-order, order + 1):
        left = order - abs(i)
        for j in range(-left, left + 1):
            count = _column(x, i, j, left - abs(j), clock, reach, direct, p, r, which)
            gather(p, count, table, grid, values, slopes)
            first, second = (centre + i) * BANDS, (places + centre + j) * BANDS
            ax, ay = eight(gains, first), eight(gains, second)
            both, dboth, dair = ax * ay, none(grid), none(grid)
            pull = 0.0
            for n in range(count):
                third = (2 * places + which[n]) * BANDS
                az, e = eight(gains, third), eight(values, n * BANDS)
                eased = e * _loss(p[n], r[n], air, fall)
                store(dgains, third, plus_product(eight(dgains, third), eased, both))
                dboth = plus_product(dboth, eased, az)
                whole = both * az
                heard = eased * whole
                dair = plus_product(dair, heard, alike(real(p[n])))
                slope = eight(slopes, n * BANDS) * _loss(p[n], r[n], air, fall) * whole
                dp = total(slope - heard * air)
                dr = dp * clock[0] - total(heard) / r[n]
                dclock[0] += dp * r[n]
                dclock[1] -= dp
                u = dr / r[n]
                pull += u
                dx[2, which[n]] += u * x[2, which[n]]
            dx[0, centre + i] += pull * x[0, centre + i]
            dx[1, centre + j] += pull * x[1, centre + j]
            store(dgains, first, plus_product(eight(dgains, first), dboth, ay))
            store(dgains, second, plus_product(eight(dgains, second), dboth, ax))
            store(dq, 0, eight(dq, 0) - dair)


class _Images(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        gains: torch.Tensor,
        q: torch.Tensor,
        clock: torch.Tensor,
        orders: Sequence[int],
        direct: bool,
        span: int,
        plan: nonuniform.Plan,
    ) -> torch.Tensor:
        tables = [t.detach().contiguous().numpy() for t in (x, gains, q, clock)]
        tables[1] = tables[1].astype(plan.table.dtype, copy=False)
        out = np.empty((x.shape[0], span), plan.table.dtype)

        def one(row: int) -> None:
            grid = np.zeros((plan.size, BANDS), out.dtype)
            places, factors, losses, times = (t[row] for t in tables)
            _spread_images(places, factors, losses, times, orders[row], direct, plan.table, grid)
            one_band = all(bool((t == t[..., :1]).all()) for t in (factors, losses))
            out[row] = nonuniform.to_signal(grid, plan, span, one_band)

        for_each(one, range(x.shape[0]))
        ctx.save_for_backward(x, gains, q, clock)
        ctx.constants = (tables, orders, direct, plan)
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        tables, orders, direct, plan = ctx.constants
        gradient = dy.contiguous().numpy()
        found = [np.zeros_like(t) for t in tables]
        found[2] = found[2].astype(plan.table.dtype)

        def one(row: int) -> None:
            grid = nonuniform.to_grid(gradient[row], plan)
            into = [f[row] for f in found]
            places, factors, losses, times = (t[row] for t in tables)
            known = (places, factors, losses, times, orders[row], direct, plan.table, grid)
            _gather_images(*known, *into)

        for_each(one, range(len(orders)))
        given = [torch.from_numpy(f).to(t.dtype) for f, t in zip(found, ctx.saved_tensors, strict=True)]
        return (*given, None, None, None, None)


def axis_tables(
    size: torch.Tensor, source: torch.Tensor, microphone: torch.Tensor, beta: torch.Tensor, order: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each axis' images: x (row, 3, image) from the microphone in metres, gains (row, 3, image, band).

    Parameters
    ----------
    size, source, microphone: (row, 3) in metres. beta: (row, 6, band), of x0, x1, y0, y1, z0, z1.
    order: |i| of the outermost; image i stands at place i + order.
    """
    i = torch.arange(-order, order + 1, dtype=size.dtype)
    odd = i.remainder(2.0)
    x = (i + odd) * size[..., None] + (1.0 - 2.0 * odd) * source[..., None] - microphone[..., None]
    # how often each wall is hit: i even |i|/2 both; i odd |i-1|/2 wall 0, |i+1|/2 wall 1
    hits = torch.stack([(i - odd).abs(), (i + odd).abs()], dim=1) / 2.0
    logarithm = beta.clamp_min(_LEAST_BETA).log().reshape(-1, 3, 2, BANDS)
    return x, (hits @ logarithm).exp()


def image_sources(
    x: torch.Tensor,
    gains: torch.Tensor,
    air: torch.Tensor,
    speed: torch.Tensor,
    start_s: torch.Tensor,
    *,
    orders: Sequence[int],
    rate: float,
    span: int,
    dtype: torch.dtype,
    direct: bool,
) -> torch.Tensor:
    """Return the responses of image sources, (row, span), differentiably; 1/(4 pi) is a source's at 1 m.

    Parameters
    ----------
    x, gains: (row, 3, 2 I + 1), and one more of bands: `axis_tables`.
    air: (row, band), nepers per metre. speed: (row,) of sound, m/s.
    start_s: (row,), what counts as time 0; it is not to be later than the first image.
    orders: N of each row, at most I.
    rate: Hz. span: samples. dtype: of the result. direct: whether the direct sound is among the images.
    """
    real = np.dtype(np.float64 if dtype == torch.float64 else np.float32)
    clock = torch.stack([2.0 * rate / speed, 2.0 * rate * start_s], dim=1)
    q = air * (speed / (2.0 * rate))[:, None]
    made: torch.Tensor = _Images.apply(  # type: ignore[no-untyped-call]
        x, gains, q, clock, list(orders), direct, span, nonuniform.plan(span, float(rate), real)
    )
    return made
