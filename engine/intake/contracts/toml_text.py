"""Writes values as TOML, on one line: what a contract says of a place, as a person would write it."""

import json
import re
from collections.abc import Mapping
from datetime import date, datetime, time

_bare_key = re.compile(r"[A-Za-z0-9_-]+", re.ASCII).fullmatch


def key_text(name: str) -> str:
    """A key: quoted where it has to be."""
    return name if _bare_key(name) else _quoted(name)


def dotted_key(*names: str) -> str:
    """A key of several names, such as `attributes.color`."""
    return ".".join(map(key_text, names))


def inline_value(value: object) -> str:
    """A value as TOML: texts, numbers, moments, lists and tables of these."""
    match value:
        case str():
            return _quoted(value)
        case bool():
            return "true" if value else "false"
        case list():
            return f"[{', '.join(map(inline_value, value))}]"
        case Mapping():
            members = ", ".join(f"{key_text(name)} = {inline_value(each)}" for name, each in value.items())
            return f"{{ {members} }}" if members else "{}"
        case date() | datetime() | time():
            return value.isoformat()
        case _:
            return str(value)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
