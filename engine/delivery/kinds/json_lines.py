"""Documents as lines: what is written one a line must not have a line break."""

_BREAKS = bytes.maketrans(b"\r\n", b"  ")


def one_line(document: bytes) -> bytes:
    """The same JSON without line breaks, which are never inside of a string. One that a person wrote may have some."""
    return document.translate(_BREAKS) if b"\n" in document or b"\r" in document else document
