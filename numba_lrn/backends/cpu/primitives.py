"""The primitives of algorithm/primitives.py as LLVM instructions.

They index without a bounds check and without Numba's wraparound of negative indices, which would stop the loops
from being vectorised, and they convert half types with the processor's own vector instructions: Numba itself has
no float16 on the CPU.
"""

import math
from typing import Any

import numpy as np
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


def _named(name: str, typed: Any) -> Any:
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

    return _named(f"as_{target}", typed)


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


def _element(context, builder, array_type, array, index):
    data = cgutils.create_struct_proxy(array_type)(context, builder, array).data
    return builder.gep(data, [index])


@intrinsic
def load(typingctx, array, index):
    """array[index] as a real. uint16 holds float16, int16 holds bfloat16."""
    real = types.float64 if array.dtype == types.float64 else types.float32

    def codegen(context, builder, signature, arguments):
        value = builder.load(_element(context, builder, signature.args[0], arguments[0], arguments[1]))
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
        return builder.load(_element(context, builder, signature.args[0], arguments[0], arguments[1]))

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
    return builder.store(value, _element(context, builder, array_type, array, index), align=align)


@intrinsic
def lanes_of(typingctx, value):
    """A vector with a number in every lane."""

    def codegen(context, builder, signature, arguments):
        return spread(builder, arguments[0], context.get_value_type(signature.return_type))

    return Lanes(value)(value), codegen


def _lanes_at(context, builder, array_type, array, index, lanes):
    """A pointer to neighbours of an array, and its alignment."""
    vector = ir.VectorType(context.get_data_type(array_type.dtype), lanes.count)
    return _vector_at(context, builder, array_type, array, index, vector)


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
        pointer = builder.bitcast(_element(context, builder, signature.args[0], *arguments), byte)
        function = builder.module.declare_intrinsic("llvm.prefetch", (byte,), kind)
        builder.call(function, [pointer, INT32(0), INT32(3), INT32(1)])  # to be read, into all caches, data
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


@intrinsic
def misalignment(typingctx, array, index):
    """Elements from array[index] to the beginning of the next cache line."""
    word = ir.IntType(64)

    def codegen(context, builder, signature, arguments):
        address = builder.ptrtoint(_element(context, builder, signature.args[0], *arguments), word)
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


def _vectors(element):
    """(how many lanes, the type) of a vector of 512 bits; processors with less take it in parts."""
    lanes = 16 if element == FLOAT else 8
    return lanes, ir.VectorType(element, lanes)


def _shuffle(builder, vector, lanes, second=None):
    """Lanes of the vector in another order; those of a second one count on."""
    mask = ir.Constant(ir.VectorType(INT32, len(lanes)), [INT32(lane) for lane in lanes])
    return builder.shuffle_vector(vector, second or ir.Constant(vector.type, ir.Undefined), mask)


def _hidden_zeros(builder, vector, count):
    """A vector of zeros of which LLVM does not know that they are: the highest bits of a count.

    Known ones it would shift in by ``vexpandps``: windows of 63 along a contiguous axis took 1.4 × as long. Turning
    the lanes round and masking what comes from the other end took 1.2 × as long.
    """
    kind = ir.IntType(32 if vector.element == FLOAT else 64)
    zero = builder.lshr(count, ir.Constant(count.type, 62))
    zero = builder.trunc(zero, kind) if kind != count.type else zero
    integers = ir.VectorType(kind, vector.count)
    first = builder.insert_element(ir.Constant(integers, ir.Undefined), zero, INT32(0))
    return builder.bitcast(_shuffle(builder, first, [0] * vector.count), vector)


def _scan(builder, vector, zeros, downwards):
    """Each lane with the sum of itself and of all lanes before it, or after it."""
    reach = 1
    while reach < vector.type.count:
        vector = builder.fadd(vector, _shift(builder, vector, zeros, reach, downwards))
        reach *= 2
    return vector


