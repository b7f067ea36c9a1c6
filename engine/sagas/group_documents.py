"""What each target of a group gets of a page, and one tag for all of it."""

import hashlib
import re
from collections.abc import Mapping
from typing import NamedTuple

import orjson

from pagefold.engine.configuration.saga_config import CompensationConfig, SagaConfig
from pagefold.engine.configuration.target_config import TargetConfig
from pagefold.engine.delivery.documents import NOTHING, Document
from pagefold.engine.delivery.kinds.http import address_of
from pagefold.engine.delivery.marker import Marking, marking_of
from pagefold.engine.delivery.target_kind import DeclaredRequest, PageKey
from pagefold.engine.reading.page_tags import tag_of
from pagefold.engine.sagas.saga_steps import Version
from pagefold.engine.stores.delivery_records import DeliveryKey


class PageVersion(NamedTuple):
    """A version of a page, and what each target gets of it."""

    version: Version
    documents: Mapping[str, Document]

    def document_for(self, target: str) -> Document:
        """What a target gets; a withdrawal if that is nothing."""
        return self.documents.get(target, NOTHING)


class GroupDocuments:
    """The documents of one saga."""

    def __init__(self, name: str, saga: SagaConfig, targets: Mapping[str, TargetConfig]) -> None:
        self.name, self.saga = name, saga
        self._markings = {name: marking_of(targets[name]) for name in saga.targets}
        self.channels = next(iter(self._markings.values())).channels

    @property
    def marking(self) -> Marking:
        """What is noted of pages for the whole group."""
        parts = orjson.dumps([[name, each.identity] for name, each in self._markings.items()])
        identity = hashlib.sha256(parts).hexdigest()[:16]
        needs_pages = any(each.needs_pages for each in self._markings.values())
        return Marking(self.channels, identity, needs_pages, lambda page: Document(page, self.of(page, 0).version.tag))

    def of(self, page: bytes | None, position: int) -> PageVersion:
        """What the targets get of a page as it is at a position; None is no page."""
        documents = {name: marking.make(page) for name, marking in self._markings.items()}
        tags = {name: document.tag for name, document in documents.items()}
        return PageVersion(Version(position, _together(list(tags.values())), tags), documents)

    def compensation(self, target: str, key: DeliveryKey) -> DeclaredRequest | None:
        """The request that takes a page back from a target, if one is declared."""
        declared = self.saga.compensations.get(target)
        return None if declared is None else _request(declared, key)


def _together(tags: list[str]) -> str:
    """One tag: that of the targets if they get the same, as whole pages are; empty if none of them gets anything."""
    return tags[0] if len(set(tags)) == 1 else tag_of(",".join(tags).encode())


def _request(declared: CompensationConfig, key: DeliveryKey) -> DeclaredRequest:
    values = {"{sku}": key.sku, "{channel}": key.channel}
    body = re.sub(r"\{sku\}|\{channel\}", lambda found: orjson.dumps(values[found[0]])[1:-1].decode(), declared.body)
    return DeclaredRequest(declared.method, address_of(declared.path, PageKey(*key)), body)
