"""Every kernel compiled to PTX and linked, without a card or a driver.

On sm_90 each kernel of the report's problems; on the other architectures the main ones: a kernel takes one to four
seconds. sm_75 rounds to half types in other instructions; sm_100 and sm_120 come from another LLVM, which unrolls less.
"""

import functools
import math
import re

import numpy as np
import pytest

from numba_lrn.backends.cuda import cache, kernels, report, sums
from numba_lrn.backends.cuda.blocks import WALK_MOST_THREADS, Device, most_threads
from numba_lrn.backends.cuda.forms import ring
from numba_lrn.backends.cuda.forms.whole import LONG_GROUP
from numba_lrn.backends.cuda.phases import CALLERS
from tests.support import DTYPES

pytestmark = pytest.mark.compiled
OLD_COMPILERS = any(name == "nvidia-cuda-nvcc-cu12" for name, _ in cache.compiler_versions())  # those of CUDA 12
ARCHITECTURES = ((7, 5), (8, 0), (9, 0), (10, 0), (12, 0))


def variants(problems, dtypes, recipes=report.RECIPES):
    """name → variant, each once."""
    found = {}
    for problem in problems:
        for recipe in recipes:
            for name in dtypes:
                for index, variant in enumerate(problem.variants(recipe, DTYPES[name], Device())):
                    if variant not in found.values():
                        found[f"{problem.name}, {recipe} {index}, {name}"] = variant
    return found


