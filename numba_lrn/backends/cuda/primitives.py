"""The primitives of algorithm/primitives.py as instructions of the card, and accesses of 16 bytes.

Global memory comes as pointers: one kernel argument instead of seven, and no arithmetic for negative indices. Half
types travel as bits, as on the CPU: a pointer to uint16 is float16, one to int16 is bfloat16. They are loaded as
32-bit words, two numbers in each: vectors of 16-bit elements would be split into narrower accesses, and the
package's own bfloat16 conversions go through local memory.
Loads and stores are LLVM's, not inline PTX, so that the compiler knows what they touch. The simulator takes the
plain twins (simulation.py).
"""

import functools
from typing import Any

from llvmlite import ir

from numba_lrn.backends.cuda.forms.line import VECTOR_BYTES
from numba_lrn.backends.cuda.toolkit import cgutils, intrinsic, types

HALF = ir.HalfType()
FLOAT = ir.FloatType()
INT16 = ir.IntType(16)
INT32 = ir.IntType(32)
INT64 = ir.IntType(64)
WORDS = ir.VectorType(INT32, 4)


@intrinsic
def fma(typingctx, a, b, c):
    """a·b + c, rounded once."""

    def codegen(context, builder, signature, arguments):
        return builder.fma(*arguments)

    return a(a, a, a), codegen


@intrinsic
def bits_of(typingctx, value):
    """The bits of a real as an integer of the same width."""
    integer = types.int32 if value == types.float32 else types.int64

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(integer))

    return integer(value), codegen


@intrinsic
def real_of(typingctx, bits):
    """The real that has these bits."""
    real = types.float32 if bits == types.int32 else types.float64

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(real))

    return real(bits), codegen


def _approximation(operation: str, *, has_float64: bool = False) -> Any:
    """One instruction. Without .ftz it takes three more, for subnormal numbers, which d never is."""

    @intrinsic
    def approximate(typingctx, value):
        if value != types.float32 and not has_float64:
            return None
        width, constraint = ("f64", "d") if value == types.float64 else ("f32", "f")

        def codegen(context, builder, signature, arguments):
            text = f"{operation}.approx.ftz.{width} $0, $1;"
            return _assembly(builder, text, f"={constraint},{constraint}", arguments[0].type, arguments)

        return value(value), codegen

    return approximate


def _assembly(builder: Any, text: str, constraints: str, result: Any, arguments: Any) -> Any:
    function = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(ir.InlineAsm(function, text, constraints), arguments)


approximate_root = _approximation("sqrt")
approximate_inverse_root = _approximation("rsqrt", has_float64=True)
approximate_reciprocal = _approximation("rcp", has_float64=True)
approximate_log2 = _approximation("lg2")
approximate_exp2 = _approximation("ex2")


def _real(element: Any) -> Any:
    return types.float64 if element == types.float64 else types.float32


