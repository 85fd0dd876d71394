"""The stages of a recipe in the phases in which kernels run them, and what each reads and writes.

Stages whose windows can be summed at the same time make one phase: a phase ends where a stage sums over what an
earlier one wrote. A stage without a window joins the first phase that has all it reads. So backward and double
backward have two phases, of which the second sums over the transposed window, and all others one.

What a stage reads and writes is found by running its ends once, on names in the place of arrays: nothing is declared
twice, and a new recipe needs nothing here.
"""

import functools
from typing import Any, NamedTuple

from numba_lrn.algorithm import formulas, primitives, recipes
from numba_lrn.algorithm.binding import bind, rebind
from numba_lrn.algorithm.recipes import RECIPES, Stage

# The caller's arrays; all other names are of numbers in the type that computes.
CALLERS = tuple(dict.fromkeys(name for recipe in RECIPES.values() for name in recipe.names if name != "sums"))


class Accesses(NamedTuple):
    """The names of what a function loads before it stores it, and of what it stores."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    powers: bool  # whether it raises d to a power


class Phase(NamedTuple):
    """Stages with windows that are summed at the same time."""

    stages: tuple[tuple[str, str], ...]  # (term, end) of each, or ("", end) where there is no window
    transposed: bool
    stored: tuple[str, ...]  # what the caller or a later phase needs of what it writes
    reduces: str = ""  # the end that makes shares of the sums over all elements, if one does

    @property
    def summed(self) -> tuple[str, ...]:
        """What its windows are sums of."""
        return _unique(name for term, _ in self.stages if term for name in accesses(term).reads)

    @property
    def windows(self) -> int:
        """How many windows it sums."""
        return sum(bool(term) for term, _ in self.stages)

    @property
    def read(self) -> tuple[str, ...]:
        """What its ends read that none of them wrote before."""
        written: set[str] = set()
        found: list[str] = []
        for _, end in self.stages:
            found += [name for name in accesses(end).reads if name not in written]
            written.update(accesses(end).writes)
        return _unique(found)

    @property
    def written(self) -> tuple[str, ...]:
        """What its ends write."""
        return _unique(name for _, end in self.stages for name in accesses(end).writes)

    @property
    def powers(self) -> bool:
        """Whether one of its ends raises d to a power."""
        return any(accesses(end).powers for _, end in self.stages)


def phases_of(recipe: str) -> tuple[Phase, ...]:
    """The phases of a recipe."""
    groups: list[list[Stage]] = []
    for stage in RECIPES[recipe].stages:
        if stage.add:
            written = {name for other in (groups[-1] if groups else ()) for name in accesses(other.emit).writes}
            if not groups or written & set(accesses(stage.add).reads):
                groups.append([])
            groups[-1].append(stage)
        else:
            _first_with_all(groups, stage).append(stage)
    return _phases(groups)


def single_stages(recipe: str) -> tuple[Phase, ...]:
    """The same with one window in each phase."""
    groups: list[list[Stage]] = []
    for stage in RECIPES[recipe].stages:
        if stage.add:
            groups.append([stage])
        else:
            _first_with_all(groups, stage).append(stage)
    return _phases(groups)


def _first_with_all(groups: list[list[Stage]], stage: Stage) -> list[Stage]:
    """The first group after which there is all that a stage reads from other stages."""
    wanted = {name for name in accesses(stage.emit).reads if name not in CALLERS}
    for group in groups:
        for earlier in group:
            wanted.difference_update(accesses(earlier.emit).writes)
        if not wanted:
            return group
    msg = f"nothing writes {sorted(wanted)}, which {stage.emit} reads"
    raise ValueError(msg)


def _phases(groups: list[list[Stage]]) -> tuple[Phase, ...]:
    """The groups as phases; what a phase writes is stored where a later one reads it, or the caller."""
    found: list[Phase] = []
    needed: set[str] = set()
    for group in reversed(groups):
        stages = tuple((stage.add, stage.emit) for stage in group)
        reduces = next((stage.emit for stage in group if stage.reduces), "")
        phase = Phase(stages, group[0].transposed, (), reduces)
        stored = tuple(name for name in phase.written if name in CALLERS or name in needed)
        needed = (needed - set(phase.written)) | set(phase.read) | set(phase.summed)
        found.insert(0, phase._replace(stored=stored))
    if any(phase.reduces for phase in found[1:]):
        msg = "what is summed over all elements must be made in the first phase, where every form makes it"
        raise ValueError(msg)
    return tuple(found)


def plane_term(arrays: Any, buffers: Any, at: Any, slot: Any, total: Any) -> Any:
    """A term of a box: a sum over its other axes."""
    return total + load(buffers.plane, slot)  # type: ignore[name-defined]  # noqa: F821  bound by kernels.py


def emit_sum(arrays: Any, buffers: Any, par: Any, at: Any, slot: Any, total: Any) -> None:
    """A sum over one axis of a box, for the next."""
    store(buffers.sum, slot, total)  # type: ignore[name-defined]  # noqa: F821  bound by kernels.py


PASSES = (plane_term, emit_sum)


class _Names:
    """Arrays that are their own names."""

    def __getattr__(self, name: str) -> str:
        return name


@functools.cache
def accesses(function: str) -> Accesses:
    """What one of the ends of a stage, in algorithm/recipes.py or above, reads and writes."""
    reads: list[str] = []
    writes: list[str] = []
    powers: list[float] = []

    def load(name: str, at: Any) -> float:
        if name not in writes:
            reads.append(name)
        return 1.0

    def store(name: str, at: Any, value: Any) -> None:
        writes.append(name)

    def inverse_power(d: float, par: Any) -> tuple[float, float, float]:
        powers.append(d)
        return 1.0, 1.0, 1.0

    def normalized(x: float, d: float, par: Any) -> float:
        powers.append(d)
        return 1.0

    injected = {
        "load": load,
        "store": store,
        "store_result": store,
        "denominator": lambda total, par: 1.0,
        "inverse_power": inverse_power,
        "normalized": normalized,
        "logarithm": lambda d: 0.0,
    }
    namespace = bind((primitives, formulas, recipes), lambda plain: plain, injected, "traced")
    namespace.update({plain.__name__: rebind(plain, namespace, plain.__name__) for plain in PASSES})
    par = formulas.Parameters(*[1.0] * len(formulas.Parameters._fields))
    # Of (arrays, buffers, at, slot, total), or with the parameters after the buffers.
    given = (par, 0, 0, 1.0) if namespace[function].__code__.co_argcount == 6 else (0, 0, 1.0)
    namespace[function](_Names(), _Names(), *given)
    return Accesses(_unique(reads), _unique(writes), bool(powers))


def _unique(names: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
