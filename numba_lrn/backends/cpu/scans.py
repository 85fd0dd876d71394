"""Sums along a contiguous axis, and changes of rows and columns, by shuffles within vectors, as LLVM instructions.

Their plain twins are in algorithm/primitives.py.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from numba_lrn.backends.cpu.primitives import FLOAT, INT32, named, vector_at


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


def _sum_suffixes(across: bool) -> Any:
    """``sum_suffixes``, or ``sum_suffixes_of_vectors`` where lanes are columns of their own."""

    def typed(typingctx, source, end, target, target_end, count):
        def codegen(context, builder, signature, arguments):
            source, end, target, target_end, count = arguments
            lanes, vector = _vectors(context.get_data_type(signature.args[0].dtype))
            zeros = _hidden_zeros(builder, vector, count)

            def emit(place, sum_with):
                back = builder.add(place, ir.Constant(place.type, lanes))
                pointer, align = vector_at(context, builder, signature.args[0], source, builder.sub(end, back), vector)
                sums = builder.load(pointer, align=align)
                if not across:
                    sums = _scan(builder, sums, zeros, True)
                pointer, align = vector_at(
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

            def part_at(kind, array, first, offset):
                return vector_at(context, builder, signature.args[kind], array, builder.add(first, offset), vector)

            def emit(offset, sum_with):
                pointer, align = part_at(0, source, at, offset)
                sums = builder.load(pointer, align=align)
                if across:
                    before = ir.Constant(vector, None)
                else:
                    sums = _scan(builder, sums, zeros, False)
                    before = _shift(builder, sums, zeros, 1, False)
                pointer, align = part_at(2, suffixes, suffix_at, offset)
                window = builder.fadd(builder.load(pointer, align=align), sum_with(before))
                pointer, align = part_at(4, target, place, offset)
                builder.store(window, pointer, align=align)
                return sums if across else _shuffle(builder, sums, [lanes - 1] * lanes)

            _scan_vectors(builder, vector, count, emit)
            return context.get_dummy_value()

        index = types.int64
        return types.void(source, index, suffixes, index, target, index, index), codegen

    return typed


sum_suffixes = named("sum_suffixes", _sum_suffixes(False))
join_prefixes = named("join_prefixes", _join_prefixes(False))
sum_suffixes_of_vectors = named("sum_suffixes_of_vectors", _sum_suffixes(True))
join_prefixes_of_vectors = named("join_prefixes_of_vectors", _join_prefixes(True))


@intrinsic
def interleave(typingctx, source, at, pitch, target, place, target_pitch):
    """target[place + j·target_pitch + i] = source[at + i·pitch + j] for all i and j of a vector's lanes."""

    def codegen(context, builder, signature, arguments):
        source, at, pitch, target, place, target_pitch = arguments
        lanes, vector = _vectors(context.get_data_type(signature.args[0].dtype))
        rows = []
        for i in range(lanes):
            offset = builder.add(at, builder.mul(pitch, ir.Constant(pitch.type, i)))
            pointer, align = vector_at(context, builder, signature.args[0], source, offset, vector)
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
            pointer, align = vector_at(context, builder, signature.args[3], target, offset, vector)
            builder.store(row, pointer, align=align)
        return context.get_dummy_value()

    index = types.int64
    return types.void(source, index, index, target, index, index), codegen
