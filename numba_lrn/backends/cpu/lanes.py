"""Vectors as values: the functions of one element, called with vectors, compute all lanes of them at once.

Where a loop runs over neighbours, LLVM makes vectors of it. One that runs over rows, and keeps what its turns share in
registers, takes these.
"""

import math
import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

BYTES = 64  # of a vector; processors with less take it in parts


class Lanes(types.Type):
    """The type of a vector of reals, or of integers as wide."""

    def __init__(self, element: types.Number):
        self.element = element
        self.count = 8 * BYTES // element.bitwidth
        super().__init__(name=f"Lanes({element})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, kind: Lanes):
        super().__init__(dmm, kind, ir.VectorType(dmm.lookup(kind.element).get_value_type(), kind.count))


def joined(*kinds: types.Type) -> types.Type:
    """The type of what is computed from numbers and vectors of one type of reals."""
    return next((kind for kind in kinds if isinstance(kind, Lanes)), kinds[0])


def spread(builder: Any, value: Any, kind: Any) -> Any:
    """A value of LLVM's type ``kind``, or a number in every lane of such a vector."""
    if value.type == kind:
        return value
    index = ir.IntType(32)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, index(0))
    nowhere = ir.Constant(ir.VectorType(index, kind.count), None)
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), nowhere)


def intrinsic_of(builder: Any, name: str, kind: Any, arguments: int) -> Any:
    """LLVM's intrinsic of this name for numbers or vectors, which llvmlite knows for numbers only."""
    suffix = f"v{kind.count}{kind.element.intrinsic_name}" if isinstance(kind, ir.VectorType) else kind.intrinsic_name
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * arguments), f"{name}.{suffix}")


def _operator(function: Any, of_reals: str | None, of_integers: str | None) -> None:
    """Let vectors and numbers be combined by one of Python's operators."""

    class Template(AbstractTemplate):
        def generic(self, args, kws):
            kind = joined(*args)
            known = isinstance(kind, Lanes) and instruction_for(kind)
            return signature(kind, *args) if known and all(each in (kind, kind.element) for each in args) else None

    infer_global(function)(Template)

    def instruction_for(kind):
        return of_reals if isinstance(kind.element, types.Float) else of_integers

    def lower(context, builder, signature, arguments):
        kind = context.get_value_type(signature.return_type)
        instruction = getattr(builder, instruction_for(signature.return_type))
        return instruction(*(spread(builder, argument, kind) for argument in arguments))

    for kinds in ((Lanes, Lanes), (Lanes, types.Number), (types.Number, Lanes)):
        lower_builtin(function, *kinds)(lower)


_operator(operator.add, "fadd", "add")
_operator(operator.sub, "fsub", "sub")
_operator(operator.mul, "fmul", None)
_operator(operator.truediv, "fdiv", None)
_operator(operator.lshift, None, "shl")
_operator(operator.rshift, None, "ashr")


def _function(function: Any, lower: Any) -> None:
    """Let one of Python's functions or operators take a vector."""

    class Template(AbstractTemplate):
        def generic(self, args, kws):
            return signature(args[0], args[0]) if isinstance(args[0], Lanes) else None

    infer_global(function)(Template)
    lower_builtin(function, Lanes)(lower)


def _negative(context, builder, signature, arguments):
    return builder.fneg(arguments[0])


def _root(context, builder, signature, arguments):
    kind = context.get_value_type(signature.return_type)
    return builder.call(intrinsic_of(builder, "llvm.sqrt", kind, 1), arguments)


_function(operator.neg, _negative)
_function(math.sqrt, _root)
