"""The entity tags of pages: what HTTP, the feed and receipts call the bytes of a page."""

from xxhash import xxh3_128_hexdigest


def tag_of(body: bytes) -> str:
    """The entity tag of a page, without quotes: equal exactly for equal bytes."""
    return xxh3_128_hexdigest(body)


def etag_of(body: bytes) -> bytes:
    """The tag of a page as a strong entity tag, as the header `ETag` has it."""
    return b'"%b"' % tag_of(body).encode()
