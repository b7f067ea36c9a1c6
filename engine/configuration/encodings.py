"""The encodings of text files, by name: those of Python's standard library that are of texts."""

import codecs

_NOT_OF_FILES = frozenset({"idna", "mbcs", "oem", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})
"""Encodings of names, of source code, or of whatever machine this is."""

_PLAIN = frozenset({"utf-8", "utf-8-sig"})


def encoding_error(name: str) -> str | None:
    """Why a name is not that of an encoding of text files; None if it is one."""
    problem = f"{name!r} is not an encoding of texts such as 'cp1252', 'iso-8859-15' or 'utf-16'"
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):  # for NUL
        return problem
    decoder = getattr(found, "incrementaldecoder", None)
    is_own = getattr(decoder, "__module__", "").startswith("encodings.")
    is_of_texts = getattr(found, "_is_text_encoding", False) and found.name not in _NOT_OF_FILES
    return None if is_own and is_of_texts else problem


def foreign_encoding(name: str | None) -> str | None:
    """The encoding in Python's own name; None for UTF-8, which is read as it is."""
    found = None if name is None else codecs.lookup(name).name
    return None if found in _PLAIN else found
