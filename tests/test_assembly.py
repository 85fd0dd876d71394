"""The machine code of the main kernels: packed arithmetic in the innermost loops, so that its loss is noticed."""

import json
import pathlib
import re

import pytest

from tests import processes

pytestmark = pytest.mark.skipif(
    not re.search(r"\bfma\b.*\bavx2\b|\bavx2\b.*\bfma\b", pathlib.Path("/proc/cpuinfo").read_text())
    if pathlib.Path("/proc/cpuinfo").exists()
    else True,
    reason="this processor has no AVX2, or does not tell",
)

# A kernel that comes from the disk cache has no assembly: the processes below compile, with the cache off.
SCRIPT = """
import json, sys
import numpy as np
import numba_lrn as lrn
from numba_lrn.backends.cpu.launch import plan_of

recipe, form, dtype, n = sys.argv[1:]
x = np.ones((2, 16, 8, 8), dtype) if form == "direct" else np.ones((2, 8, 8, 16), dtype)
op = lrn.LocalResponseNorm(int(n), axis=1 if form == "direct" else -1)
op(x) if recipe == "forward" else getattr(op, recipe)(x, x)
plan = plan_of(op, recipe, x)
assert (plan.variant.form, plan.variant.terms) == (form, 5 if n == "5" else 0)
print(json.dumps(plan.kernel.assembly()))
"""


def functions(assembly):
    """{name: its lines}."""
    found, lines = {}, []
    for line in assembly.splitlines():
        label = re.match(r"([A-Za-z_][\w.$]*):", line)
        if label:
            lines = found.setdefault(label[1], [])
        else:
            lines.append(line)
    return found


def innermost_loops(lines):
    """The instructions between each backward jump and its target, where they hold no other such pair."""
    labels, instructions = {}, []
    for line in lines:
        label = re.match(r"(\.L\w+):", line)
        instruction = re.match(r"\s+([a-z]\w*)\s*(.*)", line)
        if label:
            labels[label[1]] = len(instructions)
        elif instruction:
            instructions.append((instruction[1], instruction[2]))
    loops = [
        (labels[target], end)
        for end, (name, target) in enumerate(instructions)
        if name.startswith("j") and labels.get(target, end + 1) <= end
    ]
    return [
        instructions[a : b + 1] for a, b in loops if not any((c, d) != (a, b) and a <= c and d <= b for c, d in loops)
    ]


def count(loop, pattern):
    """How many instructions of a loop match, on whole vectors of 256 or 512 bits."""
    return sum(bool(re.match(pattern, name)) and re.search("[yz]mm", operands) is not None for name, operands in loop)


MULTIPLY_ADD = r"vfn?m(add|sub)\d+ps"
ADD = r"vaddps"
POWER = r"vmulps|vsqrtps|vdivps"  # by Newton steps or by roots
CASES = [
    ("forward", "direct", "float32"),
    ("forward", "masked", "float32"),
    ("backward", "direct", "float32"),
    ("backward", "masked", "float32"),
    ("forward", "direct", "float16"),
]


# n = 5 has loops of its own, made for it.
@pytest.mark.parametrize("n", [5, 7])
@pytest.mark.parametrize(("recipe", "form", "dtype"), CASES)
def test_innermost_loops_are_vectorised(recipe, form, dtype, n):
    output, _ = processes.finish(processes.start("-c", SCRIPT, recipe, form, dtype, str(n), NUMBA_LRN_CACHE="0"))
    assembly = json.loads(output)
    assert assembly
    assert "gather" not in assembly
    assert "scatter" not in assembly
    assert ("prefetcht0" in assembly) == (form == "direct" or n != 5)
    code = functions(assembly)
    assert not [
        name for name in re.findall(r"(?:callq?|jmp)\s+([\w@]+)", assembly) if re.match("pow|exp|log|sqrt", name)
    ]
    loops = [loop for lines in code.values() for loop in innermost_loops(lines)]
    if n == 5:
        # Sum and power in one loop, with and without stores past the caches.
        assert any(count(loop, MULTIPLY_ADD) >= 7 and count(loop, POWER) >= 4 for loop in loops)
        if dtype == "float32":
            assert any(count(loop, r"vmovntps") for loop in loops)
    else:
        # Window sums: four terms added at a time, squares by multiply-add, residuals by plain additions.
        assert any(count(loop, MULTIPLY_ADD) == 4 and count(loop, POWER) == 0 for loop in loops)
    if recipe == "backward" and form == "direct" and n == 5:
        # Both stages in one loop, past the caches and in them.
        both = [loop for loop in loops if count(loop, MULTIPLY_ADD) >= 7 and count(loop, ADD) >= 6]
        assert {count(loop, r"vmovntps") > 0 for loop in both} == {False, True}
        # And for two rows at a time.
        assert any(count(loop, MULTIPLY_ADD) >= 14 and count(loop, ADD) >= 12 for loop in both)
    if recipe == "backward":
        assert any(count(loop, ADD) >= 4 for loop in loops)
    # The power and what surrounds it.
    powers = [loop for loop in loops if count(loop, MULTIPLY_ADD) >= 2 and count(loop, POWER) >= 4]
    assert powers
    if dtype == "float16":
        assert any(count(loop, "vcvtph2ps") and count(loop, "vcvtps2ph") for loop in powers)
    # No float64 literal has promoted anything.
    double = re.compile(r"v(mul|add|sub|div|sqrt|fn?m\w+)[sp]d")
    assert not {name for loop in loops for name, _ in loop if double.fullmatch(name)}


def test_sums_are_vectorised():
    """Power, logarithm and the additions of a strip's shares in one loop of vectors, nothing of it in float64."""
    output, _ = processes.finish(
        processes.start("-c", SCRIPT, "backward_parameters", "direct", "float32", "5", NUMBA_LRN_CACHE="0")
    )
    loops = [loop for lines in functions(json.loads(output)).values() for loop in innermost_loops(lines)]
    logarithms = [loop for loop in loops if count(loop, "vcvtdq2ps") and count(loop, MULTIPLY_ADD) >= 15]
    usual = [loop for loop in logarithms if not count(loop, "vaddpd") and not count(loop, "vcvtps2pd")]
    assert any(count(loop, ADD) >= 6 and count(loop, POWER) >= 1 for loop in usual)
