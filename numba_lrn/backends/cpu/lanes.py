"""Vectors as values: the functions of one element, called with vectors, compute all lanes of them at once.

Where a loop runs over neighbours, LLVM makes vectors of it. Here a loop runs over rows instead, and what its turns
share stays in registers.
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
    """The type of a vector of reals."""

    def __init__(self, real: types.Float):
        self.real = real
        self.count = 8 * BYTES // real.bitwidth
        super().__init__(name=f"Lanes({real})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, kind: Lanes):
        super().__init__(dmm, kind, ir.VectorType(dmm.lookup(kind.real).get_value_type(), kind.count))


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


def instruction(builder: Any, name: str, kind: Any, arguments: int) -> Any:
    """LLVM's intrinsic of this name for numbers or vectors, which llvmlite knows for numbers only."""
    suffix = f"v{kind.count}{kind.element.intrinsic_name}" if isinstance(kind, ir.VectorType) else kind.intrinsic_name
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * arguments), f"{name}.{suffix}")


def _operator(function: Any, instruction: str) -> None:
    """Let vectors and numbers be combined by one of Python's operators."""

    class Template(AbstractTemplate):
        def generic(self, args, kws):
            kind = joined(*args)
            if isinstance(kind, Lanes) and all(each in (kind, kind.real) for each in args):
                return signature(kind, *args)
            return None

    infer_global(function)(Template)

    def lower(context, builder, signature, arguments):
        kind = context.get_value_type(signature.return_type)
        return getattr(builder, instruction)(*(spread(builder, argument, kind) for argument in arguments))

    for kinds in ((Lanes, Lanes), (Lanes, types.Float), (types.Float, Lanes)):
        lower_builtin(function, *kinds)(lower)


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")
_operator(operator.truediv, "fdiv")


@infer_global(math.sqrt)
class _Root(AbstractTemplate):
    def generic(self, args, kws):
        return signature(args[0], args[0]) if isinstance(args[0], Lanes) else None


@lower_builtin(math.sqrt, Lanes)
def _root(context, builder, signature, arguments):
    kind = context.get_value_type(signature.return_type)
    return builder.call(instruction(builder, "llvm.sqrt", kind, 1), arguments)
