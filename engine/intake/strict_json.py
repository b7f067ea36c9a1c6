"""Rejects JSON that different decoders read differently.

msgspec itself rejects NaN, invalid UTF-8 and lone surrogates. But it keeps the last of repeated keys, accepts U+0000,
which PostgreSQL's text cannot hold, and explains some errors poorly. This module closes these gaps.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import orjson

from pagefold.domains.values import MAX_NESTING
from pagefold.engine.errors import Rejected
from pagefold.engine.intake.json_paths import ANY_KEY, locate_value

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Some systems write it in front of a text; it is skipped."""

MAX_SHOWN_KEY_LENGTH = 100
"""Characters of an unknown key that a message shows."""

_escape = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)


def check_keys(text: bytes, canonical: bytes, path: str = "") -> None:
    """Rejects a document in which an object repeats a key.

    `text` must be valid JSON; `path` is where it is in the event.

    `canonical` was decoded from it, and has no keys that `text` lacks. If both have as many colons, no key was dropped.
    If nulls or defaults were left out, a generic decoder is asked. Documents whose counts still differ, or with escapes
    that could hide a colon, are read again by a decoder that reports every pair.
    """
    if b"\\u" not in text and (text.count(b":") == canonical.count(b":") or _colons_survive(text)):
        return
    check_repeated_keys(text, path)


def _colons_survive(text: bytes) -> bool:
    """Whether a generic decoder drops no pair. False if it cannot decode the document."""
    try:
        return orjson.dumps(orjson.loads(text)).count(b":") == text.count(b":")
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # numbers beyond a float, nesting beyond 254
        return False


def check_repeated_keys(text: bytes, path: str = "") -> None:
    """The slow half of `check_keys`: checks every pair of every object."""
    try:
        _pair_scanner.decode(text.decode())
    except _RepeatedKey as repeated:
        raise Rejected(path, f"the key {repeated.args[0]!r:.100} is repeated in one object") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise decode_rejection(error, text, path) from None


def check_null_characters(path: str, text: bytes) -> None:
    """Rejects JSON with U+0000 in a string. JSON can only write it as an escape."""
    if b"\\u0000" in text and any(escape[1] == b"0000" for escape in _escape.finditer(text)):
        raise Rejected(path, "must not contain U+0000")


def decode_rejection(error: Exception, given: bytes | Mapping[str, object], prefix: str = "") -> Rejected:
    """The decoder's error as a `Rejected` with path and reason. `prefix` is where in the event `given` is."""
    text = given if isinstance(given, bytes) else b""
    if isinstance(error, UnicodeDecodeError):
        return Rejected(prefix, f"is not UTF-8: {error.reason}")
    if isinstance(error, RecursionError):
        return Rejected(prefix, f"is nested deeper than {MAX_NESTING}")
    if _has_lone_surrogate(text):
        return Rejected(prefix, "must not contain a lone surrogate")
    problem, _, where = str(error).partition(" - at `$")
    where = where.rstrip("`").lstrip(".")
    if ANY_KEY in where:
        where = locate_value(where, problem, given)
    path = ".".join(filter(None, (prefix, where)))
    return _explained(path, problem)


def _explained(path: str, problem: str) -> Rejected:
    if problem.startswith("Object contains unknown field"):
        name = problem.split("`")[1]
        shown = name if len(name) <= MAX_SHOWN_KEY_LENGTH else f"{name[:MAX_SHOWN_KEY_LENGTH]}…"
        return Rejected(".".join(filter(None, (path, shown))), "unknown field")
    if problem.startswith("Object missing required field"):
        name = problem.split("`")[1]
        return Rejected(".".join(filter(None, (path, name))), "is required")
    if problem == "Integer value out of range":  # it has thousands of digits
        return Rejected(path, "is beyond 2^53-1; write a larger integer as a string")
    reason = problem[0].lower() + problem[1:] if problem.startswith(("Expected", "Input", "Number")) else problem
    if "`str" in problem and problem.endswith(("got `float`", "got `int`")):
        reason += '; money is a decimal string such as "149.90"' if _names_money(path) else ""
    return Rejected(path, reason)


def _names_money(path: str) -> bool:
    return path.endswith(("amount", "compareAt")) or ".customerGroups" in path


def _has_lone_surrogate(text: bytes) -> bool:
    """Whether a text has lone surrogates. Python's decoder accepts them, so they are found by encoding again."""
    if b"\\u" not in text:
        return False
    try:
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except (ValueError, RecursionError):
        return False
    return False


class _RepeatedKey(Exception):  # carries a key out of the decoder; not raised to callers
    pass


def _pairs(pairs: Sequence[tuple[str, object]]) -> None:
    if len(pairs) > 1:
        key, count = Counter(key for key, _ in pairs).most_common(1)[0]
        if count > 1:
            raise _RepeatedKey(key)


_pair_scanner = json.JSONDecoder(object_pairs_hook=_pairs, parse_int=str)  # Python limits the digits of an integer
