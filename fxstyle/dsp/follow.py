"""Attack and release, four samples at a time; and their adjoint.

    e[n] = k e[n-1] + (1 - k) a[n],   k = k_attack if a[n] > e[n-1] else k_release

Both candidates lie between e[n-1] and a[n], so the right one is the larger if k_attack <= k_release:

    e[n] = max(A e[n-1] + (1 - A) a[n], R e[n-1] + (1 - R) a[n])              A = k_attack, R = k_release

The larger of lines with slopes above 0, put into another such, is one again: with the slopes A^2, A R, R^2
after two steps, and after four

    e[n] = max_j (A^(4-j) R^j e[n-4] + Q_j[n]),   j = 0 .. 4,   Q_j from a[n-3] .. a[n]

Nothing in it waits for e[n-1]: four samples are computed side by side, each from the one four before it,
whatever block it is in, and a loop takes 15 cycles for four samples where one by one they take 25 (a fused
multiply-add and a maximum, each waiting for the last; measured on a Zen 5). If k_attack > k_release the
right candidate is the smaller, which is the larger one of -e and -a.

Adjoint, with lambda the derivative by e in all it flows to:

    lambda[n] = e_bar[n] + k_(n+1) lambda[n+1]
    a_bar[n] = (1 - k_n) lambda[n],   k_bar += lambda[n] (e[n-1] - a[n])
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from fxstyle.dsp.recurrence import TINY, Floats

# What numba declares of itself leaves out what it does at run time.
_instruction: Any = intrinsic
_tools: Any = cgutils

PAST = 4
"""Samples from before a block with which the rows of a and e begin."""

_CONTRACT = ("contract",)
_BYTES = 8
"""Alignment of loads and stores: arrays of float64 promise no more."""


@_instruction
def fused(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a b + c, rounded once where the processor can: the compiler itself may fuse another product."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _fused(builder, *arguments)

    return a(a, b, c), generate


def _fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return builder.fadd(builder.fmul(a, b, flags=_CONTRACT), c, flags=_CONTRACT)


def _largest(builder: Any, *values: Any) -> Any:
    while len(values) > 1:
        a, b, *rest = values
        values = (*rest, builder.select(builder.fcmp_ordered(">", a, b), a, b))
    return values[0]


@_instruction
def _follow(typing: Any, a: Any, e: Any, rows: Any, attack: Any, release: Any, size: Any) -> Any:
    """Fill those rows of e from PAST on, up to PAST - 1 more samples than `size`."""
    lanes = len(rows)
    vector = ir.VectorType(ir.DoubleType(), PAST * lanes)
    part = ir.VectorType(ir.DoubleType(), PAST)
    index = ir.IntType(32)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        *arrays, chosen, k_attack, k_release, length = arguments
        levels, followers = (
            [
                _tools.get_item_pointer(context, builder, kind, made, [row, length.type(0)])
                for row in _tools.unpack_tuple(builder, chosen)
            ]
            for kind, made in (
                (kind, context.make_array(kind)(context, builder, array))
                for kind, array in zip((a, e), arrays, strict=True)
            )
        )

        def constants(kind: Any, values: list[int]) -> Any:
            return ir.Constant(ir.VectorType(kind, len(values)), values)

        def everywhere(value: Any) -> Any:
            one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, index(0))
            return builder.shuffle_vector(one, one, constants(index, [0] * vector.count))

        def place(data: Any, at: Any) -> Any:
            return builder.bitcast(builder.gep(data, [at]), part.as_pointer())

        def load(data: list[Any], at: Any) -> Any:
            parts = [builder.load(place(row, at), align=_BYTES) for row in data]
            return (
                parts[0]
                if lanes == 1
                else builder.shuffle_vector(*parts, constants(index, list(range(vector.count))))
            )

        def store(data: list[Any], at: Any, value: Any) -> None:
            for lane, row in enumerate(data):
                order = constants(index, list(range(PAST * lane, PAST * (lane + 1))))
                builder.store(builder.shuffle_vector(value, value, order), place(row, at), align=_BYTES)

        def plus(a: Any, b: Any, c: Any) -> Any:
            return _fused(builder, a, b, c)

        real = ir.DoubleType()
        sign = builder.select(builder.fcmp_ordered("<=", k_attack, k_release), real(1.0), real(-1.0))
        to_attack = everywhere(builder.fmul(sign, builder.fsub(real(1.0), k_attack)))
        to_release = everywhere(builder.fmul(sign, builder.fsub(real(1.0), k_release)))
        sign, k_a, k_r = everywhere(sign), everywhere(k_attack), everywhere(k_release)
        two = [builder.fmul(k_a, k_a), builder.fmul(k_a, k_r), builder.fmul(k_r, k_r)]
        four = [builder.fmul(two[j - j // 2], two[j // 2]) for j in range(PAST + 1)]

        def after_two(at: Any) -> list[Any]:
            """Q_0 .. Q_2 of two steps, the second with the levels from `at` on."""
            now, before = load(levels, at), load(levels, builder.sub(at, at.type(1)))
            up, down = builder.fmul(to_attack, now), builder.fmul(to_release, now)
            was_up, was_down = builder.fmul(to_attack, before), builder.fmul(to_release, before)
            mixed = _largest(builder, plus(k_r, was_up, down), plus(k_a, was_down, up))
            return [plus(k_a, was_up, up), mixed, plus(k_r, was_down, down)]

        last = _tools.alloca_once_value(builder, builder.fmul(sign, load(followers, length.type(0))))
        with _tools.for_range_slice(builder, length.type(0), length, length.type(PAST), length.type) as (
            n,
            _,
        ):
            at = builder.add(n, length.type(PAST))
            first, second = after_two(builder.sub(at, length.type(2))), after_two(at)
            paths = [
                _largest(
                    builder, *(plus(two[j - i], first[i], second[j - i]) for i in range(3) if 0 <= j - i < 3)
                )
                for j in range(PAST + 1)
            ]
            before = builder.load(last)
            now = _largest(builder, *(plus(slope, before, q) for slope, q in zip(four, paths, strict=True)))
            builder.store(now, last)
            store(followers, at, builder.fmul(sign, now))
        return context.get_dummy_value()

    return types.void(a, e, rows, attack, release, types.intp), generate


@njit(cache=True, nogil=True, error_model="numpy")
def bring_past(source: Floats, at: int, target: Floats, lanes: int) -> None:
    """Copy the PAST samples from `at` on to the beginning of each row and lane of (row, lane, time)."""
    for i in range(source.shape[0]):
        for c in range(lanes):
            for n in range(PAST):
                target[i, c, n] = source[i, c, at + n]


@njit(cache=True, nogil=True, error_model="numpy")
def follow(a: Floats, e: Floats, attack: float, release: float, size: int) -> None:
    """Fill e from a, both (lane, PAST + time + PAST), from PAST on; what comes after `size` is undefined."""
    lanes = a.shape[0]
    for c in range(0, lanes - 1, 2):
        _follow(a, e, (c, c + 1), attack, release, size)
    if lanes % 2 == 1:
        _follow(a, e, (lanes - 1,), attack, release, size)


@njit(cache=True, nogil=True, error_model="numpy")
def back(g: Floats, k: Floats, carry: Floats, size: int) -> None:
    """Turn g (channel, time) in place into g[:, n] + k[:, n+1] g[:, n+1], two channels at a time.

    carry (channel,): k times the result of the sample after; moves on. k: (channel, time).
    """
    for c in range(0, g.shape[0], 2):
        other = min(c + 1, g.shape[0] - 1)
        one, two, k_one, k_two = carry[c], carry[other], 1.0, 1.0
        for n in range(size - 1, -1, -1):
            here, there = g[c, n], g[other, n]
            one, two = fused(k_one, one, here), fused(k_two, two, there)
            g[c, n], g[other, n] = one, two
            k_one, k_two = k[c, n], k[other, n]
        one, two = k_one * one, k_two * two
        carry[c] = one if abs(one) >= TINY else 0.0
        carry[other] = two if abs(two) >= TINY else 0.0


# Reassociation lets the sums run in SIMD lanes, in loops that write to no array: see fxstyle.dsp.curve.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _coefficients_adjoint(g: Floats, a: Floats, e: Floats, size: int) -> tuple[float, float]:
    """Return the gradients of the attack's coefficient and the release's from lambda."""
    attack = both = 0.0
    for c in range(g.shape[0]):
        lane = min(c, a.shape[0] - 1)
        for n in range(size):
            level, before = a[lane, PAST + n], e[lane, PAST - 1 + n]
            moved = g[c, n] * (before - level)
            both += moved
            attack += moved if level > before else 0.0
    return attack, both - attack


@njit(cache=True, nogil=True, error_model="numpy")
def follow_adjoint(
    g: Floats, a: Floats, e: Floats, attack: float, release: float, carry: Floats, k: Floats, size: int
) -> tuple[float, float]:
    """Turn g (channel, time) in place from the gradient of e into that of a.

    Returns those of the attack's coefficient and the release's. a, e: as in `follow`, of one lane if all
    channels share it. k (channel, time): scratch. carry (channel,): from the block after, moves on.
    """
    for c in range(g.shape[0]):
        lane = min(c, a.shape[0] - 1)
        for n in range(size):
            k[c, n] = attack if a[lane, PAST + n] > e[lane, PAST - 1 + n] else release
    back(g, k, carry, size)
    found = _coefficients_adjoint(g, a, e, size)
    for c in range(g.shape[0]):
        for n in range(size):
            g[c, n] -= k[c, n] * g[c, n]
    return found
