"""Feedback delay network, sampled in frequency: 16 delay lines that feed each other; and its derivative.

    F_k(s) = c_k^T D (I - U D)^-1 b,     D = diag(exp(-tau_i s)),     k = 1 .. 4

with tau_i the delays in seconds. On s = j w it is the lossless network; a complex s(w) = a(w) + j(w + p(w))
makes all lines lose as much per second, a(w) nepers: every echo at a frequency fades at the same rate
whatever way it took, which is J.-M. Jot's rule for reverberation without colour (J.-M. Jot and A. Chaigne,
"Digital delay networks for designing artificial reverberators", AES 90, 1991, eq. 9). So the network is one
analytic function of one number, for all knobs, and has one derivative.

U is Hadamard's matrix of order 16 over 4: all lines hear each other equally loudly. It is symmetric,
orthogonal, and the product of two reflections of order 4, (I - 2 w w^T) x (I - 2 w w^T), which leave 10
directions as they are and turn 6 round. With V (16, 6) those six, U = I - 2 V V^T, and with P = 1/(1 - D)

    y = D (I - U D)^-1 b = (P - 1) g,     g = b - 2 V t,     S t = V^T (P - 1) b,     S = 2 V^T P V - I

F_k = c_k^T y (Woodbury): six unknowns instead of 16. S = V^T diag(coth(tau_i s / 2)) V has a positive
definite real part wherever Re s > 0, so elimination needs no pivots (N. J. Higham, Math. Comp. 67, 1998).
V holds Walsh functions, of which products are Walsh functions: the numbers in S are those of a single Walsh
transform of P. The derivative is another solution with the same S,

    dF_k/ds = -c_k^T w,     w = (P - 1) (z - 2 V t'),     z_i = tau_i P_i g_i,     S t' = V^T (P - 1) z

Sixteen frequencies are worked on at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch.autograd.function import once_differentiable

from fxstyle.dsp.threads import side_by_side
from fxstyle.dsp.vectors import ROW, everywhere, row, store

Floats = npt.NDArray[np.float64]

LINES = 16
TURNED = 6
"""Directions in which U is -1."""

REFERENCE_RATE = 48000.0
_DELAYS = (577, 641, 701, 787, 863, 953, 1051, 1163, 1289, 1427, 1579, 1747, 1933, 2131, 2383, 2633)
"""Primes, evenly spread over a logarithmic scale: delays in samples at REFERENCE_RATE, 12 to 55 ms. That few
sums of them are alike keeps echoes from falling together."""

DELAYS_S = tuple(delay / REFERENCE_RATE for delay in _DELAYS)

OUTPUTS = 4
_B = "-+-++---++++-+--"
_C = ("---++++--+--+++-", "--+---++----+---", "-+--+--+-++-+-++", "-+++-+----+-++-+")
"""Signs with which the lines are fed and heard; the outputs' are orthogonal. Of 80,000 drawn, these got dense
soonest among those whose sounds resemble each other by less than .1 at decays from .1 to 3.5 s."""

_CHUNK = 1024
"""Frequencies at a time: their 16 lines stay in the second cache."""


def _signs(text: str) -> list[float]:
    return [1.0 if sign == "+" else -1.0 for sign in text]


INPUT_SIGNS = np.array(_signs(_B))
OUTPUT_SIGNS = np.array([_signs(text) for text in _C])


def matrix() -> Floats:
    """Return U (16, 16)."""
    reflection = np.eye(4) - 0.5
    made: Floats = np.kron(reflection, reflection).astype(np.float64)
    return made


@njit(cache=True, nogil=True, error_model="numpy")
def _poles(magnitude: Floats, cosine: Floats, sine: Floats) -> None:
    """Write the real part of P = 1/(1 - D) to `cosine` and the imaginary to `sine`, all (count,).

    D = magnitude (cosine - j sine).
    """
    for i in range(magnitude.size):
        re, im = 1.0 - magnitude[i] * cosine[i], magnitude[i] * sine[i]
        over = 1.0 / (re * re + im * im)
        cosine[i], sine[i] = re * over, -im * over


@njit(cache=True, nogil=True, error_model="numpy")
def _times(ar: Any, ai: Any, br: Any, bi: Any) -> Any:
    return ar * br - ai * bi, ar * bi + ai * br


@njit(cache=True, nogil=True, error_model="numpy")
def _put(z: Floats, place: int, re: Any, im: Any) -> None:
    """Store a complex vector as number `place` of z (numbers, 2, ROW)."""
    store(z, 2 * ROW * place, re)
    store(z, 2 * ROW * place + ROW, im)


@njit(cache=True, nogil=True, error_model="numpy")
def _get(z: Floats, place: int) -> Any:
    return row(z, 2 * ROW * place), row(z, 2 * ROW * place + ROW)


@njit(cache=True, nogil=True, error_model="numpy")
def _walsh(z: Floats, first: int, count: int, stride: int) -> None:
    """Transform `count` complex numbers of z, `stride` apart: z'_a = sum_i (-1)^(bits in i and a) z_i."""
    half = 1
    while half < count:
        for i in range(count):
            if not i & half:
                one, other = first + i * stride, first + (i + half) * stride
                ar, ai = _get(z, one)
                br, bi = _get(z, other)
                _put(z, one, ar + br, ai + bi)
                _put(z, other, ar - br, ai - bi)
        half *= 2


