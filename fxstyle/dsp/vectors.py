"""Vectors as values in kernels, for what numba's loops do not become by themselves.

A loop becomes vector instructions only if the compiler can prove that its turns are independent, which it
cannot where several parts of one array are read and written. A `Vector` is several numbers in one value that
stays in registers.

    +, -, *                      number by number; each is rounded on its own, so all machines give the same
    row(array, position)         ROW numbers from a flat position of an array
    store(array, position, v)    a vector of the array's type to a flat position of it
    everywhere(a)                the number a, ROW times
    transpose(a, i, b, j)        ROW rows of ROW numbers from a[i:], columns to rows, into b[j:]

Arrays lie in one piece and are of float32 or float64, or the kernel is not compiled. Positions are not
checked and never count from the end.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

# What numba declares of itself leaves out what it does at run time.
instruction: Any = intrinsic
_lower: Any = lower_builtin
_result: Any = type_callable

ROW = 16
"""Numbers of `row`: a register of AVX-512 in float32; in others the compiler takes several."""

NUMBER = ir.IntType(32)


class Vector(types.Type):
    """numba's name for `width` numbers of a type."""

    def __init__(self, dtype: Any, width: int) -> None:
        self.dtype, self.width = dtype, width
        super().__init__(name=f"Vector({dtype} x {width})")


@register_model(Vector)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, in_llvm(kind))  # type: ignore[no-untyped-call]  # numba's


def of_array(array: Any, width: int) -> Vector:
    """Return the vectors that an array holds; raises TypingError if it is scattered or of another type."""
    real = getattr(array, "dtype", None)
    if getattr(array, "layout", None) != "C" or real not in {types.float32, types.float64}:
        raise TypingError(f"vectors lie in arrays of float32 or float64 in one piece, not in {array}")
    return Vector(real, width)


def in_llvm(kind: Vector) -> Any:
    """Return LLVM's type of a vector."""
    return ir.VectorType({32: ir.FloatType(), 64: ir.DoubleType()}[kind.dtype.bitwidth], kind.width)


def _one_by_one(function: Any, name: str) -> None:
    """Let an operator of Python act on two vectors by an instruction of LLVM."""

    @_result(function)
    def result(context: Any) -> Any:
        return lambda a, b: a if isinstance(a, Vector) and a == b else None

    @_lower(function, Vector, Vector)
    def lower(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return getattr(builder, name)(*arguments)


_one_by_one(operator.add, "fadd")
_one_by_one(operator.sub, "fsub")
_one_by_one(operator.mul, "fmul")


def shuffle(builder: Any, a: Any, b: Any, order: list[int]) -> Any:
    """Return the numbers of a and b, counted through, in another order."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(NUMBER, len(order)), order))


def repeat(builder: Any, value: Any, width: int) -> Any:
    """Return a vector with one number everywhere."""
    empty = ir.Constant(ir.VectorType(value.type, width), ir.Undefined)
    return shuffle(builder, builder.insert_element(empty, value, NUMBER(0)), empty, [0] * width)


def read(context: Any, builder: Any, kind: Any, array: Any, position: Any, made: Vector) -> Any:
    """Return a vector from a flat position of an array."""
    place = _address(context, builder, kind, array, position, made)
    return builder.load(place, align=kind.dtype.bitwidth // 8)


def write(context: Any, builder: Any, kind: Any, array: Any, position: Any, value: Any, made: Vector) -> None:
    """Put a vector to a flat position of an array."""
    place = _address(context, builder, kind, array, position, made)
    builder.store(value, place, align=kind.dtype.bitwidth // 8)


def _address(context: Any, builder: Any, kind: Any, array: Any, position: Any, made: Vector) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [position]), in_llvm(made).as_pointer())


@instruction
def row(typing: Any, array: Any, position: Any) -> Any:
    made = of_array(array, ROW)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, place = arguments
        return read(context, builder, array, data, place, made)

    return made(array, types.intp), generate


@instruction
def store(typing: Any, array: Any, position: Any, value: Any) -> Any:
    if not isinstance(value, Vector) or of_array(array, value.width) != value:
        raise TypingError(f"{array} does not hold {value}")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, place, vector = arguments
        write(context, builder, array, data, place, vector, value)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@instruction
def everywhere(typing: Any, value: Any) -> Any:
    made = Vector(value, ROW)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return repeat(builder, arguments[0], ROW)

    return made(value), generate


@instruction
def transpose(typing: Any, source: Any, i: Any, target: Any, j: Any) -> Any:
    made = of_array(source, ROW)
    if of_array(target, ROW) != made:
        raise TypingError(f"{source} and {target} are of different types")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given, first, taken, begin = arguments
        step = first.type

        def at(place: Any, line: int) -> Any:
            return builder.add(place, step(ROW * line))

        rows = [read(context, builder, source, given, at(first, n), made) for n in range(ROW)]
        # K. S. Eklundh, "A fast computer method for matrix transposing", IEEE Trans. Comput. 21(7), 1972:
        # swap the squares off the diagonal, of half the size each time.
        size = ROW // 2
        while size:
            for n in range(ROW):
                if not n & size:
                    a, b = rows[n], rows[n + size]
                    low = [c if not c & size else ROW + c - size for c in range(ROW)]
                    high = [c + size if not c & size else ROW + c for c in range(ROW)]
                    rows[n], rows[n + size] = shuffle(builder, a, b, low), shuffle(builder, a, b, high)
            size //= 2
        for n in range(ROW):
            write(context, builder, target, taken, at(begin, n), rows[n], made)
        return context.get_dummy_value()

    return types.void(source, types.intp, target, types.intp), generate
