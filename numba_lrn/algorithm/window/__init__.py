"""Window sums that never subtract.

Each form walks the rows of a tile, forms the window sums of a strip of neighbouring elements in ``buffers.total``
and hands the strip to ``emit``. ``add_term`` and ``emit`` are injected: they are the two ends of a stage of
algorithm/recipes.py. One contract, several forms:

* ``direct``: every window added term by term. Small windows.
* ``masked``: the same along an axis with so few neighbours in memory that rows make no loops; a table tells each
  element its position on the axis.
* ``prefix``: sums of blocks of four rows. The windows of four neighbouring rows share a core of whole blocks, the
  suffix of one period of blocks plus the prefix of the next, to which each row adds up to three rows on either side.
  About four additions an element for any n, nothing is ever subtracted, and a NaN stays in the windows that hold it.
  Blocks are added up with what each addition was rounded by: the error does not grow with n.
* ``turned``: ``prefix`` along axes whose rows are short, on blocks that are turned so that rows make loops.
* ``scanned``: along a contiguous axis, prefix sums restarted every n elements, within vectors: n = 63 takes 0.6 ns an
  element so and 2.0 turned; sums of 2, 4, 8, … neighbours by shifted additions took longer still. Parts of long axes
  go by ``turned``, which scans them from plane to plane.
* ``box``: several axes, one after the other on a tile of terms, each by one of the forms above.
* ``interleaved``: small boxes with large windows, as many at a time as a vector has elements: prefix sums of vectors.

Two stages of ``direct`` may run in one loop: by rows (``chase``) or down columns of vectors (``columns``).

Which form runs is decided by the backend from (n, length, inner) alone; every form adds in an order that
depends on the position along the axis alone, so the bits depend on neither batch, threads nor tiles.
"""

from numba_lrn.algorithm.window import (
    box,
    chase,
    columns,
    contract,
    direct,
    interleaved,
    masked,
    planes,
    pointwise,
    prefix,
    scanned,
    strips,
    turned,
)

# What a kernel is bound to, and what a pass over the planes of a box is.
FORMS = (contract, strips, direct, masked, prefix, box, turned, scanned, interleaved, pointwise)
CHASE = (contract, strips, direct, chase)
COLUMNS = (columns,)
PLANES = (contract, strips, direct, masked, prefix, turned, scanned, interleaved, planes)
