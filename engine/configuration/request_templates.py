"""Requests with places for values: `{path}` in an address and in the texts of a body, and members of a body."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from pagefold.engine.configuration.endpoint_config import Body, RequestConfig

AFTER = "{after}"
"""What stands for the value of the last row."""

Lookup = Callable[[str], object]
"""The value at a path. Raises `ValueError` if there is none."""

_Request = TypeVar("_Request", bound=RequestConfig)
_place = re.compile(r"\{([^{}\s\"]+)\}")


def fill(request: _Request, value_at: Lookup) -> _Request:
    """A request in which each `{path}` is replaced by the value there.

    In the address it is URL-encoded. A text of the body that has nothing else becomes the value itself: a number stays
    a number. Raises `ValueError` for a value that is neither a text, a number nor a boolean.
    """
    url = _place.sub(lambda found: _encoded(found[1], value_at), request.url or "")
    return msgspec.structs.replace(request, url=url, body=_filled(request.body, value_at))


def places_in(url: str) -> list[str]:
    """The paths that an address names."""
    return _place.findall(url)


def body_places(body: object) -> list[str]:
    """The paths that the texts of a body name."""
    found: list[str] = []
    _mapped(body, lambda text: found.extend(_place.findall(text)))
    return found


def has_place_in_host(url: str) -> bool:
    """Whether a value would say where a request goes."""
    parts = urlsplit(url)
    return _place.search(f"{parts.scheme}://{parts.netloc}") is not None


def replace_text(body: Body, old: str, new: str) -> Body:
    """A body with another text in place of one, in each of its texts."""
    return _mapped(body, lambda text: text.replace(old, new))  # type: ignore[return-value]  # of the same type


def contains_text(body: object, text: str) -> bool:
    """Whether a text of a body contains another."""
    if isinstance(body, dict):
        return any(contains_text(each, text) for each in body.values())
    if isinstance(body, list):
        return any(contains_text(each, text) for each in body)
    return isinstance(body, str) and text in body


def with_member(body: dict[str, object], path: str, value: object) -> dict[str, object]:
    """A copy of a body with a value at a path of names and indices; objects that are missing are made.

    Raises `ValueError` if there is no such place.
    """
    names = path.split(".")
    if not all(names):
        problem = f"{path!r} is not a dotted path such as 'variables.after'"
        raise ValueError(problem)
    return _set(body, names, value, path)  # type: ignore[return-value]  # of the same type


def _set(found: object, names: list[str], value: object, path: str) -> object:
    if not names:
        return value
    name, *rest = names
    if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
        return [_set(each, rest, value, path) if place == int(name) else each for place, each in enumerate(found)]
    if isinstance(found, dict):
        return {**found, name: _set(found.get(name, {}), rest, value, path)}
    problem = f"{path!r}: the body has no place for {name!r} there"
    raise ValueError(problem)


def _filled(body: object, value_at: Lookup) -> Body:
    def written(text: str) -> object:
        if (whole := _place.fullmatch(text)) is not None:
            _text(whole[1], value_at)
            return value_at(whole[1])
        return _place.sub(lambda found: _text(found[1], value_at), text)

    return _mapped(body, written)  # type: ignore[return-value]  # of the same type


def _mapped(body: object, change: Callable[[str], object]) -> object:
    if isinstance(body, dict):
        return {name: _mapped(each, change) for name, each in body.items()}
    if isinstance(body, list):
        return [_mapped(each, change) for each in body]
    return change(body) if isinstance(body, str) else body


def _encoded(path: str, value_at: Lookup) -> str:
    text = _text(path, value_at)
    if text.strip(".") == "":  # `..` would be a step upwards
        problem = f"{text!r}, at {path!r}, cannot be part of an address"
        raise ValueError(problem)
    return quote(text, safe="")


def _text(path: str, value_at: Lookup) -> str:
    value = value_at(path)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float | Decimal):
        return str(value)
    problem = f"there is no text, number or boolean at {path!r}"
    raise ValueError(problem)
