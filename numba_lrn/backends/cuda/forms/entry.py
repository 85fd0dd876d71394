"""Entry points of the kernels: pointers, then geometry, then the fields of formulas.Parameters one by one."""


def whole(x, g, out, columns, length, inner, chunk, a, a_rest, k, factor, neg, high, low, inf, next_inf, next_factor):
    """A whole operation."""
    par = Parameters(a, a_rest, k, factor, neg, high, low, inf, next_inf, next_factor)
    run(x, x, g, out, out, out, columns, length, inner, chunk, 0, 0, par)


def stage(
    source, x, g, out, kept, scratch, columns, length, inner, chunk, before, after,
    a, a_rest, k, factor, neg, high, low, inf, next_inf, next_factor,
):  # fmt: skip
    """One stage of several."""
    par = Parameters(a, a_rest, k, factor, neg, high, low, inf, next_inf, next_factor)
    run(source, x, g, out, kept, scratch, columns, length, inner, chunk, before, after, par)
