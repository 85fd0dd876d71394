"""How one plain function serves several compilers: re-binding.

Neither ``numba.njit`` nor ``cuda.jit`` can call an undecorated function. A backend therefore makes its own
namespace of the plain functions here: each is copied with that namespace as its globals and handed to the
backend's compiler. Names that the backend injects (its primitives, the formula of a recipe) win over the
module's own.
"""

import types
from collections.abc import Callable, Mapping
from typing import Any


def loop(function: Callable) -> Callable:
    """Mark a function that consists of loops over neighbours; a backend may put the others into their callers."""
    function.__dict__["is_loop"] = True
    return function


def apart(function: Callable) -> Callable:
    """Mark a loop of which no array of the caller's that it writes lies over one that it reads."""
    function.__dict__["is_apart"] = True
    return loop(function)


def injected(function: Callable) -> Callable:
    """Mark what a backend replaces. Where it does not, compiling a call of the function fails."""
    function.__dict__["is_injected"] = True
    return function


def bind(
    modules: tuple[types.ModuleType, ...], compiler: Callable[[Callable], Any], injected: Mapping[str, Any], tag: str
) -> dict[str, Any]:
    """The functions of ``modules``, compiled in one namespace, in which ``injected`` replaces what it names.

    ``tag`` tells this namespace from every other, also in other processes: it becomes part of the functions' names, so
    that neither a profile nor a linker takes one for another that is bound to different things.

    A function is compiled once per namespace and only when it is called from a compiled one, so binding a
    whole module costs microseconds.
    """
    namespace: dict[str, Any] = {"__builtins__": __builtins__}
    for module in modules:
        own = {name: value for name, value in vars(module).items() if not name.startswith("__")}
        namespace.update(own)
    namespace.update(injected)
    for module in modules:
        for name, value in vars(module).items():
            defined = isinstance(value, types.FunctionType) and value.__module__ == module.__name__
            if defined and name not in injected and "is_injected" not in value.__dict__:
                namespace[name] = compiler(rebind(value, namespace, f"{name}__{tag}"))
    return namespace


def rebind(function: Callable, namespace: dict[str, Any], name: str) -> Any:
    """A copy of ``function`` whose globals are ``namespace``, under another name."""
    assert isinstance(function, types.FunctionType)
    copy = types.FunctionType(function.__code__, namespace, name, function.__defaults__, function.__closure__)
    copy.__qualname__ = name
    copy.__module__ = function.__module__
    copy.__doc__ = function.__doc__
    copy.__dict__.update(function.__dict__)
    return copy


def rebind_late(function: Callable, make_namespace: Callable[[], dict[str, Any]], name: str) -> Any:
    """The same, but the function's globals are made when ``complete`` asks for them: before it is compiled, and not
    where its machine code comes from a cache.
    """
    copy = rebind(function, {"__builtins__": __builtins__}, name)
    copy.__dict__["make_namespace"] = make_namespace
    return copy


def complete(function: Callable) -> None:
    """Give a function that was bound late its globals, once: it may be compiled again, without a cache."""
    make_namespace = function.__dict__.pop("make_namespace", None)
    if make_namespace:
        function.__globals__.update(make_namespace())
