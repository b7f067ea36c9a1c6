"""Checks that a transform is pure, as far as that can be seen from outside.

It is applied to its examples and to some other values, and then again, built anew and in another order. Meanwhile every
call into the interpreter is watched: a transform that reads the clock, draws random numbers, opens files or reads the
environment is caught, even where it hides its errors.
"""

import gc
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from datetime import date
from decimal import Decimal
from types import FrameType

from msgspec import UNSET

from pagefold.projections.transforms import (
    BUILTIN_REGISTRY,
    AnyTransform,
    Compiler,
    Example,
    InvalidMapping,
    InvalidValue,
    NestedScope,
    RateTable,
    text_table,
)
from pagefold.projections.transforms.mapping import WRITTEN_REFUSALS
from pagefold.projections.transforms.value_types import has_type

KEY = "check"

PROBES: tuple[object, ...] = (
    "",
    "text",
    " padded ",
    "12.50",
    "é😀\u0301",
    "x" * 1_000,
    0,
    -1,
    2**53,
    Decimal("19.90"),
    True,
    False,
    [],
    ["a", "b", 1],
    {"a": {"b": "c"}},
    [{"locale": "de", "data": "x"}],
)
"""Values that any transform may meet."""

_MODULES = frozenset({"time", "posix", "nt", "_socket", "_posixsubprocess", "_winapi", "select"})
_BUILTINS = frozenset({"open", "input", "print", "breakpoint", "start_new_thread"})
_CLOCKS = frozenset({"now", "utcnow", "today"})
_PURE_CALLERS = frozenset({"_strptime", "importlib._bootstrap", "importlib._bootstrap_external"})
"""Modules whose calls are not the transform's: they parse dates, and import what it needs."""

_ENVIRONMENT = frozenset({type(os.environ).__getitem__.__code__, os.getenv.__code__})


class ImpureCallError(BaseException):
    """A call that a transform must not make. No ordinary handler of errors catches it."""


class _Problem(Exception):  # what is wrong with a transform, on its way to the caller
    """Why a transform is refused."""


def impurity(transform: AnyTransform) -> str | None:
    """Why a transform cannot be used; None if it is pure."""
    try:
        _check_declaration(transform)
        first = [_outcomes(transform, example) for example in transform.examples]
        again = [_outcomes(transform, example, backwards=True) for example in transform.examples]
        for example, one, other in zip(transform.examples, first, again, strict=True):
            _compare(transform, example, one, other)
    except _Problem as problem:
        return str(problem)
    return None


def _check_declaration(transform: AnyTransform) -> None:
    if not any(example.refused is None for example in transform.examples):
        raise _Problem("it has no example with a result")
    if not transform.summary:
        raise _Problem("it has no summary")


_Outcome = tuple[str, str]
"""The kind of an outcome (a result, or a refusal), and its text."""


def _outcomes(transform: AnyTransform, example: Example, *, backwards: bool = False) -> list[_Outcome]:
    """What becomes of the example's own record, and of the same with other values. The order of results is fixed."""
    record = {**(example.record or {}), **({} if transform.reads_record else {"value": example.value})}
    records = [record, *({**record, name: probe} for name in record for probe in PROBES)]
    read = _compiled(transform, example)
    places = range(len(records) - 1, -1, -1) if backwards else range(len(records))
    for each in records:  # once unwatched: it may import what it needs
        with suppress(Exception):
            read(deepcopy(each))
    found = {place: _outcome(transform, read, deepcopy(records[place])) for place in places}
    return [found[place] for place in range(len(records))]


def _compiled(transform: AnyTransform, example: Example) -> Callable[[object], object]:
    spec: dict[str, object] = {transform.name: example.parameters}
    if not transform.reads_record:
        spec["from"] = "value"
    tables = {name: text_table(name, rows) for name, rows in (example.tables or {}).items()}
    rates = {"ecb": RateTable("ecb", example.rates)}
    compiler = Compiler(BUILTIN_REGISTRY.extended([transform]), NestedScope(), tables=tables, rates=rates)
    try:
        compiler.mapping(spec, KEY)  # once unwatched: it may import what it needs
        with _watched():
            return compiler.mapping(spec, KEY).read
    except _Problem:
        raise
    except InvalidMapping as error:
        raise _Problem(f"its example cannot be compiled: {error}") from None
    except Exception as error:
        raise _Problem(f"it raises {type(error).__name__} when it is built: {error!s:.100}") from error