@njit(cache=True, nogil=True, error_model="numpy")
def _invert(z: Floats, place: int) -> None:
    """Put 1/z in the place of a complex number."""
    for i in range(ROW):
        re, im = z[place, 0, i], z[place, 1, i]
        over = 1.0 / (re * re + im * im)
        z[place, 0, i], z[place, 1, i] = re * over, -im * over


@njit(cache=True, nogil=True, error_model="numpy")
def _factor(walsh: Floats, s: Floats) -> None:
    """Fill S (6, 6): L below the diagonal and 1/D on it, of S = L D L^T; from `walsh`, the transform of P."""
    scale, one = everywhere(0.125), everywhere(1.0)
    for a in range(TURNED):
        for b in range(a + 1):
            # which Walsh function is the product of two of V's: numbers 1, 2, 3, 4, 8, 12
            wa = a + 1 if a < 3 else 4 * (a - 2)
            wb = b + 1 if b < 3 else 4 * (b - 2)
            re, im = _get(walsh, wa ^ wb)
            re, im = scale * re, scale * im
            _put(s, TURNED * a + b, re - one if a == b else re, im)
    for j in range(TURNED):
        _invert(s, TURNED * j + j)
        dr, di = _get(s, TURNED * j + j)
        # the column as it is goes above the diagonal, over D below it
        for a in range(j + 1, TURNED):
            re, im = _get(s, TURNED * a + j)
            _put(s, TURNED * j + a, re, im)
            re, im = _times(re, im, dr, di)
            _put(s, TURNED * a + j, re, im)
        for a in range(j + 1, TURNED):
            lr, li = _get(s, TURNED * a + j)
            for b in range(j + 1, a + 1):
                ur, ui = _get(s, TURNED * j + b)
                pr, pi = _times(lr, li, ur, ui)
                re, im = _get(s, TURNED * a + b)
                _put(s, TURNED * a + b, re - pr, im - pi)


