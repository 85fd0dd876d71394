"""Entry points of the kernels: pointers, then integers, then the fields of formulas.Parameters one by one."""


def entry(*arguments):
    """A kernel that makes arrays."""
    sums = cuda.local.array(1, real)
    run((), arguments[:POINTERS], arguments[POINTERS:SCALARS], Parameters(*arguments[SCALARS:]), sums)


def entry_with_sums(*arguments):
    """A kernel that also adds something up over all elements; the last of its pointers takes each block's part."""
    sums = cuda.local.array(SUMS, real)
    for index in range(SUMS):
        sums[index] = real(0.0)
    run((), arguments[:POINTERS], arguments[POINTERS:SCALARS], Parameters(*arguments[SCALARS:]), sums)
    combine(sums, arguments[PARTIALS])


def with_local_array(local, pointers, integers, par, sums):
    """Make one more local array, and go on: a kernel has as many as its phases have names, and more."""
    following((*local, cuda.local.array(SIZE, real)), pointers, integers, par, sums)