def _outcome(transform: AnyTransform, read: Callable[[object], object], record: dict[str, object]) -> _Outcome:
    before = deepcopy(record)
    outcome = _applied(transform, read, record)
    if repr(record) != repr(before):
        raise _Problem(f"it changes the record that it reads: {record!r:.100}")
    return outcome


def _applied(transform: AnyTransform, read: Callable[[object], object], record: dict[str, object]) -> _Outcome:
    try:
        with _watched():
            result = read(record)
    except _Problem:
        raise
    except InvalidValue as error:
        own = error.transform in {"", transform.name}  # else a part of its parameters refuses
        if own and error.code not in {*transform.refusals, *WRITTEN_REFUSALS}:
            raise _Problem(f"it refuses with {error.code!r:.40}, which it does not declare") from None
        return "refused", error.code
    except RecursionError:
        raise _Problem("it calls itself without end") from None
    except Exception as error:
        raise _Problem(f"it raises {type(error).__name__} for {record!r:.100}: {error!s:.100}") from error
    if result is not UNSET and not _fits(result, transform):
        raise _Problem(f"it declares {transform.output}, and gives {result!r:.60}")
    return "result", repr(result)


def _fits(result: object, transform: AnyTransform) -> bool:
    if has_type(result, transform.output):
        return True
    return transform.per_item and isinstance(result, list) and all(has_type(each, transform.output) for each in result)


def _compare(transform: AnyTransform, example: Example, one: list[_Outcome], other: list[_Outcome]) -> None:
    if one != other:
        differing = next(pair for pair in zip(one, other, strict=True) if pair[0] != pair[1])
        raise _Problem(f"it gives {differing[0][1]:.60}, and then {differing[1][1]:.60}, for the same value")
    declared = ("refused", example.refused) if example.refused is not None else ("result", repr(example.result))
    if one[0] != declared:
        raise _Problem(f"its example gives {one[0][1]:.60}, and not {declared[1]:.60}: {transform.name}")


@contextmanager
def _watched() -> Iterator[None]:
    """Watches this thread's calls. Raises `_Problem` if one reaches the world, whatever became of its error."""
    seen: list[str] = []

    def watch(frame: FrameType, event: str, argument: object) -> None:
        call = _forbidden(frame, event, argument)
        if call is not None:
            seen.append(call)
            raise ImpureCallError(call)

    previous, collecting = sys.getprofile(), gc.isenabled()
    gc.disable()  # what runs when garbage is collected is not the transform's
    sys.setprofile(watch)
    try:
        yield
    except ImpureCallError:
        pass
    finally:
        sys.setprofile(previous)
        if collecting:
            gc.enable()
        if seen:
            raise _Problem(f"it is not pure: it calls {seen[0]}")


def _forbidden(frame: FrameType, event: str, argument: object) -> str | None:
    """The name of a call that reaches the world; None of any other."""
    if event == "call":
        return "os.environ" if frame.f_code in _ENVIRONMENT else None
    if event != "c_call" or frame.f_globals.get("__name__") in _PURE_CALLERS:
        return None
    return _forbidden_builtin(argument)


def _forbidden_builtin(function: object) -> str | None:
    name, module, owner = (getattr(function, each, None) for each in ("__name__", "__module__", "__self__"))
    if module in _MODULES:
        return f"{module}.{name}"
    if name in _BUILTINS and module in {"builtins", "io", "_io", "_thread"}:
        return str(name)
    if isinstance(owner, random.Random):
        return f"random.{name}"
    reads_clock = name in _CLOCKS and isinstance(owner, type) and issubclass(owner, date)
    return f"{owner.__name__}.{name}" if reads_clock and isinstance(owner, type) else None
