"""A stage without a window."""

from numba_lrn.algorithm.window.strips import emit_strip


def pointwise(arrays, buffers, par, space, tile, positions, first, last):
    """A stage without a window: emit every element of the tile."""
    pieces = space.inner // space.unit
    width = pieces * tile.lanes
    # Where the tile has all lanes, its rows are one run in memory; where it has all rows, its outer indices are too.
    whole = tile.lanes == space.unit
    outers = tile.outer_end - tile.outer
    joined = outers if whole and last - first == space.length else 1
    for outer in range(0, outers, joined):
        run = first * pieces
        end = run + (last - first) * pieces * joined
        while run < end:
            runs = end - run if whole else 1
            at = ((tile.outer + outer) * space.length * pieces + run) * space.unit + tile.lane
            slot = outer * tile.rows * width + (run - tile.base * pieces) * tile.lanes
            count = runs * tile.lanes
            for j in range(0, count, tile.strip):
                strip = min(tile.strip, count - j)
                emit_strip(arrays, buffers, par, at + j, slot + j, buffers.total, 0, strip)
            run += runs
