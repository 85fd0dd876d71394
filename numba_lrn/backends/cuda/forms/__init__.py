"""The bodies of the kernels: plain functions whose free names kernels.py injects, for the card or for the simulator.

Every form has one signature, ``(source, x, g, out, kept, scratch, columns, length, inner, chunk, before, after, par)``:
``source`` is what the first window sums, ``x``, ``g`` and ``kept`` are what the end of the stage reads beside it,
``out`` and ``kept`` what it writes. The array in memory order is (outer, length, inner).
"""