def _address(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    """Where an element of a pointer, or of a local or shared array, lies."""
    if not isinstance(kind, types.CPointer):
        array = cgutils.create_struct_proxy(kind)(context, builder, array).data
    return builder.gep(array, [index])


@intrinsic
def load(typingctx, array, index):
    """array[index] as a real."""
    element = array.dtype

    def codegen(context, builder, signature, arguments):
        value = builder.load(_address(context, builder, signature.args[0], arguments[0], arguments[1]))
        return _widened(builder, value, element)

    return _real(element)(array, types.int64), codegen


def _widened(builder: Any, value: Any, element: Any) -> Any:
    if element == types.uint16:
        return builder.fpext(builder.bitcast(value, HALF), FLOAT)
    if element == types.int16:
        return builder.bitcast(builder.shl(builder.zext(value, INT32), INT32(16)), FLOAT)
    return value


def _narrowed(builder: Any, value: Any, element: Any, packs: bool) -> Any:
    if element in (types.uint16, types.int16):
        return builder.trunc(_packed(builder, value, FLOAT(0.0), element, packs), INT16)
    return value


@functools.cache
def make_store(packs: bool) -> Any:
    """``store``, with or without the instructions of newer cards."""

    @intrinsic
    def store(typingctx, array, index, value):
        """array[index] = value, rounded to nearest even where the array holds a half type."""
        element = array.dtype

        def codegen(context, builder, signature, arguments):
            value = _narrowed(builder, arguments[2], element, packs)
            builder.store(value, _address(context, builder, signature.args[0], arguments[0], arguments[1]))
            return context.get_dummy_value()

        return types.void(array, types.int64, _real(element)), codegen

    return store


def _chunks(context: Any, builder: Any, kind: Any, array: Any, index: Any, lanes: int) -> Any:
    """The addresses of the vectors that hold ``lanes`` elements, the type of their words, and the words in each."""
    element = kind.dtype
    word = context.get_value_type(_real(element)) if element in (types.float32, types.float64) else INT32
    word_lanes = 1 if word is not INT32 else 2
    words = min(lanes // word_lanes, VECTOR_BYTES * 8 // (64 if element == types.float64 else 32))
    vector = ir.VectorType(word, words)
    start = _address(context, builder, kind, array, index)
    for lane in range(0, lanes, words * word_lanes):
        yield builder.bitcast(builder.gep(start, [INT64(lane)]), vector.as_pointer()), vector, word_lanes, lane


@functools.cache
def make_load_lanes(lanes: int) -> Any:
    """``load_lanes`` for this many lanes."""

    @intrinsic
    def load_lanes(typingctx, source, index, into, at):
        """into[at + lane] = source[index + lane] as reals; the address is a multiple of 16 bytes, or of all lanes'."""
        element = source.dtype

        def codegen(context, builder, signature, arguments):
            array, index, into, at = arguments
            if lanes == 1:
                value = builder.load(_address(context, builder, signature.args[0], array, index))
                target = _address(context, builder, signature.args[2], into, at)
                builder.store(_widened(builder, value, element), target)
                return context.get_dummy_value()
            for address, vector, word_lanes, lane in _chunks(context, builder, signature.args[0], array, index, lanes):
                loaded = builder.load(address, align=_bytes(vector))
                for place in range(vector.count):
                    word = builder.extract_element(loaded, INT32(place))
                    for half in range(word_lanes):
                        slot = builder.add(at, INT64(lane + place * word_lanes + half))
                        target = _address(context, builder, signature.args[2], into, slot)
                        builder.store(_unpacked(builder, word, half, element), target)
            return context.get_dummy_value()

        return types.void(source, types.int64, into, types.int64), codegen

    return load_lanes


@functools.cache
def make_store_lanes(lanes: int, packs: bool) -> Any:
    """``store_lanes`` for this many lanes."""

    @intrinsic
    def store_lanes(typingctx, target, index, values, at):
        """target[index + lane] = values[at + lane], rounded to the target's type; aligned likewise."""
        element = target.dtype

        def codegen(context, builder, signature, arguments):
            array, index, values, at = arguments

            def value(lane):
                slot = builder.add(at, INT64(lane))
                return builder.load(_address(context, builder, signature.args[2], values, slot))

            if lanes == 1:
                address = _address(context, builder, signature.args[0], array, index)
                builder.store(_narrowed(builder, value(0), element, packs), address)
                return context.get_dummy_value()
            for address, vector, word_lanes, lane in _chunks(context, builder, signature.args[0], array, index, lanes):
                stored = ir.Constant(vector, ir.Undefined)
                for place in range(vector.count):
                    first = lane + place * word_lanes
                    word = value(first)
                    if word_lanes == 2:
                        word = _packed(builder, word, value(first + 1), element, packs)
                    stored = builder.insert_element(stored, word, INT32(place))
                builder.store(stored, address, align=_bytes(vector))
            return context.get_dummy_value()

        return types.void(target, types.int64, values, types.int64), codegen

    return store_lanes


@intrinsic
def load_words(typingctx, source, index, words, at):
    """words[at] to words[at + 3] = the 16 bytes from source[index] on, as they are; aligned likewise."""

    def codegen(context, builder, signature, arguments):
        array, index, words, at = arguments
        address = _address(context, builder, signature.args[0], array, index)
        loaded = builder.load(builder.bitcast(address, WORDS.as_pointer()), align=VECTOR_BYTES)
        for word in range(WORDS.count):
            target = _address(context, builder, signature.args[2], words, builder.add(at, INT64(word)))
            builder.store(builder.extract_element(loaded, INT32(word)), target)
        return context.get_dummy_value()

    return types.void(source, types.int64, words, types.int64), codegen


@intrinsic
def store_words(typingctx, target, index, words, at):
    """The bytes that ``load_words`` found, to target[index] on; aligned likewise."""

    def codegen(context, builder, signature, arguments):
        array, index, words, at = arguments
        stored = ir.Constant(WORDS, ir.Undefined)
        for word in range(WORDS.count):
            source = _address(context, builder, signature.args[2], words, builder.add(at, INT64(word)))
            stored = builder.insert_element(stored, builder.load(source), INT32(word))
        address = _address(context, builder, signature.args[0], array, index)
        builder.store(stored, builder.bitcast(address, WORDS.as_pointer()), align=VECTOR_BYTES)
        return context.get_dummy_value()

    return types.void(target, types.int64, words, types.int64), codegen


def _bytes(vector: Any) -> int:
    width = 8 if isinstance(vector.element, ir.DoubleType) else 4
    return int(vector.count) * width


def _unpacked(builder: Any, word: Any, half: int, element: Any) -> Any:
    """One of the numbers in a word."""
    if element == types.uint16:
        bits = builder.trunc(builder.lshr(word, INT32(16)) if half else word, INT16)
        return builder.fpext(builder.bitcast(bits, HALF), FLOAT)
    if element == types.int16:
        return builder.bitcast(builder.and_(word, INT32(0xFFFF0000)) if half else builder.shl(word, INT32(16)), FLOAT)
    return word


def _packed(builder: Any, low: Any, high: Any, element: Any, packs: bool) -> Any:
    """Two float32 rounded into one word."""
    if packs:
        kind = "f16x2" if element == types.uint16 else "bf16x2"
        return _assembly(builder, f"cvt.rn.{kind}.f32 $0, $1, $2;", "=r,f,f", INT32, (high, low))
    bits = [
        builder.zext(builder.bitcast(builder.fptrunc(value, HALF), INT16), INT32)
        if element == types.uint16
        else _bfloat16_bits(builder, value)
        for value in (low, high)
    ]
    return builder.or_(bits[0], builder.shl(bits[1], INT32(16)))


def _bfloat16_bits(builder: Any, value: Any) -> Any:
    """Add just below half of the last kept bit, plus that bit, and cut; a NaN is cut and made quiet instead."""
    bits = builder.bitcast(value, INT32)
    high = builder.lshr(bits, INT32(16))
    rounded = builder.lshr(builder.add(bits, builder.add(INT32(0x7FFF), builder.and_(high, INT32(1)))), INT32(16))
    is_nan = builder.fcmp_unordered("uno", value, value)
    return builder.select(is_nan, builder.or_(high, INT32(0x40)), rounded)
