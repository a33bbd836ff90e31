"""Eight sections side by side in registers: vectors for recursions, which no compiler makes by itself.

A loop over samples becomes vector instructions only if its turns are independent, and in a recursion each
waits for the last. Independent are the sections of a cascade, if each works on an earlier sample than the
one before it: section s on sample n in turn i = n + SKEW s of one time loop (a systolic array; H. T. Kung,
"Why systolic architectures?", Computer 15, 1982). LANES is a `fxstyle.dsp.vectors.Vector` of one float64 for
each of SECTIONS sections of each of STREAMS streams, which stays in registers throughout such a loop.

    load(u, position)              all lanes from a flat position in an array; `store` is that of all vectors
    nothing()                      zeros
    onward(v, u, i)                section s takes what section s - 1 holds in v; section 0 takes u[:, i]
    back(v, u, i)                  section s takes what section s + 1 holds in v; the last takes u[:, i]
    put_last(u, i, v)              u[:, i] becomes what the last section holds in v
    put_first(u, i, v)             u[:, i] becomes what the first section holds in v
    at_work(i, size, new, old)     `new` in sections that have a sample in turn i, elsewhere `old`

with u (STREAMS, time) in float64. A stream of `size` samples takes size + SPAN turns, and section s is at
work while 0 <= i - SKEW s < size. Indices are not checked and never count from the end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import binding, ir
from numba import types
from numba.core import config
from numba.core.errors import TypingError

from fxstyle.dsp.vectors import NUMBER, Vector, in_llvm, instruction, of_array, read, repeat, shuffle

Floats = npt.NDArray[np.float64]

# What numba declares of itself leaves out what it does at run time.
_settings: Any = config


def _has_wide_registers() -> bool:
    """Whether kernels are compiled for AVX-512, that is for 32 registers of eight float64."""
    if _settings.CPU_NAME is not None:  # set by whoever compiles for another machine
        return "+avx512f" in (_settings.CPU_FEATURES or "")
    return bool(binding.get_host_cpu_features().get("avx512f"))


SECTIONS = 8

STREAMS = 2 if _has_wide_registers() else 1
"""With more lanes than the registers hold, their values go through memory, which takes twice the time."""

WIDTH = STREAMS * SECTIONS

SKEW = 2
"""Turns between a sample's passing one section and the next. What a section needs of the one before it was
ready a turn ago, so only a section's own feedback is waited for: a product and a difference."""

SPAN = SKEW * (SECTIONS - 1)
"""Turns by which the last section is behind the first."""

_COUNT = ir.IntType(64)

# The last section lies in the lowest lane, from where a number can be stored without moving it first.
_BEHIND = [SKEW * (SECTIONS - 1 - lane % SECTIONS) for lane in range(WIDTH)]
_LAST = [SECTIONS * stream for stream in range(STREAMS)]
_FIRST = [SECTIONS * stream + SECTIONS - 1 for stream in range(STREAMS)]


def to_lanes(values: Floats, idle: tuple[float, ...]) -> Floats:
    """Arrange numbers of sections for `load`.

    Parameters
    ----------
    values: (stream, section, number).
    idle: (number,) what a lane gets that has no section or no stream.

    Returns
    -------
    (bundle, group, number, WIDTH): STREAMS streams are a bundle, SECTIONS sections a group.
    """
    streams, sections, numbers = values.shape
    bundles, groups = -(-streams // STREAMS), -(-sections // SECTIONS)
    full = np.empty((bundles * STREAMS, groups * SECTIONS, numbers))
    full[:] = idle
    full[:streams, :sections] = values
    apart = full.reshape(bundles, STREAMS, groups, SECTIONS, numbers)[:, :, :, ::-1]
    return np.ascontiguousarray(apart.transpose(0, 2, 4, 1, 3)).reshape(bundles, groups, numbers, WIDTH)


def from_lanes(lanes: Floats, streams: int, sections: int) -> Floats:
    """Undo `to_lanes`: (bundle, group, number, WIDTH) -> (streams, sections, number)."""
    bundles, groups, numbers, _ = lanes.shape
    apart = lanes.reshape(bundles, groups, numbers, STREAMS, SECTIONS)[..., ::-1].transpose(0, 3, 1, 4, 2)
    return apart.reshape(bundles * STREAMS, groups * SECTIONS, numbers)[:streams, :sections]


LANES = Vector(types.float64, WIDTH)
"""numba's name for the value."""

_LLVM = in_llvm(LANES)


def _check(array: Any) -> None:
    if of_array(array, WIDTH) != LANES:
        raise TypingError(f"{array} does not hold {LANES}")


def _places(context: Any, builder: Any, kind: Any, array: Any, i: Any) -> list[Any]:
    """Return where u[0, i], u[1, i], ... are."""
    u = context.make_array(kind)(context, builder, array)
    length = builder.extract_value(u.shape, 1)
    places = [builder.gep(u.data, [i])]
    while len(places) < STREAMS:
        places.append(builder.gep(places[-1], [length]))
    return places


@instruction
def load(typing: Any, array: Any, position: Any) -> Any:
    _check(array)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, place = arguments
        return read(context, builder, array, data, place, LANES)

    return LANES(array, types.intp), generate


@instruction
def nothing(typing: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(_LLVM, [0.0] * WIDTH)

    return LANES(), generate


def _shift(entering: list[int], step: int) -> Any:
    """Return what moves all lanes by `step` and lets numbers of an array enter, one of each stream."""

    def typed(typing: Any, value: Any, u: Any, i: Any) -> Any:
        _check(u)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            lanes, *source = arguments
            fresh = ir.Constant(_LLVM, ir.Undefined)
            for lane, place in zip(entering, _places(context, builder, u, *source), strict=True):
                fresh = builder.insert_element(fresh, builder.load(place), NUMBER(lane))
            order = [WIDTH + lane if lane in entering else lane + step for lane in range(WIDTH)]
            return shuffle(builder, lanes, fresh, order)

        return LANES(LANES, u, types.intp), generate

    return typed


onward = instruction(_shift(_FIRST, 1))
back = instruction(_shift(_LAST, -1))


def _put(leaving: list[int]) -> Any:
    """Return what writes some lanes into an array, one of each stream."""

    def typed(typing: Any, u: Any, i: Any, value: Any) -> Any:
        _check(u)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            *target, lanes = arguments
            for lane, place in zip(leaving, _places(context, builder, u, *target), strict=True):
                builder.store(builder.extract_element(lanes, NUMBER(lane)), place)
            return context.get_dummy_value()

        return types.void(u, types.intp, LANES), generate

    return typed


put_last = instruction(_put(_LAST))
put_first = instruction(_put(_FIRST))


@instruction
def at_work(typing: Any, i: Any, size: Any, new: Any, old: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        turn, length, fresh, kept = arguments
        sample = builder.sub(repeat(builder, turn, WIDTH), ir.Constant(ir.VectorType(_COUNT, WIDTH), _BEHIND))
        # Unsigned, for which a negative sample is a very late one.
        has_sample = builder.icmp_unsigned("<", sample, repeat(builder, length, WIDTH))
        return builder.select(has_sample, fresh, kept)

    return LANES(types.intp, types.intp, LANES, LANES), generate
