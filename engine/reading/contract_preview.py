"""What a channel's contract makes of products, before it counts: what is shown and what not, what cannot be mapped."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from copy import copy
from typing import NamedTuple

import msgspec

from pagefold.domains import DOMAINS
from pagefold.domains.catalog import Catalog
from pagefold.domains.channel_view import ChannelView, Exists, ShownProduct, TextLocales
from pagefold.domains.domain import Contribution, InvalidPayload
from pagefold.domains.fold_trace import FoldTrace
from pagefold.engine.folding.head_folder import HeadFolder
from pagefold.engine.stores.store import Store
from pagefold.projections import Channel
from pagefold.projections.channel_contracts import CompiledContract
from pagefold.projections.streams import encode_part

CHUNK_SKUS = 500
"""SKUs that are folded at a time."""

MAX_VALUES = 10_000
"""How many different values that cannot be mapped are counted."""

MAX_CHARACTERS = 60
"""Characters of a value that is shown."""

CATALOG = next(domain for domain in DOMAINS if domain.has_view)


class UnmappedValue(NamedTuple):
    """An attribute or field that cannot be mapped, and what it was to be made of."""

    attribute: str
    value: str


class PreviewedPage(NamedTuple):
    """A product and its catalog section, as JSON; None if the channel hides the page."""

    sku: str
    section: bytes | None


class Preview(msgspec.Struct):
    """What becomes of products in a channel.

    `shown` counts products by attribute that the channel shows, `left_out` by attribute that it does not. `unmapped`
    counts values. `refused` are payloads that are none, with the line and the reason of the first.
    """

    products: int = 0
    unready: int = 0
    shown: Counter[str] = msgspec.field(default_factory=Counter)
    left_out: Counter[str] = msgspec.field(default_factory=Counter)
    unmapped: Counter[UnmappedValue] = msgspec.field(default_factory=Counter)
    samples: list[PreviewedPage] = []
    refused: int = 0
    first_refusal: str = ""


class ContractPreview:
    """Folds products as a channel shows them by a contract, and counts. Nothing is written."""

    def __init__(self, channel: Channel, view: ChannelView, contract: CompiledContract, samples: int) -> None:
        self.found = Preview()
        self._samples = samples
        observer: ChannelView = _Observer(view, contract, self.found)
        self._channel = msgspec.structs.replace(channel, view=observer)

    async def add_store(self, store: Store) -> None:
        """Adds every product of a store. Raises `StoreUnavailable`."""
        folder = HeadFolder(CATALOG, [self._channel], store.log)
        async for skus in _chunks(store):
            heads = await folder.heads([encode_part(sku) for sku in skus])
            for shared in (await folder.sections(heads, store.references)).sections:
                for section in shared.sections():
                    self._add_sample(section.sku, section.body)

    def add_payloads(self, rows: Iterable[tuple[int, object]]) -> None:
        """Adds catalog payloads, or catalog events, each with its line."""
        for line, row in rows:
            sku, payload = _payload(row)
            try:
                product = CATALOG.validate(msgspec.convert(payload, Catalog))
            except (msgspec.ValidationError, InvalidPayload) as error:
                self.found.refused += 1
                self.found.first_refusal = self.found.first_refusal or f"line {line}: {error}"
                continue
            body = CATALOG.fold([Contribution("", product)], self._channel.context(), None)
            self._add_sample(sku or f"line {line}", None if body is None else body.json)

    def _add_sample(self, sku: str, section: bytes | None) -> None:
        if len(self.found.samples) < self._samples:
            self.found.samples.append(PreviewedPage(sku, section))


class _Observer:
    """The view of a channel, which counts what it makes."""

    def __init__(self, view: ChannelView, contract: CompiledContract, found: Preview) -> None:
        self.key = view.key
        self.asks = view.asks
        self.older: ChannelView | None = None
        self.renamed = view.renamed
        self._view = view
        self._reads = contract.reads
        self._named = contract.named
        self._found = found

    def answered_by(self, exists: Exists) -> ChannelView:
        """The same view, with answers to whether SKUs exist."""
        other = copy(self)
        other._view = self._view.answered_by(exists)  # noqa: SLF001  # its own
        return other

    def shown(
        self, product: ShownProduct, locales: TextLocales, trace: FoldTrace | None = None
    ) -> tuple[ShownProduct, bool] | None:
        """What the view shows."""
        given = ShownProduct(product.attributes, product.categories, product.family, product.parent)
        result = self._view.shown(product, locales, trace)
        found = self._found
        found.products += 1
        found.unready += result is None or not result[1]
        if result is not None:
            shown = result[0]
            found.shown.update(shown.attributes.keys())
            found.left_out.update(given.attributes.keys() - shown.attributes.keys() - self._named)
            for name in shown.unmapped or ():
                self._add_unmapped(name, given)
        return result

    def _add_unmapped(self, name: str, product: ShownProduct) -> None:
        sources = self._reads.get(name) or [name]
        values = [product.attributes.get(code, getattr(product, code.removeprefix("@"), None)) for code in sources]
        text = msgspec.json.encode(values[0] if len(values) == 1 else values).decode()
        value = UnmappedValue(name, text[:MAX_CHARACTERS])
        if value in self._found.unmapped or len(self._found.unmapped) < MAX_VALUES:
            self._found.unmapped[value] += 1


def _payload(row: object) -> tuple[str, object]:
    """The SKU, if it is known, and the payload of a row."""
    if isinstance(row, dict) and "payload" in row:
        return str(row.get("sku", "")), row["payload"]
    return "", row


async def _chunks(store: Store) -> AsyncIterator[list[str]]:
    after = ""
    while skus := await store.pages.skus(CATALOG.name, after, CHUNK_SKUS):
        yield skus
        after = skus[-1]