def _shift(builder, vector, zeros, reach, downwards):
    """The lanes moved by ``reach``, with zeros where none came from."""
    count = vector.type.count
    both, first = ((vector, zeros), reach) if downwards else ((zeros, vector), count - reach)
    return _shuffle(builder, both[0], range(first, first + count), both[1])


def _scan_vectors(builder, vector, count, emit):
    """Calls ``emit(elements before this vector, their sum)`` for each vector of ``count`` elements; returns nothing.

    ``emit`` returns the vector's own sum, in every lane. Eight are added plainly; their sums are added up with what
    each addition was rounded by. To do so for each vector took 1.5 times as long, for one addition waits on the other.
    """
    zero = ir.Constant(vector, None)
    lanes = ir.Constant(count.type, vector.count)
    eight = ir.Constant(count.type, 8)
    vectors = builder.udiv(builder.add(count, ir.Constant(count.type, vector.count - 1)), lanes)
    groups = builder.udiv(builder.add(vectors, ir.Constant(count.type, 7)), eight)
    total, rest, recent = (cgutils.alloca_once_value(builder, zero) for _ in range(3))
    with cgutils.for_range(builder, groups) as outer:
        first = builder.mul(outer.index, eight)
        left = builder.sub(vectors, first)
        inside = builder.select(builder.icmp_signed("<", left, eight), left, eight)
        builder.store(builder.load(rest), recent)
        with cgutils.for_range(builder, inside) as inner:
            place = builder.mul(builder.add(first, inner.index), lanes)
            own = emit(place, lambda sums: builder.fadd(builder.load(total), builder.fadd(builder.load(recent), sums)))
            builder.store(builder.fadd(builder.load(recent), own), recent)
        following = builder.add(outer.index, ir.Constant(count.type, 1))
        with builder.if_then(builder.icmp_signed("<", following, groups)):
            before, term = builder.load(total), builder.load(recent)
            after = builder.fadd(before, term)
            share = builder.fsub(after, before)
            lost = builder.fadd(builder.fsub(before, builder.fsub(after, share)), builder.fsub(term, share))
            known = builder.fcmp_ordered("ord", lost, lost)  # not Inf − Inf
            builder.store(builder.select(known, lost, zero), rest)
            builder.store(after, total)


def _vector_at(context, builder, array_type, array, place, vector):
    """A pointer to the vector that begins at an element, and its alignment."""
    pointer = _element(context, builder, array_type, array, place)
    return builder.bitcast(pointer, vector.as_pointer()), array_type.dtype.bitwidth // 8


def _sum_suffixes(across: bool) -> Any:
    """``sum_suffixes``, or ``sum_suffixes_of_vectors`` where lanes are columns of their own."""

    def typed(typingctx, source, end, target, target_end, count):
        def codegen(context, builder, signature, arguments):
            source, end, target, target_end, count = arguments
            lanes, vector = _vectors(context.get_data_type(signature.args[0].dtype))
            zeros = _hidden_zeros(builder, vector, count)

            def emit(place, sum_with):
                back = builder.add(place, ir.Constant(place.type, lanes))
                pointer, align = _vector_at(context, builder, signature.args[0], source, builder.sub(end, back), vector)
                sums = builder.load(pointer, align=align)
                if not across:
                    sums = _scan(builder, sums, zeros, True)
                pointer, align = _vector_at(
                    context, builder, signature.args[2], target, builder.sub(target_end, back), vector
                )
                builder.store(sum_with(sums), pointer, align=align)
                return sums if across else _shuffle(builder, sums, [0] * lanes)

            _scan_vectors(builder, vector, count, emit)
            return context.get_dummy_value()

        index = types.int64
        return types.void(source, index, target, index, index), codegen

    return typed


