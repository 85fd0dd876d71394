"""Window sums that never subtract.

Each form walks the rows of a tile, forms the window sums of a strip of neighbouring elements in ``buffers.total``
and hands the strip to ``emit``. ``add_term`` and ``emit`` are injected: they are the two ends of a stage of
algorithm/recipes.py. One contract, several forms:

* ``direct``: every window added term by term. Small windows.
* ``masked``: the same along an axis with so few neighbours in memory that rows make no loops; a table tells each
  element its position on the axis.
* ``prefix``: prefix sums restarted every n rows. In coordinates padded by ``before`` zero rows in front, the axis
  is cut into blocks of n; the window that starts at row i is the suffix of i's block from i on, plus the exclusive
  prefix of the next block up to i + n. Three additions an element for any n, nothing is ever subtracted, and a NaN
  stays in the windows that hold it. Inside a block the running sums are kept in three parts, of which the first is
  restarted every 8 or 16 rows and the second every 64 or 256. Largest rounding error of a sum of n = 17, 255, 1000
  and 4000 squares, in half-ulps: 3.7, 3.6, 4.4 and 4.3; with two parts of 16 rows 5.4, 4.4, 7.9 and 11.2.
* ``turned``: ``prefix`` along a contiguous axis, on blocks that are turned so that rows make loops. Sums of 4, 16,
  64, … neighbours by shifted additions, without turning, took 2.5 to 5 times as long.
* ``box``: several axes, one after the other on a tile of terms, each by ``direct``, ``masked``, ``prefix`` or
  ``turned``.

Which form runs is decided by the backend from (n, length, layout, dtype) alone; every form adds in an order that
depends on the position along the axis alone, so the bits depend on neither batch, threads nor tiles.
"""

from numba_lrn.algorithm.window import box, chase, contract, direct, masked, planes, pointwise, prefix, strips, turned

# What a kernel is bound to, and what a pass over the planes of a box is.
FORMS = (contract, strips, direct, masked, prefix, box, turned, pointwise)
CHASE = (contract, strips, direct, chase)
PLANES = (contract, strips, direct, masked, prefix, turned, planes)
