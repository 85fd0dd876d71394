"""The passes from one plane to another: compiled once, called by address from every kernel that takes them.

As part of each kernel they made its compile time 8 s forward and 16 s backward.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import types as numba_types
from numba.extending import intrinsic

from numba_lrn.algorithm import formulas, primitives, window
from numba_lrn.algorithm.binding import bind, rebind
from numba_lrn.algorithm.window import planes
from numba_lrn.algorithm.window.contract import Space
from numba_lrn.algorithm.window.planes import Planes
from numba_lrn.backends.cpu.compiler import compile_entry, compile_part, native_address, sources_stamp
from numba_lrn.backends.cpu.injection import primitives_of
from numba_lrn.backends.cpu.span import array_of, array_type, spans


@functools.cache
def _dispatcher(form: str, real_name: str):
    """A pass as an entry point; kept, so that its machine code stays."""
    injected = primitives_of(real_name)
    injected["add_term"] = compile_part(rebind(planes.plane_term, injected, "plane_term"))
    name = f"plane_{form}_{real_name}"
    namespace = bind((primitives, formulas, *window.PLANES), compile_part, injected, f"{name}_{sources_stamp()[:8]}")
    namespace["window_strip"] = namespace["plane_window_strip"]
    entry = rebind(
        _entry(f"{name} {sources_stamp()}"),
        {"run_pass": namespace[f"plane_{form}"], "Planes": Planes, "Space": Space, "Parts": Parts, "spans": spans},
        name,
    )
    plane = np.empty(1, real_name)
    return compile_entry(entry, (plane,) * 6 + (np.empty(1, np.int32),) + (0,) * 7)


@functools.cache
def address_of(form: str, real_name: str) -> int:
    """The machine code of a pass."""
    return native_address(_dispatcher(form, real_name))


class Parts(NamedTuple):
    """The buffers that a pass uses."""

    total: Any
    running: Any
    suffix: Any
    turned: Any


def _entry(stamp: str) -> Callable:
    """``stamp`` is not used, but Numba's cache takes the values of a closure into its key."""

    def entry(
        source,
        target,
        total,
        running,
        suffix,
        turned,
        positions,
        outers,
        length,
        unit,
        before,
        after,
        first,
        last,
    ):
        stamp  # noqa: B018
        space = Space(length, unit, unit, before, after, 0, 0)
        source, target, total, running, suffix, turned, positions = spans(
            (source, target, total, running, suffix, turned, positions)
        )
        run_pass(Planes(source, target), Parts(total, running, suffix, turned), space, outers, positions, first, last)

    return entry


@intrinsic
def _call(typingctx, address, source, target, total, running, suffix, turned, positions, o, n, u, b, a, f, e):
    """Call the pass at ``address``."""
    memory = (source, target, total, running, suffix, turned, positions)
    numbers = (numba_types.int64,) * 7
    pass_types = (*map(array_type, memory), *numbers)

    def codegen(context, builder, signature, arguments):
        convention = context.call_conv
        pointer = convention.get_function_type(numba_types.none, pass_types).as_pointer()
        address, *values = arguments
        function = builder.inttoptr(address, pointer)
        arrays = [array_of(context, builder, span, value) for span, value in zip(memory, values, strict=False)]
        convention.call_function(builder, function, numba_types.none, pass_types, arrays + values[len(memory) :])
        return context.get_dummy_value()

    return numba_types.void(numba_types.int64, *memory, *numbers), codegen


@compile_part
def sum_plane(axis, buffers, source, target, outers, unit, transposed, length, positions, first, last):
    """One axis of a box, from one plane to the other."""
    before = axis.after if transposed else axis.before
    after = axis.before if transposed else axis.after
    table = positions[axis.table : axis.table + axis.entries]
    _call(
        axis.form, source, target, buffers.total, buffers.running, buffers.suffix, buffers.turned, table,
        outers, length, unit, before, after, first, last,
    )  # fmt: skip
