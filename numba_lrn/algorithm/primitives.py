"""What a device must provide: the plain twins, used by the CUDA simulator and by tests without a compiler.

A backend replaces those that it uses by intrinsics of its own; the names and the meanings stay. Scans, vectors,
prefetches and the fence are the CPU's alone. Half types travel as bits: a ``uint16`` array holds float16, an ``int16``
array holds bfloat16.
"""

import numpy as np

# The type that everything is computed in; a backend binds np.float64 in its place for float64 arrays.
real = np.float32


def fma(a, b, c):
    """a·b + c. Rounded once on a device; this twin rounds twice."""
    return a * b + c


def accumulate(total, value):
    """total + value in the type of total.

    A device may add a loop's values in any order that depends on their number alone.
    """
    return total + type(total)(value)


def fence():
    """Orders what was stored past the caches before what is stored next."""


def bits_of(value):
    """The bits of a real as an integer of the same width."""
    if real is np.float32:
        return np.float32(value).view(np.int32)
    return np.float64(value).view(np.int64)


def real_of(bits):
    """The real that has these bits."""
    if real is np.float32:
        return np.int32(bits).view(np.float32)
    return np.int64(bits).view(np.float64)


def approximate_root(value):
    """√value within an ulp or two, for positive normal numbers, Inf and NaN; this twin and those below are exact."""
    return real(np.sqrt(real(value)))


def approximate_inverse_root(value):
    """1/√value, likewise."""
    with np.errstate(all="ignore"):
        return real(1.0) / np.sqrt(real(value))


def approximate_reciprocal(value):
    """1/value, likewise."""
    with np.errstate(all="ignore"):
        return real(1.0) / real(value)


def approximate_log2(value):
    """log2 value, within 2^-22 or as many ulp as its size has bits."""
    with np.errstate(all="ignore"):
        return np.log2(real(value))


def approximate_exp2(value):
    """2^value, within two ulp."""
    with np.errstate(all="ignore"):
        return np.exp2(real(value))


def load(array, index):
    """array[index] as a real; half types are widened."""
    if array.dtype == np.uint16:
        return real(array[index : index + 1].view(np.float16)[0])
    if array.dtype == np.int16:
        return real((np.int32(array[index]) << np.int32(16)).view(np.float32))
    return array[index]


def load_integer(array, index):
    """array[index] of an array of int32."""
    return array[index]


def sum_suffixes(source, end, target, target_end, count):
    """Sums from each of the ``count`` elements before ``end`` on up to there, into those before ``target_end``.

    A device may write up to 15 elements more, before these.
    """
    total = real(0.0)
    for back in range(1, count + 1):
        total = total + source[end - back]
        target[target_end - back] = total


def join_prefixes(source, at, suffixes, suffix_at, target, place, count):
    """target[place + j] = suffixes[suffix_at + j] + the sum of j elements from source[at] on, for j < ``count``.

    A device may write up to 15 elements more, after these.
    """
    total = real(0.0)
    for j in range(count):
        target[place + j] = suffixes[suffix_at + j] + total
        total = total + source[at + j]


def store(array, index, value):
    """array[index] = value; half types are rounded to nearest even, once."""
    if array.dtype == np.uint16:
        array[index] = np.float16(value).view(np.uint16)
    elif array.dtype == np.int16:
        array[index] = bfloat16_bits(np.float32(value))
    else:
        array[index] = value


def bfloat16_bits(value):
    """The bits of the bfloat16 nearest to a float32: ties to even, NaN stays NaN."""
    bits = int(value.view(np.uint32))
    is_nan = bits & 0x7FFFFFFF > 0x7F800000
    rounded = bits >> 16 | 0x40 if is_nan else bits + 0x7FFF + (bits >> 16 & 1) >> 16
    return np.uint16(rounded & 0xFFFF).view(np.int16)


VECTOR = 64  # bytes


def sum_suffixes_of_vectors(source, end, target, target_end, count):
    """``sum_suffixes`` of vectors, lane by lane; all numbers count elements."""
    lanes = VECTOR // source.itemsize
    total = np.zeros(lanes, source.dtype)
    for back in range(lanes, count + 1, lanes):
        total = total + source[end - back : end - back + lanes]
        target[target_end - back : target_end - back + lanes] = total


def join_prefixes_of_vectors(source, at, suffixes, suffix_at, target, place, count):
    """``join_prefixes`` of vectors, lane by lane; all numbers count elements."""
    lanes = VECTOR // source.itemsize
    total = np.zeros(lanes, source.dtype)
    for j in range(0, count, lanes):
        target[place + j : place + j + lanes] = suffixes[suffix_at + j : suffix_at + j + lanes] + total
        total = total + source[at + j : at + j + lanes]


def lanes_of(value):
    """A vector with a number in every lane."""
    return np.full(VECTOR // real(value).itemsize, value, real)


def load_lanes(array, index):
    """``load`` of neighbours, as many as a vector has lanes."""
    return np.array([load(array, index + lane) for lane in range(lanes_of(real(0.0)).size)])


def store_lanes(array, index, values):
    """``store`` of neighbours."""
    for lane, value in enumerate(values):
        store(array, index + lane, value)


def higher_bits(highest, values):
    """Lane by lane, what has the higher bits, read as an unsigned integer: those of Inf, NaN and negative numbers."""
    unsigned = np.dtype(f"u{values.itemsize}")
    return np.maximum(highest.view(unsigned), values.view(unsigned)).view(values.dtype)


def any_extreme(values):
    """Whether a lane is Inf, NaN or negative."""
    return not (np.isfinite(values) & ~np.signbit(values)).all()


def prefetch(array, index):
    """Asks for the cache line of array[index], which may lie beyond the array."""


def interleave(source, at, pitch, target, place, target_pitch):
    """target[place + j·target_pitch + i] = source[at + i·pitch + j] for all lanes i and j of a vector."""
    for i in range(VECTOR // source.itemsize):
        for j in range(VECTOR // source.itemsize):
            target[place + j * target_pitch + i] = source[at + i * pitch + j]
