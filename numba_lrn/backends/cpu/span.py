"""Memory as kernels pass it on: where it begins, and how many elements it has.

Numba's array is seven arguments of each function that it is passed to, and a kernel passes some ten arrays to a
hundred functions. With two arguments each, backward of n = 63 takes 4.1 s of processor time at its first call instead
of 4.8.
"""

import operator
from typing import Any

from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, make_attribute_wrapper, models, register_model
from numba.np.arrayobj import populate_array


class Span(types.Type):
    """The type of neighbouring elements of one dtype. A slice of them is some of them, and nothing is checked."""

    def __init__(self, dtype: types.Type):
        self.dtype = dtype
        super().__init__(name=f"Span({dtype})")


@register_model(Span)
class _SpanModel(models.StructModel):
    def __init__(self, dmm: Any, span: Span):
        super().__init__(dmm, span, [("data", types.CPointer(span.dtype)), ("size", types.intp)])


make_attribute_wrapper(Span, "size", "size")


@intrinsic
def spans(typingctx, arrays):
    """The memory of contiguous arrays, a tuple of one dimension each."""
    result = types.Tuple.from_types(tuple(Span(array.dtype) for array in arrays))

    def codegen(context, builder, signature, arguments):
        members = []
        for index, (array_type, span_type) in enumerate(zip(signature.args[0], result, strict=True)):
            value = builder.extract_value(arguments[0], index)
            array = cgutils.create_struct_proxy(array_type)(context, builder, value)
            members.append(_span(context, builder, span_type, array.data, array.nitems))
        return context.make_tuple(builder, result, members)

    return result(arrays), codegen


@intrinsic(prefer_literal=True)
def leading(typingctx, span, count):
    """The first elements of a span as a tuple; ``count`` is a constant."""
    if not isinstance(count, types.IntegerLiteral):
        return None
    result = types.UniTuple(span.dtype, count.literal_value)

    def codegen(context, builder, signature, arguments):
        data = cgutils.create_struct_proxy(span)(context, builder, arguments[0]).data
        index = context.get_value_type(types.intp)
        elements = [builder.load(builder.gep(data, [index(place)])) for place in range(result.count)]
        return context.make_tuple(builder, result, elements)

    return result(span, count), codegen


def _span(context, builder, span_type, data, size):
    span = cgutils.create_struct_proxy(span_type)(context, builder)
    span.data, span.size = data, size
    return span._getvalue()


def array_of(context: Any, builder: Any, span_type: Span, value: Any) -> Any:
    """A span as LLVM code for the type ``array_type``; nothing counts references to it."""
    span = cgutils.create_struct_proxy(span_type)(context, builder, value)
    array = context.make_array(array_type(span_type))(context, builder)
    itemsize = context.get_constant(types.intp, span_type.dtype.bitwidth // 8)
    populate_array(array, span.data, [span.size], [itemsize], itemsize, None)
    return array._getvalue()


def array_type(span_type: Span) -> types.Array:
    """The type of an array of all elements of a span."""
    return types.Array(span_type.dtype, 1, "C")


@infer_global(operator.getitem)
class _GetItem(AbstractTemplate):
    def generic(self, args, kws):
        span, index = args
        if isinstance(span, Span) and isinstance(index, types.SliceType):
            return signature(span, span, index)
        if isinstance(span, Span) and isinstance(index, types.Integer):
            return signature(span.dtype, span, types.intp)
        return None


@infer_global(operator.setitem)
class _SetItem(AbstractTemplate):
    def generic(self, args, kws):
        span, index, _ = args
        if isinstance(span, Span) and isinstance(index, types.Integer):
            return signature(types.none, span, types.intp, span.dtype)
        return None


@lower_builtin(operator.getitem, Span, types.SliceType)
def _part(context, builder, signature, arguments):
    """From start to stop, neither of them negative; without a stop, to the end."""
    span = cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0])
    part = context.make_helper(builder, signature.args[1], arguments[1])
    stop = builder.select(builder.icmp_signed("<", part.stop, span.size), part.stop, span.size)
    return _span(
        context, builder, signature.args[0], builder.gep(span.data, [part.start]), builder.sub(stop, part.start)
    )


@lower_builtin(operator.getitem, Span, types.intp)
def _element(context, builder, signature, arguments):
    span = cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0])
    return builder.load(builder.gep(span.data, [arguments[1]]))


@lower_builtin(operator.setitem, Span, types.intp, types.Any)
def _set_element(context, builder, signature, arguments):
    span = cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0])
    builder.store(arguments[2], builder.gep(span.data, [arguments[1]]))
    return context.get_dummy_value()
