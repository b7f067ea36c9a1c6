"""The cause of a dead letter: what those with the same fault share, whatever their values are."""

import re
from functools import partial
from hashlib import blake2b

from pagefold.projections.streams import decode_part

KEY_BYTES = 6
"""Bytes of a key, which is hexadecimal: `3f9ca17b20d4`."""

MAX_CAUSE_CHARACTERS = 300
"""Characters of an error that count, after its values were removed."""

MAX_ERROR_CHARACTERS = 1_000
"""Characters of an error that are looked at: as many as a list shows."""

MAX_WORD_CHARACTERS = 40

VALUE = "…"
"""Stands for a value in a cause."""

QUOTED = f"'{VALUE}'"

_PARTS = re.compile(r"^\d+ of \d+ parts, the first: ")
_PATH = re.compile(r"[A-Za-z_$][\w.$-]*(?:\[\d+\][\w.$-]*)*: ")
_DIGIT = re.compile(r"\d")
_INDEX = re.compile(r"\[\d+\]")
_ADDRESS = re.compile(r"\bhttps?://[^\s'\"]+")
_QUOTED = re.compile(
    r"""(?<!\w)'(?:[^'\\]|\\.)*'(?!\w)|(?<!\w)"(?:[^"\\]|\\.)*"(?!\w)"""
    r"""|“[^”]*”|«[^»]*»"""
    r"""|(?<!\w)['"].{99}""",  # cut off, as `{value!r:.100}` is
    re.DOTALL,
)
_WORD = re.compile(r"\b(?:answered|status|HTTP) [1-5]\d\d\b|[^\s,;:()=`]+")
_STATUS = re.compile(r"^[1-5]\d\d\b")
_JSON = re.compile(r'[{}\[\]"]+')
_MARK = re.compile(r"\s*([:,])\s*")
_REPEATED = re.compile(rf"{VALUE}(?:[\s,]*{VALUE})+")


def source_of(originator_id: str) -> str:
    """The source in the name of a stream, or of a request."""
    return decode_part(originator_id.rpartition("/")[2])


def cause_key(kind: str, domain: str, originator_id: str, error: str) -> str:
    """The key of a cause: of a kind, a domain, a source, and an error without its values."""
    parts = (kind, domain, source_of(originator_id), cause_text(error, originator_id, kind))
    text = "\0".join(parts).encode(errors="backslashreplace")
    return blake2b(text, digest_size=KEY_BYTES).hexdigest()


def cause_text(error: str, originator_id: str, kind: str = "") -> str:
    """An error without the values in it: quoted text, numbers, ids, addresses, and the stream it is about.

    The path in front stays, without the indices of lists, and so does the status of an answer. Of a delivery, the
    error is the answer of a target, mostly JSON, whose texts say what is wrong: their quotes do not count.
    """
    text = _PARTS.sub("", error[:MAX_ERROR_CHARACTERS])
    if kind == "delivery":
        text = _MARK.sub(r"\1 ", " ".join(_JSON.sub(" ", _STATUS.sub(r"status \g<0>", text)).split())).rstrip()
    found = _PATH.match(text)
    path = found[0] if found else ""
    reason = _ADDRESS.sub(VALUE, text[len(path) :]).replace(originator_id, VALUE)
    reason = _WORD.sub(
        partial(_without_value, decode_part(originator_id.partition("/")[0])), _QUOTED.sub(QUOTED, reason)
    )
    return (_INDEX.sub(f"[{VALUE}]", path) + _REPEATED.sub(VALUE, reason))[:MAX_CAUSE_CHARACTERS]


def _without_value(sku: str, word: re.Match[str]) -> str:
    """A word, or what stands for it: for the SKU, for what has a digit, except a status, and for what is too long."""
    text = word[0]
    is_value = text == sku or len(text) > MAX_WORD_CHARACTERS or (" " not in text and _DIGIT.search(text) is not None)
    return VALUE if is_value else text
