"""What a target gets of a page: the whole of it, or some of its parts, and the tag of exactly these bytes."""

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import msgspec
import orjson

from pagefold.domains.domain import encode
from pagefold.engine.configuration.target_config import TargetConfig
from pagefold.engine.delivery.page_views import filter_of, mapping_of
from pagefold.engine.delivery.target_kind import PageKey
from pagefold.engine.reading.page_tags import tag_of

WITHDRAWAL_TAG = ""


class Document(NamedTuple):
    """What a target is to hold of a page. `body` is None if it is to hold nothing; `tag` is empty then.

    `page` is what it was made of, where there is something.
    """

    body: bytes | None
    tag: str
    page: bytes | None = None


NOTHING = Document(None, WITHDRAWAL_TAG)

Select: TypeAlias = Callable[[dict[str, object]], dict[str, object]]
"""A pure function of a decoded page, which it does not change: what a target is to have of it."""

MakeDocument: TypeAlias = Callable[[bytes | None], Document]
"""A pure function of a page as it is served, None if it is not shown."""


class _Ready(msgspec.Struct):
    ready: bool


_ready = msgspec.json.Decoder(_Ready)


def document_maker(target: TargetConfig) -> MakeDocument:
    """How a target's documents are made of pages."""
    make = _selected(target) if target.fields or target.contract else _whole
    if target.filters:
        make = _filtered(make, target)
    return _only_ready(make) if target.ready else make


def document_identity(target: TargetConfig) -> str:
    """Equal for targets whose documents are the same functions of the same pages."""
    parts = encode([target.channels, target.ready, target.fields, target.filters, target.contract])
    return hashlib.sha256(parts).hexdigest()[:16]


def idempotency_key(target: str, page: PageKey, tag: str, wanted_position: int) -> str:
    """The same for every attempt to deliver these bytes because of the same change.

    The position is part of it: a page that goes back to what it was before is another delivery, which a target that
    remembers keys would leave out otherwise.
    """
    parts = orjson.dumps([target, page.sku, page.channel, tag, wanted_position])
    return hashlib.sha256(parts).hexdigest()[:32]


def _whole(page: bytes | None) -> Document:
    return NOTHING if page is None else Document(page, tag_of(page), page)


def _only_ready(make: MakeDocument) -> MakeDocument:
    def made(page: bytes | None) -> Document:
        return make(page) if page is not None and _ready.decode(page).ready else NOTHING

    return made


def _filtered(make: MakeDocument, target: TargetConfig) -> MakeDocument:
    passes = filter_of(target)

    def made(page: bytes | None) -> Document:
        return make(page) if page is not None and (passes is None or passes(orjson.loads(page))) else NOTHING

    return made


def _selected(target: TargetConfig) -> MakeDocument:
    """The parts at some paths, at the same places, under a contract's names; what a page does not have is left out.

    A page that the contract makes unready is none for a target that gets only ready ones.
    """
    select, mapped = selection(target.fields), mapping_of(target)

    def made(page: bytes | None) -> Document:
        if page is None:
            return NOTHING
        shown = orjson.loads(page)
        if mapped is not None:
            shown = mapped(shown)
            if target.ready and not shown["ready"]:
                return NOTHING
        part = select(shown)
        body = orjson.dumps(part, option=orjson.OPT_SORT_KEYS) if mapped is None else encode(part)
        return Document(body, tag_of(body), page)

    return made


def selection(fields: Sequence[str]) -> Select:
    """The parts of a page at some paths; all of it without any."""
    if not fields:
        return lambda page: page
    paths = [tuple(path.split(".")) for path in dict.fromkeys(["sku", "channel", *fields])]

    def selected(page: dict[str, object]) -> dict[str, object]:
        document: dict[str, object] = {}
        for path in paths:
            _copy(page, document, path)
        return document

    return selected


def _copy(source: object, into: dict[str, object], path: Sequence[str]) -> None:
    """Copies what is at a path, with the objects around it. A longer path with dots in its names is tried, too."""
    for length in range(len(path), 0, -1):
        name = ".".join(path[:length])
        if not isinstance(source, dict) or name not in source:
            continue
        value, rest = source[name], path[length:]
        if not rest:
            into[name] = value
        elif isinstance(value, dict):
            inner = into.setdefault(name, {})
            if isinstance(inner, dict):
                _copy(value, inner, rest)
                if not inner:
                    del into[name]
        return
