"""From an operator back to a framework's arguments, and the table of all conventions.

Nothing is written down twice: the frameworks' functions are the one statement of what each computes, and the way back
is found by calling them.
"""

import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from numba_lrn.operator import LocalResponseNorm

Arguments = dict[str, Any]
Windows = list[tuple[int, int, int]]
Build = TypeVar("Build", bound=Callable[..., LocalResponseNorm])


@dataclass(frozen=True)
class Convention:
    """A framework's function and the names of its parameters."""

    label: str
    build: Callable[..., LocalResponseNorm]
    size: str
    alpha: str
    beta: str
    k: str
    choices: tuple[Mapping[str, Any], ...]
    sizes: Callable[[Windows], tuple[Any, ...]]

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The function's own parameters, in order."""
        return inspect.signature(self.build).parameters

    def arguments(self, op: LocalResponseNorm) -> tuple[Arguments, LocalResponseNorm]:
        """The arguments that give ``op``, and the operator they give (whose axis may be the framework's own).

        Raises
        ------
        ValueError
            With the reason why no arguments do.
        """
        solutions = []
        refusals: list[tuple[int, str]] = []
        probes: list[LocalResponseNorm] = []
        for order, fixed in enumerate(self._fixed(op)):
            for place, size in enumerate(self.sizes(list(op.each_window()))):
                known = {**fixed, self.size: size, self.beta: op.beta, self.k: op.k}
                try:
                    probe = self.build(**known, **{self.alpha: 1.0})
                    probes.append(probe)
                    if not _same_window(probe, op):
                        continue
                    alpha = _alpha(op.scale, round(1 / probe.scale) if probe.scale else 0)
                    arguments = {**known, self.alpha: alpha}
                    found = self.build(**arguments)
                except ValueError as refusal:
                    refusals.append((place, str(refusal)))
                    continue
                if (found.beta, found.k) != (op.beta, op.k):
                    refusals.append((place, f"it does not use {self.k}={op.k!r} as given"))
                elif math.isclose(found.scale, op.scale, rel_tol=2**-51):
                    rank = (found.axis != op.axis, found.scale != op.scale, order)
                    ordered = {name: arguments[name] for name in self.parameters if name in arguments}
                    solutions.append((rank, ordered, found))
        if solutions:
            _, ordered, found = min(solutions, key=lambda solution: solution[0])
            return ordered, found
        raise ValueError(self._reason(op, probes, refusals))

    def _fixed(self, op: LocalResponseNorm) -> Iterator[Mapping[str, Any]]:
        """The choices; then, where the axis is an argument, the choices with the operator's axis."""
        yield from self.choices
        for name in ("axis", "axes"):
            if name in self.parameters:
                for fixed in self.choices:
                    yield {**fixed, name: op.axis}
                    if not isinstance(op.axis, tuple):
                        yield {**fixed, name: (op.axis,)}

    def _reason(self, op: LocalResponseNorm, probes: list[LocalResponseNorm], refusals: list[tuple[int, str]]) -> str:
        """Why none of the probes is ``op``."""
        if isinstance(op.axis, tuple) and probes and not any(isinstance(probe.axis, tuple) for probe in probes):
            return "its window lies along one axis"
        sides = {(before, after) for _, before, after in op.each_window()}
        if len(sides) > 1:
            return "the window differs between the axes"
        own = [
            refusal
            for refusal in refusals
            if not any(ours in refusal[1] for ours in ("axis=", "axis must", "variant="))
        ]
        if own:
            _, first = min(own, key=lambda refusal: refusal[0])
            return first.removeprefix(f"{self.label}: ")
        before, after = sides.pop()
        if abs(before - after) == 1:
            return f"the extra element is {'before' if before > after else 'after'} the centre"
        return f"the window has {before} elements before the centre and {after} after"


_REGISTRY: dict[str, Convention] = {}


def sizes(windows: Windows) -> tuple[int, ...]:
    """The sizes that can give a window: its elements, or one more or fewer where a framework rounds."""
    _, before, after = windows[0]
    count = before + after + 1
    return count, count + 1, max(count - 1, 1)


def radii(windows: Windows) -> tuple[int, ...]:
    """The radius of a window."""
    return (windows[0][1],)


def convention(
    label: str,
    size: str = "size",
    alpha: str = "alpha",
    beta: str = "beta",
    k: str = "k",
    *,
    choices: tuple[Mapping[str, Any], ...] = ({},),
    sizes: Callable[[Windows], tuple[Any, ...]] = sizes,
) -> Callable[[Build], Build]:
    """Register a framework's function: its label, the names of its parameters, and the values that choose a form."""

    def register(build: Build) -> Build:
        _REGISTRY[build.__name__] = Convention(label, build, size, alpha, beta, k, choices, sizes)
        return build

    return register


def _same_window(probe: LocalResponseNorm, op: LocalResponseNorm) -> bool:
    """One axis may stand for another: it is the framework's own name for the channels."""
    if isinstance(op.axis, tuple) and probe.axis != op.axis:
        return False
    return (probe.before, probe.after) == (op.before, op.after)


def _alpha(scale: float, divisor: int) -> float:
    """The shortest alpha whose quotient is ``scale`` to the last bit; the nearest where there is none."""
    if divisor == 0:
        return 0.0
    nearest = scale * divisor
    near = [nearest, math.nextafter(nearest, math.inf), math.nextafter(nearest, -math.inf)]
    near.append(float(f"{nearest:.15g}"))
    exact = [alpha for alpha in near if alpha / divisor == scale]
    return min(exact, key=lambda alpha: len(repr(alpha)), default=nearest)