@njit(cache=True, nogil=True, error_model="numpy")
def _turned(s: Floats, u: Floats, t: Floats) -> None:
    """Turn u into 2 V t with S t = V^T u; all of them complex vectors, u (16), t (8) is room."""
    zero = everywhere(0.0)
    for i in range(4):
        ar, ai, br, bi = zero, zero, zero, zero
        for j in range(4):
            re, im = _get(u, i + 4 * j)
            ar, ai = ar + re, ai + im
            re, im = _get(u, 4 * i + j)
            br, bi = br + re, bi + im
        _put(t, i, ar, ai)
        _put(t, 4 + i, br, bi)
    _walsh(t, 0, 4, 1)
    _walsh(t, 4, 4, 1)
    # numbers 0 and 4 of t, the means, are no part of V: unknown a is number a + 1 or a + 2
    for a in range(TURNED):
        re, im = _get(t, a + 1 + a // 3)
        for b in range(a):
            pr, pi = _times(*_get(s, TURNED * a + b), *_get(t, b + 1 + b // 3))
            re, im = re - pr, im - pi
        _put(t, a + 1 + a // 3, re, im)
    for a in range(TURNED - 1, -1, -1):
        re, im = _times(*_get(s, TURNED * a + a), *_get(t, a + 1 + a // 3))
        for b in range(a + 1, TURNED):
            pr, pi = _times(*_get(s, TURNED * b + a), *_get(t, b + 1 + b // 3))
            re, im = re - pr, im - pi
        _put(t, a + 1 + a // 3, re, im)
    _put(t, 0, zero, zero)
    _put(t, 4, zero, zero)
    _walsh(t, 0, 4, 1)
    _walsh(t, 4, 4, 1)
    scale = everywhere(0.125)
    for i in range(4):
        for j in range(4):
            ar, ai = _get(t, j)
            br, bi = _get(t, 4 + i)
            _put(u, 4 * i + j, scale * (ar + br), scale * (ai + bi))


@njit(cache=True, nogil=True, error_model="numpy")
def _heard(u: Floats, signs: Floats, sign: float, first: int, out: Floats) -> None:
    """out[k, first + i] = sign c_k^T u, as complex numbers in pairs; as many as there is room for."""
    for k in range(out.shape[0]):
        re, im = everywhere(0.0), everywhere(0.0)
        for i in range(LINES):
            c = everywhere(sign * signs[k, i])
            ur, ui = _get(u, i)
            re, im = re + c * ur, im + c * ui
        _put(u, LINES, re, im)
        for i in range(min(ROW, out.shape[1] - first)):
            out[k, first + i, 0], out[k, first + i, 1] = u[LINES, 0, i], u[LINES, 1, i]


@njit(cache=True, nogil=True, error_model="numpy")
def _solve(pr: Floats, pi: Floats, delays: Floats, b: Floats, c: Floats, out: Floats, slope: Floats) -> None:
    """Write F and dF/ds (output, frequency, 2) from P (line, frequency), padded to whole vectors.

    Without derivative if `slope` is empty.
    """
    walsh, s = np.empty((LINES, 2, ROW)), np.empty((TURNED * TURNED, 2, ROW))
    u, g, t = np.empty((LINES + 1, 2, ROW)), np.empty((LINES, 2, ROW)), np.empty((8, 2, ROW))
    one, width = everywhere(1.0), pr.shape[1]
    for first in range(0, width, ROW):
        for i in range(LINES):
            re, im = row(pr, i * width + first), row(pi, i * width + first)
            _put(walsh, i, re, im)
            sign = everywhere(b[i])
            _put(u, i, sign * (re - one), sign * im)
        _walsh(walsh, 0, LINES, 1)
        _factor(walsh, s)
        _turned(s, u, t)
        for i in range(LINES):
            re, im = row(pr, i * width + first), row(pi, i * width + first)
            ur, ui = _get(u, i)
            gr, gi = everywhere(b[i]) - ur, everywhere(0.0) - ui
            _put(g, i, gr, gi)
            yr, yi = _times(re - one, im, gr, gi)
            _put(u, i, yr, yi)
        _heard(u, c, 1.0, first, out)
        if slope.size == 0:
            continue
        for i in range(LINES):
            re, im = row(pr, i * width + first), row(pi, i * width + first)
            gr, gi = _get(g, i)
            zr, zi = _times(re, im, gr, gi)
            delay = everywhere(delays[i])
            zr, zi = delay * zr, delay * zi
            _put(g, i, zr, zi)
            ur, ui = _times(re - one, im, zr, zi)
            _put(u, i, ur, ui)
        _turned(s, u, t)
        for i in range(LINES):
            re, im = row(pr, i * width + first), row(pi, i * width + first)
            zr, zi = _get(g, i)
            ur, ui = _get(u, i)
            wr, wi = _times(re - one, im, zr - ur, zi - ui)
            _put(u, i, wr, wi)
        _heard(u, c, -1.0, first, slope)


def _sampled(
    s: torch.Tensor, delays: torch.Tensor, b: Floats, c: Floats, sloped: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return F and, if `sloped`, dF/ds (batch, output, frequency) at s (batch, frequency)."""
    values = torch.view_as_real(s.detach().contiguous())
    count = s.shape[1]
    out = torch.empty((s.shape[0], c.shape[0], count), dtype=torch.complex128)
    slope = torch.empty_like(out) if sloped else torch.empty((s.shape[0], c.shape[0], 0), dtype=out.dtype)
    of_row = [torch.view_as_real(made).numpy() for made in (out, slope)]
    chunks = -(-count // _CHUNK)

    def work(call: int) -> None:
        batch, first = divmod(call, chunks)
        first *= _CHUNK
        here = values[batch, first : first + _CHUNK]
        # what fills up the last vector is not looked at
        padded = torch.ones((2, -(-len(here) // ROW) * ROW), dtype=torch.float64)
        padded[:, : len(here)] = here.T
        lost, turn = (delays[:, None] * part for part in padded)
        magnitude, cosine, sine = lost.neg_().exp_(), turn.cos(), turn.sin_()
        _poles(magnitude.view(-1).numpy(), cosine.view(-1).numpy(), sine.view(-1).numpy())
        parts = (made[batch][:, first : first + _CHUNK] for made in of_row)
        _solve(cosine.numpy(), sine.numpy(), delays.numpy(), b, c, *parts)

    side_by_side(work, s.shape[0] * chunks)
    return out, slope


class _Network(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, s: torch.Tensor, outputs: int) -> torch.Tensor:
        delays = torch.tensor(DELAYS_S, dtype=torch.float64)
        made, slope = _sampled(s, delays, INPUT_SIGNS, OUTPUT_SIGNS[:outputs], ctx.needs_input_grad[0])
        ctx.save_for_backward(slope)
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        (slope,) = ctx.saved_tensors
        return (grad * slope.conj()).sum(dim=1), None


def network(s: torch.Tensor, outputs: int) -> torch.Tensor:
    """Return F (batch, outputs, frequency) at s (batch, frequency), differentiably.

    Parameters
    ----------
    s: complex numbers in 1/s, complex128 on the CPU, the real part positive: what all lines lose, in nepers
        per second; the imaginary one the angular frequency. Times a size s, the delays are s times as long.
    outputs: from 1 to OUTPUTS.
    """
    made: torch.Tensor = _Network.apply(s, outputs)  # type: ignore[no-untyped-call]
    return made
