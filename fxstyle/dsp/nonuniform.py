"""Impulses at any instant, in eight bands, as a sampled signal: a type-1 non-uniform FFT and its adjoint.

    H(f) = sum_b R_b(f) sum_i a_ib exp(-2 pi j f p_i / (2 rate))        p_i in half samples

Each impulse is spread over WIDTH points of a grid twice as fine as the signal by the kernel

    phi(u) = (cosh(SHARPNESS sqrt(1 - (2 u/WIDTH)^2)) - 1)/(cosh(SHARPNESS) - 1),   |u| <= WIDTH/2

a real FFT of the grid is divided by the transform of phi, and goes back at half the length (A. H. Barnett,
J. Magland, L. af Klinteberg, "A parallel nonuniform fast Fourier transform library based on an exponential
of semicircle kernel", SIAM J. Sci. Comput. 41(5), 2019, section 3; phi is that kernel made to end at 0,
which costs nothing). Smooth in u^2 and 0 at its ends, it is a polynomial within each point's step to 1e-11
(ibid. 5.3), whose derivative gives that by p_i, and nothing jumps where an impulse passes a point.

Bands share the instants: the eight numbers of a grid point lie side by side, and one vector operation serves
all. Their responses are amplitude complementary,

    R_b(f) = cos^2(pi/2 log2(f/f_b))   for |log2(f/f_b)| <= 1,    sum_b R_b = 1

with f_b = 62.5 Hz * 2^b; the first reaches down to 0 and the last up to half the rate. From PASS_OF_RATE to
half the rate the signal fades out, so that an impulse between two samples does not ring for long.

The largest error of the spectrum is measured in tests/dsp/test_nonuniform.py and bench/rooms_images.py.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.fft
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from fxstyle.dsp.vectors import NUMBER, Vector, of_array, read, repeat, shuffle, store
from fxstyle.octaves import BANDS, LOWEST_BAND_HZ

Floats = npt.NDArray[np.float64]
Signal = npt.NDArray[Any]
# What numba declares of itself leaves out what it does at run time.
_instruction: Any = intrinsic

WIDTH = 6
"""Points of the grid that one impulse is spread over: -98 dB."""

SHARPNESS = 2.35 * WIDTH
"""Of the kernel: where what folds back into PASS_OF_RATE on a grid twice as fine is least."""

_DEGREE = 11
"""Of the polynomials: with 9 the kernel is missed by 5e-10, with 11 by 5e-12."""

LEAD = 4
"""Samples on the grid before the first instant: room for the kernel."""

RING_S = 0.02
"""Seconds kept free behind a signal, where what its bands ring before the beginning goes.

The lowest band alone is at -63 dB after 40 ms and falls with the cube of time; alike, they do not ring."""

PASS_OF_RATE = 0.4535
"""Share of the rate up to which the signal is complete: 20 kHz at 44.1 kHz."""

_QUADRATURE = 24
"""Gauss points per step for the transform of the kernel."""


@_instruction
def eight(typing: Any, array: Any, position: Any) -> Any:
    """Return BANDS numbers from a flat position of an array."""
    made = of_array(array, BANDS)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, place = arguments
        return read(context, builder, array, data, place, made)

    return made(array, types.intp), generate


@_instruction
def alike(typing: Any, value: Any) -> Any:
    """Return a number, BANDS times."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return repeat(builder, arguments[0], BANDS)

    return Vector(value, BANDS)(value), generate


@_instruction
def plus_product(typing: Any, c: Any, a: Any, b: Any) -> Any:
    """Return c + a b, rounded once where the processor can."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        contract = ("contract",)
        product = builder.fmul(arguments[1], arguments[2], flags=contract)
        return builder.fadd(arguments[0], product, flags=contract)

    return c(c, a, b), generate


@_instruction
def total(typing: Any, vector: Any) -> Any:
    """Return the sum of a vector's numbers."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, width = arguments[0], vector.width
        while width > 1:
            width //= 2
            low = shuffle(builder, value, value, list(range(width)))
            value = builder.fadd(low, shuffle(builder, value, value, list(range(width, 2 * width))))
        return builder.extract_element(value, NUMBER(0))

    return vector.dtype(vector), generate


