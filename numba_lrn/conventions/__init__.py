"""Every framework's own Local Response Normalization, by that framework's names, order, defaults and restrictions.

Each function returns the :class:`numba_lrn.LocalResponseNorm` that computes the framework's numbers. Its docstring
gives the framework's formula, the mapping, the source and the level of evidence: *run* (compared with the framework
itself, tests/conformance), *source* (read in its code), *documentation*; what is *unverified* is said. Where a
framework refuses a parameter, so does its function; its limits on rank and dtype are documented, not enforced.
Where two of its backends disagree, ``variant=`` must name one.

:func:`convert` goes back: the arguments with which a framework computes an operator. :func:`describe` does so for all.
``python -m numba_lrn.conventions`` prints the table of them.

Examples
--------
>>> from numba_lrn import conventions
>>> conventions.tensorflow(depth_radius=2, bias=2.0, alpha=2e-5, beta=0.75)
LocalResponseNorm(axis=-1, before=2, after=2, scale=2e-05, beta=0.75, k=2.0)
>>> conventions.convert(conventions.caffe(5, alpha=1e-4), "tensorflow")
{'depth_radius': 2, 'bias': 1.0, 'alpha': 2e-05, 'beta': 0.75}
"""

from numba_lrn.conventions.after import cudnn, directml, matlab, miopen, nnef, onnx, onnxruntime
from numba_lrn.conventions.before import alexnet, coreml, cuda_convnet, mnn, mps, paddle, pytorch
from numba_lrn.conventions.odd_only import acl, caffe, caffe2, lasagne, mxnet, tensorrt, torch7, tvm
from numba_lrn.conventions.radius import keras, mindspore, tensorflow, tflite
from numba_lrn.conventions.rounded import chainer, ncnn, onednn, openvino
from numba_lrn.conventions.translate import convert, describe, table

__all__ = [
    "acl",
    "alexnet",
    "caffe",
    "caffe2",
    "chainer",
    "convert",
    "coreml",
    "cuda_convnet",
    "cudnn",
    "describe",
    "directml",
    "keras",
    "lasagne",
    "matlab",
    "mindspore",
    "miopen",
    "mnn",
    "mps",
    "mxnet",
    "ncnn",
    "nnef",
    "onednn",
    "onnx",
    "onnxruntime",
    "openvino",
    "paddle",
    "pytorch",
    "table",
    "tensorflow",
    "tensorrt",
    "tflite",
    "torch7",
    "tvm",
]
