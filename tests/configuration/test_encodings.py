"""Encodings of files by name: those of texts in the standard library."""

import codecs
from collections.abc import Iterator
from encodings.aliases import aliases

import pytest

from pagefold.engine.configuration.encodings import encoding_error, foreign_encoding
from pagefold.engine.intake.transcoding import transcode


@pytest.mark.parametrize("name", sorted(set(aliases.values())))
def test_every_codec_of_the_library(name: str) -> None:
    """One that is taken gives a text back byte by byte; those of bytes, or of source code, are not taken."""
    if encoding_error(name) is not None:
        assert name in NOT_TAKEN
        return
    text = 'sku,name\nA,"x ""y"""\n'
    chunks = iter([bytes([byte]) for byte in text.encode(name)])
    decoded = b"".join(chunk for chunk in transcode(chunks, foreign_encoding(name)) if chunk is not None)
    assert decoded.decode().removeprefix("\N{BYTE ORDER MARK}") == text


NOT_TAKEN = frozenset(
    {"base64_codec", "bz2_codec", "hex_codec", "mbcs", "quopri_codec", "rot_13", "uu_codec", "zlib_codec"}
)


@pytest.mark.parametrize(
    "name", ["", "cp", "ansi", "base64", "idna", "punycode", "unicode_escape", "../os", "os", "a\0b", "x" * 10_000, "ä"]
)
def test_names_of_no_encoding(name: str) -> None:
    """Whatever the name, it is an answer and no failure."""
    assert encoding_error(name) is not None


def test_an_encoding_that_somebody_registered() -> None:
    """Only the library's are taken: a package that adds one may be absent on the next machine."""

    class Decoder(codecs.IncrementalDecoder):
        """It decodes nothing."""

    found = codecs.lookup("ascii")
    info = codecs.CodecInfo(found.encode, found.decode, name="shop", incrementaldecoder=Decoder)

    def search(name: str) -> codecs.CodecInfo | None:
        return info if name == "shop" else None

    codecs.register(search)
    try:
        assert codecs.lookup("shop") is info
        assert encoding_error("shop") is not None
    finally:
        codecs.unregister(search)


def test_waiting_passes_through() -> None:
    """A None between chunks is a None, also inside a character."""

    def chunks() -> Iterator[bytes | None]:
        yield "ä".encode("utf-16-le")[:1]
        yield None
        yield "ä".encode("utf-16-le")[1:]

    assert list(transcode(chunks(), "utf-16-le")) == [None, "ä".encode()]