@_instruction
def none(typing: Any, array: Any) -> Any:
    """Return BANDS zeros of an array's type."""
    made = of_array(array, BANDS)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        real = {32: ir.FloatType(), 64: ir.DoubleType()}[made.dtype.bitwidth]
        return ir.Constant(ir.VectorType(real, BANDS), [0.0] * BANDS)

    return made(array), generate


@lru_cache(maxsize=4)
def kernel_table(dtype: np.dtype[Any]) -> Signal:
    """Return the polynomials of phi and of -phi', (2, degree + 1, 8): tap w by powers of the fraction - 1/2.

    Tap w lies at u = w - 2 - fraction from the impulse; the last two of the eight are zero.
    """
    nodes = np.cos(math.pi * (np.arange(4 * _DEGREE) + 0.5) / (4 * _DEGREE)) / 2.0
    table = np.zeros((2, _DEGREE + 1, BANDS))
    for tap in range(WIDTH):
        u = tap - (WIDTH // 2 - 1) - (nodes + 0.5)
        root = np.sqrt(np.maximum(1.0 - (2.0 * u / WIDTH) ** 2, 0.0))
        phi = (np.cosh(SHARPNESS * root) - 1.0) / (math.cosh(SHARPNESS) - 1.0)
        powers = np.polynomial.Chebyshev.fit(nodes, phi, _DEGREE, domain=[-0.5, 0.5])
        table[0, :, tap] = powers.convert(kind=np.polynomial.Polynomial, domain=[-1, 1]).coef
    table[1, :-1] = table[0, 1:] * np.arange(1.0, _DEGREE + 1.0)[:, None]
    made = table.astype(dtype)
    made.setflags(write=False)
    return made


def _kernel_transform(cycles: Floats) -> Floats:
    """Return the transform of phi, as its polynomials make it, at frequencies in cycles per point."""
    nodes, weights = np.polynomial.legendre.leggauss(_QUADRATURE)
    powers = (nodes[:, None] / 2.0) ** np.arange(_DEGREE + 1)
    phi = powers @ kernel_table(np.dtype(np.float64))[0, :, :WIDTH]
    u = np.arange(WIDTH) - (WIDTH // 2 - 1) - (nodes[:, None] / 2.0 + 0.5)
    return np.asarray(
        np.cos(2.0 * math.pi * cycles[:, None] * u.ravel()) @ (phi * weights[:, None] / 2.0).ravel()
    )


def band_responses(hz: Floats) -> Floats:
    """Return R_b at frequencies (n,) in Hz: (n, band), each row's sum 1."""
    octave = np.log2(np.maximum(hz, LOWEST_BAND_HZ) / LOWEST_BAND_HZ)
    away = np.minimum(octave, BANDS - 1.0)[:, None] - np.arange(BANDS)
    return np.asarray(np.where(np.abs(away) < 1.0, np.cos(math.pi / 2.0 * away) ** 2, 0.0))


class Plan(NamedTuple):
    """What the transforms of signals of one length read.

    Attributes
    ----------
    size: points of the grid; the signal is half as long.
    weights: (bin, band) R_b over the transform of the kernel, up to half the rate.
    sums: (bin,) of them, for impulses alike in all bands.
    table: `kernel_table`.
    """

    size: int
    weights: Signal
    sums: Signal
    table: Signal


@lru_cache(maxsize=8)
def plan(span: int, rate: float, dtype: np.dtype[Any]) -> Plan:
    """Return the plan for signals of `span` samples at a rate in Hz, in float32 or float64."""
    half = 2 * scipy.fft.next_fast_len(-(-(span + 2 * LEAD + round(RING_S * rate)) // 2), real=True)
    of_rate = np.arange(half // 2 + 1) / half
    into = np.clip((of_rate - PASS_OF_RATE) / (0.5 - PASS_OF_RATE), 0.0, 1.0)
    weights = np.cos(math.pi / 2.0 * into) ** 2 / _kernel_transform(of_rate / 2.0)
    # at half the rate a real signal has no phase, so nothing is to be left there
    weights[-1] = 0.0
    made = (band_responses(of_rate * rate) * weights[:, None]).astype(dtype)
    made.setflags(write=False)
    return Plan(2 * half, made, weights.astype(dtype), kernel_table(dtype))


@njit(cache=True, nogil=True, error_model="numpy")
def _taps(table: Signal, which: int, fraction: Any, taps: Signal) -> None:
    """Write the kernel (which = 0), or its derivative by the instant (1), at the taps of a fraction."""
    rows = table.shape[1]
    last = (which + 1) * rows - 1
    t = alike(fraction)
    value = eight(table, last * BANDS)
    for power in range(last - 1, last - rows, -1):
        value = plus_product(eight(table, power * BANDS), value, t)
    store(taps, 0, value)


@njit(cache=True, nogil=True, error_model="numpy")
def spread(p: Floats, a: Signal, count: int, table: Signal, grid: Signal) -> None:
    """Add `count` impulses at p (n,) half samples, with a (n, band), to grid (point, band).

    An instant has to be at least -1 and at most the grid's points less 2 LEAD + WIDTH.
    """
    taps = np.empty(BANDS, grid.dtype)
    for n in range(count):
        whole = math.floor(p[n])
        _taps(table, 0, grid.dtype.type(p[n] - whole - 0.5), taps)
        given = eight(a, n * BANDS)
        first = (whole + 2 * LEAD - (WIDTH // 2 - 1)) * BANDS
        for tap in range(WIDTH):
            place = first + tap * BANDS
            store(grid, place, plus_product(eight(grid, place), alike(taps[tap]), given))


@njit(cache=True, nogil=True, error_model="numpy")
def gather(p: Floats, count: int, table: Signal, grid: Signal, values: Signal, slopes: Signal) -> None:
    """Undo `spread` as its adjoint does: values (n, band) = sum of phi grid; slopes: by the instants."""
    taps, falls = np.empty(BANDS, grid.dtype), np.empty(BANDS, grid.dtype)
    for n in range(count):
        whole = math.floor(p[n])
        fraction = grid.dtype.type(p[n] - whole - 0.5)
        _taps(table, 0, fraction, taps)
        _taps(table, 1, fraction, falls)
        first = (whole + 2 * LEAD - (WIDTH // 2 - 1)) * BANDS
        value, slope = none(grid), none(grid)
        for tap in range(WIDTH):
            here = eight(grid, first + tap * BANDS)
            value = plus_product(value, alike(taps[tap]), here)
            slope = plus_product(slope, alike(falls[tap]), here)
        store(values, n * BANDS, value)
        store(slopes, n * BANDS, slope)


def to_signal(grid: Signal, made: Plan, span: int, one: bool) -> Signal:
    """Return the signal (span,) of a grid (point, band); `one`: all bands hold the same."""
    bins = made.sums.size
    if one:
        spectrum = scipy.fft.rfft(grid[:, 0])[:bins] * made.sums
    else:
        spectrum = np.einsum("kb,kb->k", scipy.fft.rfft(grid, axis=0)[:bins], made.weights)
    return np.asarray(scipy.fft.irfft(spectrum, made.size // 2)[LEAD : LEAD + span])


def to_grid(gradient: Signal, made: Plan) -> Signal:
    """Return the adjoint of `to_signal`: (point, band) from (span,)."""
    padded = np.zeros(made.size // 2, gradient.dtype)
    padded[LEAD : LEAD + gradient.size] = gradient
    spectra = np.zeros((made.size // 2 + 1, BANDS), np.result_type(gradient.dtype, np.complex64))
    spectrum = 2.0 * scipy.fft.rfft(padded)
    np.multiply(spectrum[:, None], made.weights, out=spectra[: made.weights.shape[0]])
    return np.asarray(scipy.fft.irfft(spectra, made.size, axis=0))
