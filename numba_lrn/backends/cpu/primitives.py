"""The primitives of algorithm/primitives.py as LLVM instructions.

They index without a bounds check and without Numba's wraparound of negative indices, which would stop the loops
from being vectorised, and they convert half types with the processor's own vector instructions: Numba itself has
no float16 on the CPU.
"""

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from numba_lrn.backends.cpu.lanes import Lanes, intrinsic_of, joined, spread
from numba_lrn.backends.cpu.memory import LINE

HALF = ir.HalfType()
FLOAT = ir.FloatType()
INT16 = ir.IntType(16)
INT32 = ir.IntType(32)


@intrinsic
def fma(typingctx, a, b, c):
    """a·b + c, rounded once."""
    kind = joined(a, b, c)

    def codegen(context, builder, signature, arguments):
        llvm = context.get_value_type(kind)
        function = intrinsic_of(builder, "llvm.fma", llvm, 3)
        return builder.call(function, [spread(builder, argument, llvm) for argument in arguments])

    return kind(a, b, c), codegen


@intrinsic
def accumulate(typingctx, total, value):
    """total + value in the type of total, in any order: what a loop adds up may be split among the lanes of a vector.

    Of LLVM's fast-math flags it has ``reassoc`` alone, which assumes neither NaN nor Inf away.
    """

    def codegen(context, builder, signature, arguments):
        total, value = arguments
        if value.type != total.type:
            value = builder.fpext(value, total.type)
        return builder.fadd(total, value, flags=("reassoc",))

    return total(total, value), codegen


INTEGERS = {types.float32: types.int32, types.float64: types.int64}
REALS = {integer: real for real, integer in INTEGERS.items()}


def named(name: str, typed: Any) -> Any:
    """An intrinsic of this name."""
    typed.__name__ = typed.__qualname__ = name
    return intrinsic(typed)


def _in_place_of(kind, others):
    """The type that stands in the place of another, in all lanes of a vector."""
    return Lanes(others[kind.element]) if isinstance(kind, Lanes) else others[kind]


def _cast(target):
    """What calling one of NumPy's types does, for numbers and for vectors."""

    def typed(typingctx, value):
        result = Lanes(target) if isinstance(value, Lanes) else target

        def codegen(context, builder, signature, arguments):
            if result == target:
                return context.cast(builder, arguments[0], value, target)
            if result == value:
                return arguments[0]
            convert = builder.sitofp if isinstance(target, types.Float) else builder.fptosi
            return convert(arguments[0], context.get_value_type(result))

        return result(value), codegen

    return named(f"as_{target}", typed)


CASTS = {target: _cast(target) for pair in INTEGERS.items() for target in pair}


@intrinsic
def bits_of(typingctx, value):
    """The bits of a real as an integer of the same width."""
    integer = _in_place_of(value, INTEGERS)

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(integer))

    return integer(value), codegen


@intrinsic
def real_of(typingctx, bits):
    """The real that has these bits."""
    real = _in_place_of(bits, REALS)

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(real))

    return real(bits), codegen