FLOAT32 = ("float32",)
# Both phases of a box in one kernel, which unrolls most.
BOXES = (
    report.Problem("box 3×3", report.PLANES, report.NCHW, (2, 3), 3),
    report.Problem("box 5×5, 55×55", (32, 64, 55, 55), report.NCHW, (2, 3), 5),
    report.Problem("box 5×5, channels last", report.PLANES, report.NHWC, (2, 3), 5),
)
# Columns that are apart: with two phases, what takes most registers.
ODD, GUARDED = (
    tuple(
        report.Problem(
            f"{planes}², n = {n}, β = {beta}, k = {k}", (32, 512, planes, planes), report.NCHW, 1, n, beta, k
        )
        for planes, n, beta, k in cases
    )
    for cases in (
        ((13, 10, 0.75, 1.0), (13, 12, 0.75, 1.0), (13, 16, 1.7, 1.0), (13, 63, 1.7, 1.0)),
        ((13, 5, 0.75, 0.0), (13, 5, 0.25, 0.0), (16, 5, 0.75, 0.0)),
    )
)
LINE = tuple(
    report.Problem(f"{planes}², n = {n}, β = {beta}, in a line", (32, 256, planes, planes), report.NCHW, 1, n, beta)
    for planes, n, beta in ((13, 7, 0.75), (7, 9, 0.75), (13, 5, 0.6), (27, 9, 1.7), (13, 9, 0.75))
)
SKEWED = tuple(
    report.Problem(f"55², n = {n}, β = {beta}, skewed", (32, 96, 55, 55), report.NCHW, 1, n, beta)
    for n, beta in ((5, 0.75), (6, 1.7))
)
# Where 64 registers are too few.
UNBOUNDED = tuple(
    report.Problem(f"{planes}², β = {beta}, skewed", (32, 96, planes, planes), report.NCHW, 1, 5, beta)
    for planes, beta in ((55, 0.5), (54, 0.25))
)
# So many columns that their numbers are divided in 64 bits.
FAR = (
    report.Problem("2³¹ columns, n = 5", (2, 8, 2**30), (0, 1, 2), 1, 5),
    report.Problem("2³¹ columns, n = 47", (2, 64, 2**30), (0, 1, 2), 1, 47),
    report.Problem("2³¹ columns, n = 4001", (2, 8192, 2**30), (0, 1, 2), 1, 4001),
    report.Problem("2³¹ planes", (2, 7, 8, 2**30), report.NCHW, (1, 2), 3),
)
# What takes most registers there on the newest cards.
LARGE_LINE = (report.Problem("13², n = 6, β = 1.7, in a line", (32, 256, 13, 13), report.NCHW, 1, 6, 1.7),)
MAIN = {
    **variants(LARGE_LINE, ("bfloat16",), ("forward",)),
    **variants(report.MAIN[:2], ("float32", "float16")),
    **variants(report.MAIN[2:], FLOAT32),
    **variants(report.MAIN[:2], FLOAT32, report.DERIVATIVES),
    **variants(BOXES, FLOAT32, ("backward", "double_backward")),
    **variants(BOXES[1:2], FLOAT32, ("forward", "jvp")),
    **variants(ODD[:1], FLOAT32),
    **variants(SKEWED[:1], ("float32", "float16"), ("forward",)),
}
BFLOAT16 = variants(report.MAIN[:1], ("bfloat16",))
OTHERS = {
    **variants(report.MAIN, ("float32", "float16")),
    **variants(report.OTHERS, FLOAT32),
    **variants(report.MAIN[:2], ("bfloat16", "float64")),
    **variants(report.OTHERS[-2:], ("float16",)),
    **variants(report.MAIN[2:], FLOAT32, report.DERIVATIVES),
    **variants(report.OTHERS[1:3], FLOAT32, ("double_backward",)),
    **variants(report.OTHERS[-2:], FLOAT32, ("backward_all",)),
    **variants(report.MAIN[:1], ("float16", "bfloat16", "float64"), ("backward_all", "double_backward")),
}
# Polynomials of float64, which are long, in the longest ends of stages.
NAMELESS64 = tuple(
    problem._replace(name=f"{problem.name}, β = {beta}", beta=beta)
    for problem, beta in ((report.MAIN[0], 0.6), (report.MAIN[1], 1.7), (report.OTHERS[5], 0.6))
)
# What takes most registers.
LARGE, LARGE64 = (
    tuple(
        report.Problem(f"{layout}, n = {n}, β = {beta}", (16, 896, 8, 8), order, 1, n, beta)
        for layout, order in (("NCHW", report.NCHW), ("NHWC", report.NHWC))
        for n in (16, 47)
    )
    for beta in (1.7, 0.75)
)
LARGE_BOXES, LARGE_BOXES64 = (
    tuple(
        report.Problem(f"box 9×9, {layout}, β = {beta}", report.PLANES, order, (2, 3), 9, beta)
        for layout, order in (("NCHW", report.NCHW), ("NHWC", report.NHWC))
    )
    for beta in (1.7, 0.75)
)
ALL = {
    **OTHERS,
    **MAIN,
    **BFLOAT16,
    **variants((*ODD, *LINE), FLOAT32),
    **variants(LINE[2:3], ("float16", "bfloat16"), ("forward",)),
    **variants(SKEWED, ("float32", "float16", "bfloat16"), ("forward",)),
    **variants(UNBOUNDED, ("float16",), ("forward",)),
    **variants(FAR, FLOAT32, ("forward",)),
    **variants(report.OTHERS[-2:], ("float64",)),
    **variants(LARGE, ("float32",), ("backward_all", "jvp", "double_backward")),
    **variants(LARGE, ("float16",), ("backward", "double_backward")),
    **variants(LARGE64, ("float64",), ("backward_all", "double_backward")),
    **variants(LARGE_BOXES, FLOAT32, ("backward_all", "double_backward")),
    **variants(LARGE_BOXES64, ("float64",), ("backward_all", "double_backward")),
    **variants(BOXES, ("float16", "float64"), ("backward",)),
    **variants(NAMELESS64[:1], ("float64",)),
    **variants(NAMELESS64, ("float64",), ("backward_all",)),
    **variants(NAMELESS64[1:2], ("float64",), ("double_backward",)),
}
# What kernels of one variant share is compiled once where they follow each other.
TARGETS = [
    (name, capability)
    for name in ALL
    for capability in ARCHITECTURES
    if capability == (9, 0) or name in MAIN or (name in BFLOAT16 and capability == (7, 5))
]


@functools.cache
def compiled(variant, capability):
    text = kernels.ptx(variant, capability)
    return text, kernels.link(text, capability)


