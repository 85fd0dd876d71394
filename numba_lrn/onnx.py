"""ONNX models' LRN nodes, run by this library in ``onnx.reference.ReferenceEvaluator``.

The stock implementation of onnx ≤ 1.23.2 loops over the batch where it means the channels: it is wrong for N < C and
fails for N > C, and takes four dimensions only.

Examples
--------
::

    from onnx.reference import ReferenceEvaluator
    from numba_lrn.onnx import LRN

    outputs = ReferenceEvaluator(model, new_ops=[LRN]).run(None, inputs)
"""

from typing import Any

try:
    from onnx.reference.op_run import OpRun
except ModuleNotFoundError as missing:
    msg = "numba_lrn.onnx needs the package onnx: pip install 'numba-lrn[onnx]'"
    raise ModuleNotFoundError(msg, name=missing.name) from missing

from numba_lrn.conventions import onnx as convention

__all__ = ["LRN"]


class LRN(OpRun):  # type: ignore[misc, unused-ignore]  # untyped where onnx is not installed
    """The operator ``LRN`` of ONNX, opset 1 and 13: :func:`numba_lrn.conventions.onnx` on the node's attributes.

    y[c] = x[c] · (bias + alpha/size · Σ x[j]²)^(−beta), j from c − (size − 1)//2 to c + size//2, clipped: an even size
    has its extra element after the centre. float16, bfloat16 (ml_dtypes), float32 and float64 inputs of any rank from
    2; NaN and Inf stay in their windows. onnx's evaluator does not hand it on to functions that a model defines: inline
    them first (``onnx.inliner.inline_local_functions``).
    """

    op_domain = ""

    def _run(
        self,
        x: Any,
        alpha: float | None = None,
        beta: float | None = None,
        bias: float | None = None,
        size: int | None = None,
    ) -> tuple[Any]:
        """Y for X, with the node's attributes; the schema's defaults where they are missing."""
        if size is None:
            msg = "LRN: the attribute size is missing; ONNX requires it"
            raise ValueError(msg)
        given = {"alpha": alpha, "beta": beta, "bias": bias}
        return (convention(size, **{name: value for name, value in given.items() if value is not None})(x),)
