"""JSON as every reader must read it alike: where decoders differ, or are silent, the document is refused.

The decoder of the core (msgspec) refuses NaN, invalid UTF-8 and lone surrogates by itself. It keeps the last of two
equal keys, passes U+0000 (which PostgreSQL's text cannot hold), and explains some faults poorly: that is mended here.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import orjson

from pagefold.domains.values import MAX_NESTING
from pagefold.engine.errors import Rejected
from pagefold.engine.intake.json_paths import ANY_KEY, found_at

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Stands in front of texts that some systems write; it is passed over."""

LONGEST_KEY = 100
"""Characters of a key that nobody knows, in a message."""

_escape = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)


def check_keys(text: bytes, canonical: bytes, path: str = "") -> None:
    """Refuses a document in which an object names a key twice. `text` must be valid JSON, and stands at `path`.

    `canonical` is what was made of it: it may leave pairs out, and adds none. So most documents are cleared by counting
    colons: a dropped pair takes at least its own along. Where nulls or defaults were left out, a generic decoder is
    asked. An escape could hide a colon, so documents with escapes, like those whose count differs, are read again by a
    decoder that shows every pair.
    """
    if b"\\u" not in text and (text.count(b":") == canonical.count(b":") or _colons_survive(text)):
        return
    find_repeated_key(text, path)


def _colons_survive(text: bytes) -> bool:
    """Whether a decoder that drops repeated pairs drops none. False where its own limits keep it from telling."""
    try:
        return orjson.dumps(orjson.loads(text)).count(b":") == text.count(b":")
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # numbers beyond a float, nesting beyond 254
        return False


def find_repeated_key(text: bytes, path: str = "") -> None:
    """The slow half of `check_keys`: looks at every pair of every object."""
    try:
        _pair_scanner.decode(text.decode())
    except _Repeated as repeated:
        raise Rejected(path, f"the key {repeated.args[0]!r:.100} stands twice in one object") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise refusal(error, text, path) from None


def check_null_characters(path: str, text: bytes) -> None:
    """Refuses JSON with U+0000 in any string. JSON can only write it as an escape."""
    if b"\\u0000" in text and any(escape[1] == b"0000" for escape in _escape.finditer(text)):
        raise Rejected(path, "must not contain U+0000")


def refusal(error: Exception, given: bytes | Mapping[str, object], prefix: str = "") -> Rejected:
    """The decoder's error, as where and why. `prefix` is where in the event stands what was given."""
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
        where = found_at(where, problem, given)
    path = ".".join(filter(None, (prefix, where)))
    return _in_words(path, problem)


def _in_words(path: str, problem: str) -> Rejected:
    if problem.startswith("Object contains unknown field"):
        name = problem.split("`")[1]
        shown = name if len(name) <= LONGEST_KEY else f"{name[:LONGEST_KEY]}…"
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
    """Python's decoder lets lone surrogates through, so that they can be told from other faults."""
    if b"\\u" not in text:
        return False
    try:
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except (ValueError, RecursionError):
        return False
    return False


class _Repeated(Exception):  # carries a key out of the decoder, never seen outside
    pass


def _pairs(pairs: Sequence[tuple[str, object]]) -> None:
    if len(pairs) > 1:
        key, count = Counter(key for key, _ in pairs).most_common(1)[0]
        if count > 1:
            raise _Repeated(key)


_pair_scanner = json.JSONDecoder(object_pairs_hook=_pairs, parse_int=str)  # Python limits the digits of an integer
