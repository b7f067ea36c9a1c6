"""What is stored to be sent in place of the newest page: a document, a withdrawal, or a declared request.

A document is JSON: it is not empty, and does not begin with a zero byte.
"""

from typing import Final, NamedTuple

import msgspec

from pagefold.engine.delivery.documents import WITHDRAWAL_TAG, Document
from pagefold.engine.delivery.target_kind import DeclaredRequest
from pagefold.engine.reading.page_tags import tag_of

PLACED_WITHDRAWAL: Final = b""
REQUEST_MARK: Final = b"\0"

_request = msgspec.json.Decoder(DeclaredRequest)


class Placed(NamedTuple):
    """What is to be sent: a document, which may be a withdrawal, or a request in its place."""

    document: Document
    request: DeclaredRequest | None = None


def encode_document(document: Document) -> bytes:
    """A document as it is stored."""
    return PLACED_WITHDRAWAL if document.body is None else document.body


def encode_request(request: DeclaredRequest) -> bytes:
    """A request as it is stored."""
    return REQUEST_MARK + msgspec.json.encode(request)


def decode_placed(stored: bytes) -> Placed:
    """The inverse. The tag of a request's document is not known here."""
    if stored == PLACED_WITHDRAWAL:
        return Placed(Document(None, WITHDRAWAL_TAG))
    if stored.startswith(REQUEST_MARK):
        return Placed(Document(None, WITHDRAWAL_TAG), _request.decode(stored[len(REQUEST_MARK) :]))
    return Placed(Document(stored, tag_of(stored)))