def convert(op: LocalResponseNorm, framework: str) -> Arguments:
    """The arguments with which a framework computes ``op``.

    Parameters
    ----------
    op : LocalResponseNorm
        Any operator.
    framework : str
        The name of a function of this module.

    Returns
    -------
    dict
        Arguments by the framework's own names, in its order: ``getattr(conventions, framework)(**arguments)`` is
        ``op``. A window along one axis is carried to the axis along which the framework sums (TensorFlow: the last),
        so lay the array out for it. Where no float64 alpha gives the scale to the last bit, the nearest is returned.

    Raises
    ------
    TypeError
        ``op`` is no operator.
    ValueError
        An unknown framework; an operator that it cannot express, with the reason.

    Examples
    --------
    >>> from numba_lrn import LocalResponseNorm, conventions
    >>> conventions.convert(LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0), "tensorflow")
    {'depth_radius': 2, 'bias': 2.0, 'alpha': 2e-05, 'beta': 0.75}
    >>> conventions.convert(LocalResponseNorm(4, alpha=1.0), "onnx")
    Traceback (most recent call last):
    ...
    ValueError: ONNX cannot express this operator: the extra element is before the centre
    """
    if not isinstance(op, LocalResponseNorm):
        msg = f"op must be a LocalResponseNorm, got {op!r} of type {type(op).__name__}"
        raise TypeError(msg)
    found = _REGISTRY.get(framework)
    if found is None:
        msg = f"unknown framework {framework!r}; known are {', '.join(sorted(_REGISTRY))}"
        raise ValueError(msg)
    try:
        return found.arguments(op)[0]
    except ValueError as reason:
        msg = f"{found.label} cannot express this operator: {reason}"
        raise ValueError(msg) from None


def describe(op: LocalResponseNorm) -> str:
    """The operator in the terms of every framework, one a line: the arguments, or why it cannot.

    >>> from numba_lrn import LocalResponseNorm
    >>> for line in describe(LocalResponseNorm(4, alpha=4.0)).splitlines()[-3:]:
    ...     print(line)
    TFLite: radius=2, bias=1.0, alpha=1.0, beta=0.75, variant='reference' (along axis -1)
    Torch7: cannot: size must be odd, got 4 (half of an even size is a fractional index there); take 3 or 5
    TVM: cannot: size must be odd, got 4 (size should be odd number); take 3 or 5
    """
    return "\n".join(_line(known, op) for known in sorted(_REGISTRY.values(), key=lambda known: known.label.lower()))


def _line(known: Convention, op: LocalResponseNorm) -> str:
    try:
        arguments, found = known.arguments(op)
    except ValueError as reason:
        return f"{known.label}: cannot: {reason}"
    words = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    along = "" if found.axis == op.axis else f" (along axis {found.axis})"
    return f"{known.label}: {words}{along}"


def table() -> str:
    """The conventions as a Markdown table, worked out by calling them."""
    rows = ["| framework | call | even size | alpha divided by | axis | evidence |", "|---|---|---|---|---|---|"]
    for name, known in sorted(_REGISTRY.items(), key=lambda item: item[1].label.lower()):
        rows += [_row(name, known, fixed) for fixed in known.choices if not _superseded(fixed, known.choices)]
    return "\n".join(rows)


def _superseded(fixed: Mapping[str, Any], choices: tuple[Mapping[str, Any], ...]) -> bool:
    """Whether other choices are the same but for naming a variant."""
    unnamed = [{name: value for name, value in other.items() if name != "variant"} for other in choices]
    return "variant" not in fixed and unnamed.count(dict(fixed)) > 1


def _row(name: str, known: Convention, fixed: Mapping[str, Any]) -> str:
    chosen = ", ".join(f"{key}={value!r}" for key, value in fixed.items())
    divisor = {1: "nothing", 3: "n", 9: "n²"}[round(1 / _probe(known, fixed, 3).scale)]
    evidence = re.search(r"Evidence: ([^.;]*)", known.build.__doc__ or "")
    cells = [
        known.label,
        f"`{name}{_signature(known)}`" + (f" with `{chosen}`" if chosen else ""),
        _even(known, fixed),
        divisor,
        str(_probe(known, fixed, 3).axis),
        evidence.group(1) if evidence else "none",
    ]
    return "| " + " | ".join(" ".join(cell.split()) for cell in cells) + " |"


def _signature(known: Convention) -> str:
    """The framework's own parameters, without types and without those of this library."""
    own = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in known.parameters.values()
        if parameter.kind is not parameter.KEYWORD_ONLY or parameter.default is parameter.empty
    ]
    return str(inspect.Signature(own))


def _probe(known: Convention, fixed: Mapping[str, Any], n: int) -> LocalResponseNorm:
    """The convention at a window of ``n`` elements and plain parameters."""
    if known.sizes is radii:
        size: Any = n // 2
    else:
        size = n if known.sizes is sizes else [1, n, 1, 1]
    return known.build(**{known.size: size, **fixed, known.alpha: 1.0, known.beta: 0.75, known.k: 1.0})


def _even(known: Convention, fixed: Mapping[str, Any]) -> str:
    """What a size of 4 becomes."""
    if known.sizes is radii:
        return "−" if _probe(known, fixed, 3).after else "2r elements, extra before"
    try:
        _, before, after = next(_probe(known, fixed, 4).each_window())
    except ValueError:
        return "refused"
    names: dict[tuple[int, int], str] = {
        (2, 1): "extra before",
        (1, 2): "extra after",
        (1, 1): "n − 1 elements",
        (2, 2): "n + 1 elements",
        (0, 0): "the element alone",
    }
    return names[before, after]