def _join_prefixes(across: bool) -> Any:
    """``join_prefixes``, or ``join_prefixes_of_vectors`` where lanes are columns of their own."""

    def typed(typingctx, source, at, suffixes, suffix_at, target, place, count):
        def codegen(context, builder, signature, arguments):
            source, at, suffixes, suffix_at, target, place, count = arguments
            lanes, vector = _vectors(context.get_data_type(signature.args[0].dtype))
            zeros = _hidden_zeros(builder, vector, count)

            def vector_at(kind, array, first, offset):
                return _vector_at(context, builder, signature.args[kind], array, builder.add(first, offset), vector)

            def emit(offset, sum_with):
                pointer, align = vector_at(0, source, at, offset)
                sums = builder.load(pointer, align=align)
                if across:
                    before = ir.Constant(vector, None)
                else:
                    sums = _scan(builder, sums, zeros, False)
                    before = _shift(builder, sums, zeros, 1, False)
                pointer, align = vector_at(2, suffixes, suffix_at, offset)
                window = builder.fadd(builder.load(pointer, align=align), sum_with(before))
                pointer, align = vector_at(4, target, place, offset)
                builder.store(window, pointer, align=align)
                return sums if across else _shuffle(builder, sums, [lanes - 1] * lanes)

            _scan_vectors(builder, vector, count, emit)
            return context.get_dummy_value()

        index = types.int64
        return types.void(source, index, suffixes, index, target, index, index), codegen

    return typed


sum_suffixes = _named("sum_suffixes", _sum_suffixes(False))
join_prefixes = _named("join_prefixes", _join_prefixes(False))
sum_suffixes_of_vectors = _named("sum_suffixes_of_vectors", _sum_suffixes(True))
join_prefixes_of_vectors = _named("join_prefixes_of_vectors", _join_prefixes(True))


@intrinsic
def interleave(typingctx, source, at, pitch, target, place, target_pitch):
    """target[place + j·target_pitch + i] = source[at + i·pitch + j] for all i and j of a vector's lanes."""

    def codegen(context, builder, signature, arguments):
        source, at, pitch, target, place, target_pitch = arguments
        lanes, vector = _vectors(context.get_data_type(signature.args[0].dtype))
        rows = []
        for i in range(lanes):
            offset = builder.add(at, builder.mul(pitch, ir.Constant(pitch.type, i)))
            pointer, align = _vector_at(context, builder, signature.args[0], source, offset, vector)
            rows.append(builder.load(pointer, align=align))
        # log2(lanes) rounds, in each of which pairs of rows change halves of their groups of lanes.
        reach = 1
        while reach < lanes:
            low = [lane if lane & reach == 0 else lanes + lane - reach for lane in range(lanes)]
            high = [lane + reach if lane & reach == 0 else lanes + lane for lane in range(lanes)]
            changed = list(rows)
            for i in range(lanes):
                if i & reach == 0:
                    changed[i] = _shuffle(builder, rows[i], low, rows[i + reach])
                    changed[i + reach] = _shuffle(builder, rows[i], high, rows[i + reach])
            rows = changed
            reach *= 2
        for j, row in enumerate(rows):
            offset = builder.add(place, builder.mul(target_pitch, ir.Constant(pitch.type, j)))
            pointer, align = _vector_at(context, builder, signature.args[3], target, offset, vector)
            builder.store(row, pointer, align=align)
        return context.get_dummy_value()

    index = types.int64
    return types.void(source, index, index, target, index, index), codegen


SHARED = (
    fma,
    accumulate,
    bits_of,
    real_of,
    load,
    load_integer,
    store,
    lanes_of,
    load_lanes,
    store_lanes,
    higher_bits,
    any_extreme,
    prefetch,
    fence,
    sum_suffixes,
    join_prefixes,
    sum_suffixes_of_vectors,
    join_prefixes_of_vectors,
    interleave,
)


def injected(real_name: str) -> dict[str, Any]:
    """What takes the place of algorithm/primitives.py for functions that compute in this type."""
    return {**{primitive.__name__: primitive for primitive in SHARED}, "real": getattr(np, real_name)}
