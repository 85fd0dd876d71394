"""The mathematics of Local Response Normalization, once, for every device.

Plain functions without a decorator and without an import of any device. A backend binds them to its own
compiler and its own primitives (see :func:`numba_lrn.algorithm.binding.bind`).
"""
