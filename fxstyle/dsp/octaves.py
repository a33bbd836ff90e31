"""Logarithm and power of two inside kernels, in the sound's own precision and without libm.

    octaves(v) = log2 v = k + s P(s^2),   s = (m - 1)/(m + 1),   v = m 2^k,   m in [1/sqrt 2, sqrt 2)
    power(z)   = 2^z    = 2^k (1 + t Q(t)),   k = z rounded,   t = z - k

P and Q are the polynomials through 2 artanh(s)/(s ln 2) and (2^t - 1)/t at the Chebyshev nodes of their
range, which is within a small factor of the best there are. Errors, rounding included: in float32 1e-7 of
2^z, and 3e-7 octaves for 1/16 <= v <= 16; in float64 1e-15 of each. octaves(1) = 0, power(0) = 1 to the bit.

Loops over these run in SIMD lanes, sixteen float32 at a time where the processor has them; libm's do not.
Neither looks for what it cannot do: v must be a normal number above 0, and 2^z must be one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

# What numba declares of itself leaves out what it does at run time.
_instruction: Any = intrinsic
_overload: Any = overload
_types: Any = types
_tools: Any = cgutils

LN_2 = math.log(2.0)
"""Nepers of an octave: ln v = LN_2 octaves(v)."""

_CONTRACT = ("contract",)
"""Flag of an LLVM instruction: a product and a sum may become one fused operation."""


def _is_single(kind: Any) -> bool:
    return bool(kind.bitwidth == 32)


def _real(kind: Any) -> Any:
    return np.float32 if _is_single(kind) else np.float64


def _fraction_bits(kind: Any) -> int:
    return 23 if _is_single(kind) else 52


def _rounding(kind: Any) -> float:
    """Return the number that, added and subtracted, rounds to the nearest whole number."""
    return float(1.5 * 2.0 ** _fraction_bits(kind))


def _bits(kind: Any, value: float) -> int:
    """Return the bits of a float of that kind as an integer."""
    return int(_real(kind)(value).view(np.int32 if _is_single(kind) else np.int64))


@_instruction
def _parts(typing: Any, v: Any) -> Any:
    """Return k and m, both floats, with v = m 2^k."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (number,) = arguments
        integer, shift = ir.IntType(v.bitwidth), ir.IntType(v.bitwidth)(_fraction_bits(v))
        one = _bits(v, 1.0)
        bits = builder.bitcast(number, integer)
        # The exponent of v/sqrt(1/2), offset so that it is not negative: AVX2 shifts no signed 64 bits.
        above = builder.sub(bits, integer(_bits(v, math.sqrt(0.5)) - one))
        k = builder.sub(builder.lshr(above, shift), integer(one >> _fraction_bits(v)))
        m = builder.bitcast(builder.sub(bits, builder.shl(k, shift)), number.type)
        # Added to the bits of the rounding number, k becomes a float without a conversion, which AVX2 lacks.
        offset = builder.bitcast(builder.add(k, integer(_bits(v, _rounding(v)))), number.type)
        return _tools.pack_array(builder, [builder.fsub(offset, number.type(_rounding(v))), m])

    return _types.UniTuple(v, 2)(v), generate


@_instruction
def _scaled(typing: Any, v: Any, rounded: Any) -> Any:
    """Return v 2^k, where `rounded` is k plus the rounding number: k is in its lowest bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        integer, shift = ir.IntType(v.bitwidth), ir.IntType(v.bitwidth)(_fraction_bits(v))
        bits, whole = (builder.bitcast(argument, integer) for argument in arguments)
        return builder.bitcast(builder.add(bits, builder.shl(whole, shift)), arguments[0].type)

    return v(v, rounded), generate


@_instruction
def _polynomial(typing: Any, t: Any, coefficients: Any) -> Any:
    """Return c0 + c1 t + c2 t^2 + ... by Horner's scheme."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, given = arguments
        *lower, total = _tools.unpack_tuple(builder, given)
        for c in reversed(lower):
            total = builder.fadd(builder.fmul(total, value, flags=_CONTRACT), c, flags=_CONTRACT)
        return total

    return t(t, coefficients), generate


def _through(
    function: Callable[[npt.NDArray[np.float64]], Any], low: float, high: float, terms: int, kind: Any
) -> tuple[Any, ...]:
    """Coefficients of the polynomial through `function` at the Chebyshev nodes of [low, high]."""
    angles = np.pi * (np.arange(terms) + 0.5) / terms
    nodes = 0.5 * (low + high) + 0.5 * (high - low) * np.cos(angles)
    found = np.linalg.solve(np.vander(nodes, increasing=True), function(nodes))
    return tuple(_real(kind)(c) for c in found)


_WIDEST = ((math.sqrt(2.0) - 1.0) / (math.sqrt(2.0) + 1.0)) ** 2
"""Largest s^2."""

# Terms beyond which rounding is the larger error, in float32 and in float64.
_LOGARITHM_TERMS = (3, 7)
_POWER_TERMS = (6, 10)


def octaves(v: float) -> float:
    """Return log2 v, v > 0: for kernels only."""
    raise NotImplementedError


@_overload(octaves, jit_options={"error_model": "numpy", "fastmath": {"contract"}})
def _octaves(v: Any) -> Any:
    series = _through(
        lambda q: 2.0 / LN_2 * np.arctanh(np.sqrt(q)) / np.sqrt(q),
        0.0,
        _WIDEST,
        _LOGARITHM_TERMS[not _is_single(v)],
        v,
    )
    one = _real(v)(1.0)  # a literal would turn float32 into float64

    def evaluate(v: Any) -> Any:
        k, m = _parts(v)
        s = (m - one) / (m + one)
        return k + s * _polynomial(s * s, series)

    return evaluate


def power(z: float) -> float:
    """Return 2^z: for kernels only."""
    raise NotImplementedError


@_overload(power, jit_options={"error_model": "numpy", "fastmath": {"contract"}})
def _power(z: Any) -> Any:
    series = _through(lambda t: np.expm1(t * LN_2) / t, -0.5, 0.5, _POWER_TERMS[not _is_single(z)], z)
    one, rounding = _real(z)(1.0), _real(z)(_rounding(z))

    def evaluate(z: Any) -> Any:
        rounded = z + rounding
        t = z - (rounded - rounding)
        return _scaled(one + t * _polynomial(t, series), rounded)

    return evaluate
