"""What is kept of the documents that a target is sent, so that they are recognised when its system sends them back."""

from collections.abc import Callable
from typing import TypeAlias

import orjson

from pagefold.engine.configuration.target_config import TargetConfig
from pagefold.engine.delivery.documents import Document, selection
from pagefold.projections.echoes import receipt_of

MakeOffer: TypeAlias = Callable[[Document, int], bytes | None]
"""Of what is sent, and the position up to which its page was folded: its receipt, None if none is kept."""


def offer_maker(target: TargetConfig) -> MakeOffer | None:
    """How the receipts of a target are made; None for one that is no source, which costs nothing."""
    if target.source is None:
        return None
    fields = target.fields
    if target.contract is not None:  # its names are not those of pages: all of the catalog counts
        fields = ["catalog" if field.partition(".")[0] == "catalog" else field for field in fields]
    select = selection(fields)

    def made(document: Document, position: int) -> bytes | None:
        if document.body is None:
            return receipt_of(None, None, position, document.tag)
        if document.page is None:
            placed = _decoded(document.body) if target.contract is None else None
            return None if placed is None else receipt_of(placed, placed, position, document.tag)
        page = orjson.loads(document.page)
        return receipt_of(page, select(page), position, document.tag)

    return made


def _decoded(body: bytes) -> dict[str, object] | None:
    """A document that was placed by a group of targets, or written by a person; None for one without places."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None