def element_at(context, builder, array_type, array, index):
    """A pointer to an element."""
    data = cgutils.create_struct_proxy(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def vector_at(context, builder, array_type, array, place, vector):
    """A pointer to the vector that begins at an element, and its alignment."""
    pointer = element_at(context, builder, array_type, array, place)
    return builder.bitcast(pointer, vector.as_pointer()), array_type.dtype.bitwidth // 8


@intrinsic
def load(typingctx, array, index):
    """array[index] as a real. uint16 holds float16, int16 holds bfloat16."""
    real = types.float64 if array.dtype == types.float64 else types.float32

    def codegen(context, builder, signature, arguments):
        value = builder.load(element_at(context, builder, signature.args[0], arguments[0], arguments[1]))
        return _widened(builder, array.dtype, value)

    return real(array, types.int64), codegen


def _widened(builder, dtype, value):
    """What an array holds as a real, or a vector of such."""
    if dtype == types.uint16:
        return builder.fpext(builder.bitcast(value, _like(value, HALF)), _like(value, FLOAT))
    if dtype == types.int16:
        bits = builder.zext(value, _like(value, INT32))
        return builder.bitcast(builder.shl(bits, _constant(bits, 16)), _like(value, FLOAT))
    return value


def _narrowed(builder, dtype, value):
    """The way back, rounded to nearest even."""
    if dtype == types.uint16:
        return builder.bitcast(builder.fptrunc(value, _like(value, HALF)), _like(value, INT16))
    return _bfloat16_bits(builder, value) if dtype == types.int16 else value


def _like(value, element):
    """The type of an element, or of as many as a vector has."""
    return ir.VectorType(element, value.type.count) if isinstance(value.type, ir.VectorType) else element


def _constant(value, number):
    """A constant of the type of a value, in all its lanes."""
    vector = isinstance(value.type, ir.VectorType)
    return ir.Constant(value.type, [ir.Constant(value.type.element, number)] * value.type.count if vector else number)


@intrinsic
def load_integer(typingctx, array, index):
    """array[index] of an array of int32."""

    def codegen(context, builder, signature, arguments):
        return builder.load(element_at(context, builder, signature.args[0], arguments[0], arguments[1]))

    return types.int32(array, types.int64), codegen


@intrinsic
def store(typingctx, array, index, value):
    """array[index] = value, rounded to nearest even where the array holds a half type."""
    real = types.float64 if array.dtype == types.float64 else types.float32

    def codegen(context, builder, signature, arguments):
        _store(context, builder, signature.args[0], *arguments)
        return context.get_dummy_value()

    return types.void(array, types.int64, real), codegen


def _store(context, builder, array_type, array, index, value, align=None):
    value = _narrowed(builder, array_type.dtype, value)
    return builder.store(value, element_at(context, builder, array_type, array, index), align=align)


@intrinsic
def lanes_of(typingctx, value):
    """A vector with a number in every lane."""

    def codegen(context, builder, signature, arguments):
        return spread(builder, arguments[0], context.get_value_type(signature.return_type))

    return Lanes(value)(value), codegen


def _lanes_at(context, builder, array_type, array, index, lanes):
    """A pointer to neighbours of an array, and its alignment."""
    vector = ir.VectorType(context.get_data_type(array_type.dtype), lanes.count)
    return vector_at(context, builder, array_type, array, index, vector)


@intrinsic
def load_lanes(typingctx, array, index):
    """``load`` of neighbours, as many as a vector has lanes."""
    lanes = Lanes(types.float64 if array.dtype == types.float64 else types.float32)

    def codegen(context, builder, signature, arguments):
        pointer, align = _lanes_at(context, builder, signature.args[0], *arguments, lanes)
        return _widened(builder, array.dtype, builder.load(pointer, align=align))

    return lanes(array, types.int64), codegen


@intrinsic
def store_lanes(typingctx, array, index, values):
    """``store`` of neighbours."""

    def codegen(context, builder, signature, arguments):
        array_type, _, lanes = signature.args
        pointer, align = _lanes_at(context, builder, array_type, *arguments[:2], lanes)
        builder.store(_narrowed(builder, array_type.dtype, arguments[2]), pointer, align=align)
        return context.get_dummy_value()

    return types.void(array, types.int64, values), codegen


@intrinsic
def higher_bits(typingctx, highest, values):
    """Lane by lane, what has the higher bits, read as an unsigned integer: those of Inf, NaN and negative numbers."""

    def codegen(context, builder, signature, arguments):
        integers = ir.VectorType(ir.IntType(values.element.bitwidth), values.count)
        first, second = (builder.bitcast(argument, integers) for argument in arguments)
        higher = builder.select(builder.icmp_unsigned(">", first, second), first, second)
        return builder.bitcast(higher, arguments[1].type)

    return values(highest, values), codegen


@intrinsic
def any_extreme(typingctx, values):
    """Whether a lane is Inf, NaN or negative."""

    def codegen(context, builder, signature, arguments):
        infinite = builder.bitcast(
            ir.Constant(arguments[0].type.element, math.inf), ir.IntType(values.element.bitwidth)
        )
        bits = builder.bitcast(arguments[0], ir.VectorType(infinite.type, values.count))
        found = builder.icmp_unsigned(">=", bits, spread(builder, infinite, bits.type))
        found = builder.bitcast(found, ir.IntType(values.count))
        return builder.icmp_unsigned("!=", found, ir.Constant(found.type, 0))

    return types.boolean(values), codegen


@intrinsic
def store_past_caches(typingctx, array, index, value):
    """``store`` without reading the line that it writes, for results that the caches cannot hold.

    The alignment is that of the vectors that a loop makes of this store: the loop must begin on a cache line. With
    the element's own alignment LLVM does not vectorise a non-temporal store.
    """
    real = types.float64 if array.dtype == types.float64 else types.float32

    def codegen(context, builder, signature, arguments):
        instruction = _store(context, builder, signature.args[0], *arguments, align=LINE)
        instruction.set_metadata("nontemporal", builder.module.add_metadata([INT32(1)]))
        return context.get_dummy_value()

    return types.void(array, types.int64, real), codegen


@intrinsic
def prefetch(typingctx, array, index):
    """Ask for the cache line of array[index], which may lie beyond the array: nothing is read."""
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, INT32, INT32, INT32])

    def codegen(context, builder, signature, arguments):
        pointer = builder.bitcast(element_at(context, builder, signature.args[0], *arguments), byte)
        function = builder.module.declare_intrinsic("llvm.prefetch", (byte,), kind)
        builder.call(function, [pointer, INT32(0), INT32(3), INT32(1)])  # to be read, into all caches, data
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


@intrinsic
def misalignment(typingctx, array, index):
    """Elements from array[index] to the beginning of the next cache line."""
    word = ir.IntType(64)

    def codegen(context, builder, signature, arguments):
        address = builder.ptrtoint(element_at(context, builder, signature.args[0], *arguments), word)
        gap = builder.and_(builder.neg(address), word(LINE - 1))
        return builder.udiv(gap, word(array.dtype.bitwidth // 8))

    return types.int64(array, types.int64), codegen


@intrinsic
def fence(typingctx):
    """Orders what was stored past the caches before what is stored next."""

    def codegen(context, builder, signature, arguments):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


def _bfloat16_bits(builder, value):
    """Add just below half of the last kept bit, plus that bit, and cut; a NaN is cut and made quiet instead."""
    bits = builder.bitcast(value, _like(value, INT32))
    half, below, one, quiet = (_constant(bits, number) for number in (16, 0x7FFF, 1, 0x40))
    high = builder.lshr(bits, half)
    rounded = builder.lshr(builder.add(bits, builder.add(below, builder.and_(high, one))), half)
    is_nan = builder.fcmp_unordered("uno", value, value)
    return builder.trunc(builder.select(is_nan, builder.or_(high, quiet), rounded), _like(value, INT16))
