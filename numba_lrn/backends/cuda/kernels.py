"""The kernels: ``build(variant)`` is the ``@cuda.jit`` function, ``cubin(variant, cc)`` its machine code."""

from typing import Any, NamedTuple


class Variant(NamedTuple):
    """What a kernel is specialised on: hashable, and enough to build it in another process."""

    form: str
    recipe: str
    power: str
    dtype: str
    lanes: int
    before: int
    after: int


def build(variant: Variant) -> Any:
    """The kernel as a ``cuda.jit`` dispatcher; the simulator runs it as such."""
    raise NotImplementedError


def signature(variant: Variant) -> tuple[Any, ...]:
    """The Numba types of its arguments: pointers first, then scalars."""
    raise NotImplementedError


def cubin(variant: Variant, compute_capability: tuple[int, int]) -> tuple[bytes, str]:
    """(machine code, name of the kernel in it); compiled anew at every call, without a driver."""
    raise NotImplementedError
