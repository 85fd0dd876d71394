"""The numbers of columns, planes and blocks, and their division.

In 64 bits it is a subroutine, of whose result ptxas does not know that all threads of a warp have the same; and from
there on every branch might part them, so that each access of memory takes two instructions more: 51 an element instead
of 40 (float32, n = 5, channels first).
"""


def quotient(number, divisor):
    """number // divisor, of fewer than 2³²: a kernel's blocks, and columns where they are no more than that."""
    return np.int64(np.uint32(np.uint32(number) // np.uint32(divisor)))


def far_quotient(number, divisor):
    """number // divisor, of any size."""
    return number // divisor


def block_number():
    """That of a block in a grid of no depth."""
    return cuda.blockIdx.x


def far_block_number():
    """That of a block among more than a grid is wide."""
    return np.int64(cuda.blockIdx.z) * cuda.gridDim.x + cuda.blockIdx.x