def check(variant, capability):
    text, linked = compiled(variant, capability)
    assert f".target sm_{capability[0]}{capability[1]}" in text
    # What the report says of the machine code: .local in PTX does not show spills.
    assert linked.spilled_bytes == 0
    assert linked.stack_bytes == 0 or is_left_in_memory(variant, capability)
    # With 168, three blocks of 128 threads a multiprocessor; the five arrays of double backward, and windows of some
    # sizes in long groups, leave room for two (up to 190, 197 by the compilers of CUDA 12).
    many = variant.twice and (variant.windows > 1 or variant.elements > LONG_GROUP)
    assert linked.registers <= ((200 if OLD_COMPILERS else 192) if many else 176)
    if variant.holds_axis:
        check_registers(variant, linked)
    if variant.form.startswith("walk"):
        assert linked.registers * WALK_MOST_THREADS <= 65536
    if variant.form == "ring" and capability == (9, 0):  # as many blocks a multiprocessor as a plan counts on
        assert -(-linked.registers // 8) * 8 * variant.span * ring.SIDE_BY_SIDE <= 65536
    if bounds := kernels.launch_bounds(variant, capability):
        assert -(-linked.registers // 8) * 8 * math.prod(bounds) <= 65536
    assert linked.code.startswith(b"\x7fELF")
    # A subroutine of the assembler, which every access of memory pays for (forms/quotients.py).
    assert variant.far or ".s64" not in re.findall(r"\b(?:div|rem)(\.\w+)", text)
    assert ".local" not in text or is_left_in_memory(variant, capability)
    assert (".shared" in text) >= variant.reduces
    assert not re.search(r"\bcall\b", text)
    if variant.power.endswith(kernels.APPROXIMATE):  # it branches, and constants are made anew behind it
        assert not re.search(r"\bdiv\.rn\b", text)
    assert "st.global" in text
    check_indices(variant, text)
    if variant.real == "float32":
        assert ".f64" not in text
    else:
        assert "fma.rn.f64" in text
    if variant.adjacent and variant.lanes > 1:
        check_vectors(variant, text)
    if set(variant.loaded) <= set(CALLERS) and set(variant.phases[-1].stored) & set(CALLERS):
        check_conversions(variant, text, capability)


def is_left_in_memory(variant, capability):
    """Whether the compilers of CUDA 12, for the newest cards, do not unroll what a thread sums."""
    return (
        OLD_COMPILERS
        and capability >= (10, 0)
        and variant.form == "small_spread"
        and variant.before + variant.after >= 9
    )


def check_registers(variant, linked):
    """The largest block that a plan may ask for has its registers: warps get them in fours, threads in eights."""
    threads = -(-most_threads(variant) // 128) * 128
    assert -(-linked.registers // 8) * 8 * threads <= 65536


def check_indices(variant, text):
    """The number of the block is not multiplied in 32 bits, where it would overflow: that of a sample, where blocks
    take lines, which have no more elements than 32 bits hold.
    """
    extents = "z" if variant.form in ("flat", "ring", "skew") else "xyz"
    blocks = {f"ctaid.{extent}" for extent in extents}
    special = dict(re.findall(r"mov\.u32\s+(%r\d+), %(n?ctaid\.[xyz])", text))
    assert blocks & set(special.values())
    for operands in re.findall(r"\b(?:mul|mad)\.lo\.[su]32\s+%r\d+, ([^;]*);", text):
        named = {special.get(operand) for operand in operands.split(", ")}
        # libnvvm 12 multiplies these two so: both are less than 2¹⁶.
        assert not named & blocks or (OLD_COMPILERS and named == {"ctaid.z", "nctaid.y"})


def check_vectors(variant, text):
    """Global memory is read and written by as many bytes at a time as the lanes have, 16 at most."""
    for access in ("ld", "st"):
        widths = {
            (int(count or 1)) * int(bits) // 8
            for count, bits in re.findall(rf"{access}\.global(?:\.v(\d))?\.[bfsu](\d+)", text)
        }
        itemsize = np.dtype(kernels.CARRIERS[variant.dtype]).itemsize
        # Eight bytes of float16 are loaded as two words of four.
        least = min(variant.lanes * itemsize, 16)
        if variant.form in ("flat", "ring"):  # write element by element, and read so where an array begins or ends
            assert least in widths or access == "st"
        elif variant.reduces and access == "st":  # the parts of the sums are stored one by one
            assert least in widths or not variant.phases[-1].stored
        elif variant.form == "prefix_scratch":  # so are its sums
            assert least in widths
        else:
            assert min(widths) >= (least if least == 16 else min(least, 4)), widths


def check_conversions(variant, text, capability):
    """Half types are widened as they are loaded and rounded once as they are stored."""
    if variant.dtype == "float16":
        assert "cvt.f32.f16" in text
        assert ("cvt.rn.f16x2.f32" if capability >= kernels.PACKS else "cvt.rn.f16.f32") in text
    if variant.dtype == "bfloat16":
        assert ("cvt.rn.bf16x2.f32" in text) == (capability >= kernels.PACKS)


@pytest.mark.parametrize(("name", "capability"), TARGETS, ids=str)
def test_kernel(name, capability):
    check(ALL[name], capability)


@pytest.mark.parametrize("variant", variants(GUARDED, FLOAT32).values(), ids=kernels.name_of)
def test_guarded_powers_have_their_registers(variant):
    """Where k = 0, d may be subnormal or zero, and its power takes roots of float64."""
    _, linked = compiled(variant, (9, 0))
    assert linked.spilled_bytes == 0
    check_registers(variant, linked)


# Blocks of as many threads as there may be, with the longest power.
CROWDED = tuple(
    report.Problem(f"1024 channels, n = {n}, β = 0.6, k = 0", (16, 1024, 8, 8), report.NCHW, 1, n, 0.6, 0.0)
    for n in (5, 16, 20)
)


@pytest.mark.parametrize("capability", [(7, 5), (9, 0), (10, 0), (12, 0)], ids=str)
@pytest.mark.parametrize("variant", variants(CROWDED, FLOAT32, ("backward",)).values(), ids=kernels.name_of)
def test_the_power_of_the_platform_has_its_registers(variant, capability):
    """sm_100 and sm_120 would take 131 to 142 of them, where a block of 512 threads has 128 for each."""
    assert variant.power == "power_platform"
    _, linked = compiled(variant, capability)
    assert linked.spilled_bytes == 0
    check_registers(variant, linked)


@pytest.mark.parametrize("real", ["float32", "float64"])
@pytest.mark.parametrize("capability", ARCHITECTURES, ids=str)
def test_the_last_of_the_sums(real, capability):
    text = sums.ptx(sums.Variant(real), capability)
    linked = sums.toolkit.link(text, capability)
    assert linked.spilled_bytes == linked.stack_bytes == 0
    assert ".local" not in text
    assert not re.search(r"\bcall\b", text)


# Instructions an element of the whole kernel: a lost unrolling shows here and nowhere else. Measured, plus a tenth;
# docs/cuda-kernels.md has the measured ones.
LIMITS = {
    ("NCHW, n = 5", "forward", "float32"): 41,
    ("NCHW, n = 5", "backward", "float32"): 58,
    ("NCHW, n = 5", "forward", "float16"): 32,
    ("NCHW, n = 5", "backward", "float16"): 50,
    ("NCHW, n = 5", "jvp", "float32"): 59,
    ("NCHW, n = 5", "backward_all", "float32"): 106,
    ("NCHW, n = 5", "double_backward", "float32"): 99,
    ("NHWC, n = 5", "forward", "float32"): 34,
    ("NHWC, n = 5", "backward", "float32"): 50,
    ("NHWC, n = 5", "forward", "float64"): 47,
    ("NHWC, n = 5", "backward", "float64"): 72,
    ("NHWC, n = 5", "backward_all", "float32"): 90,
    ("NHWC, n = 5", "double_backward", "float32"): 82,
    ("NCHW, 27×27, n = 5", "forward", "float32"): 59,
    ("NCHW, 27×27, n = 5", "forward", "float16"): 56,
    ("NCHW, 27×27, n = 5", "backward", "float32"): 84,
    ("box 5×5, 55×55", "forward", "float32"): 68,
    ("box 5×5", "backward", "float32"): 71,
    ("box 5×5", "backward", "float16"): 68,
    ("box 5×5", "backward_all", "float32"): 113,
    ("box 5×5", "double_backward", "float32"): 133,
    ("NCHW, n = 63", "forward", "float32"): 47,
    ("NCHW, n = 63", "backward", "float32"): 75,
    ("NCHW, n = 5, β = 0.6", "forward", "float32"): 50,
    ("NCHW, n = 5, β = 0.6", "backward", "float32"): 78,
    ("NCHW, n = 5, β = 0.6", "forward", "float64"): 108,
    ("NCHW, n = 5, β = 0.6", "backward", "float64"): 145,
    ("NCHW, n = 5, β = 0.6", "backward", "float16"): 69,
}


@pytest.mark.parametrize(("problem", "recipe", "dtype"), LIMITS, ids=str)
def test_instructions(problem, recipe, dtype):
    found = next(candidate for candidate in (*report.MAIN, *report.OTHERS, *BOXES) if candidate.name == problem)
    (variant,) = found.variants(recipe, DTYPES[dtype], Device())
    listing = report.disassemble(compiled(variant, (9, 0))[1].code)
    if listing is None:
        pytest.skip("nvidia-cuda-nvdisasm is not installed")
    assert report.instructions(variant, listing) <= LIMITS[problem, recipe, dtype]
