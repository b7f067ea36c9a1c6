"""Turns files in other encodings into UTF-8, chunk by chunk.

A byte that is no character becomes one of the 256 lone surrogates from U+DC00 on, by its value. In UTF-8 these are
errors, so that the record with such a byte is refused, alone, and says which byte it was.
"""

import codecs
import re
from collections.abc import Iterator

_HANDLER = "pagefold-mark"
_FIRST_MARK = 0xDC00
_mark = re.compile("[\udc00-\udcff]")


def _mark_bytes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join([chr(_FIRST_MARK + byte) for byte in error.object[error.start : error.end]]), error.end


codecs.register_error(_HANDLER, _mark_bytes)


def transcode(chunks: Iterator[bytes | None], encoding: str | None) -> Iterator[bytes | None]:
    """The same text in UTF-8; passes None through. Without an encoding, it is UTF-8 already."""
    if encoding is None:
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(encoding)(_HANDLER)
    for chunk in chunks:
        if chunk is None:
            yield None
        elif text := decoder.decode(chunk):
            yield text.encode(errors="surrogatepass")
    if text := decoder.decode(b"", final=True):
        yield text.encode(errors="surrogatepass")


def damaged_byte(text: bytes, error: UnicodeDecodeError, encoding: str | None) -> int:
    """The byte of the file that was no character, of a text whose decoding failed."""
    if encoding is None:
        return text[error.start]
    marks = _mark.search(text.decode(errors="surrogatepass"))
    return text[error.start] if marks is None else ord(marks[0]) - _FIRST_MARK
