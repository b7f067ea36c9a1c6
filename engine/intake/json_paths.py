"""Finds where in a document a decoder's error is: msgspec names the keys of structs, but not of dictionaries."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from pagefold.engine.intake.written_numbers import WrittenNumber, decode_written

ANY_KEY = "[...]"
"""The key of a dictionary, in msgspec's paths."""

_step = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]|(\[\.\.\.\])")
_got = re.compile(r", got `(\w+)`$")
_KINDS = {type(None): "null", bool: "bool", int: "int", float: "float", str: "str", list: "array", dict: "object"}


def locate_value(where: str, problem: str, given: bytes | Mapping[str, object]) -> str:
    """The path, with its keys, of the first value that fits the problem; `where` if none does."""
    try:
        document = _decode(given) if isinstance(given, bytes) else given
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return where
    got = _got.search(problem)
    for path, value in _places(document, _steps(where), ""):
        if isinstance(value, WrittenNumber) if got is None else _KINDS.get(type(value)) == got[1]:
            return path
    return where


def _decode(text: bytes) -> object:
    try:
        return decode_written(text)
    except msgspec.ValidationError:  # an integer of thousands of digits
        return json.loads(text, parse_int=WrittenNumber)


def _steps(where: str) -> list[str | int | None]:
    """Names, indices, and None for any key."""
    found = _step.finditer(where)
    return [None if step[3] else int(step[2]) if step[2] else step[1] for step in found]


def _places(value: object, steps: Sequence[str | int | None], path: str) -> Iterator[tuple[str, object]]:
    """The values at the end of the path, with their paths."""
    if not steps:
        yield path, value
        return
    step, rest = steps[0], steps[1:]
    if isinstance(step, int):
        if isinstance(value, list) and step < len(value):
            yield from _places(value[step], rest, f"{path}[{step}]")
    elif isinstance(value, Mapping):
        for name in value if step is None else (step,) if step in value else ():
            yield from _places(value[name], rest, f"{path}.{name}".lstrip("."))
