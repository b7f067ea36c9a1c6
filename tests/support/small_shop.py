"""A small shop for tests: its configuration, its events, and direct calls of a store."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeAlias, TypeVar
from zlib import crc32

import msgspec

from pagefold import AppendResult, Config, DomainEvent, Shop
from pagefold.engine.applied.applied_log import TOPIC
from pagefold.engine.demo.reference_model import Model
from pagefold.engine.stores.dead_letter_records import DeadLetterHeader, NewDeadLetter, Resolution
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.store import Store
from pagefold.projections import Section, Stream, stream_id
from pagefold.projections.section_fold import shared_sections

Document: TypeAlias = dict[str, Any]
AnyDeadLetter = TypeVar("AnyDeadLetter", bound=DeadLetterHeader)

SKU = "TSHIRT-M"
MOMENT = "2026-01-01T12:00:00.000000Z"
CHANNELS = ("web-de", "market-at", "web-us", "outlet-de")
SOURCES = {
    "pim": ["catalog"],
    "pim2": ["catalog"],
    "erp": ["pricing"],
    "wms-a": ["inventory"],
    "wms-b": ["inventory"],
    "dam": ["media"],
}
SPEAKS = {"catalog": "pim", "pricing": "erp", "inventory": "wms-a", "media": "dam"}
ESSENTIALS = ["catalog", "pricing", "inventory"]


def document(url: str = "sqlite:///nowhere", **tables: Document) -> Document:
    """The configuration: 4 channels in 3 locales and 2 currencies. `tables` replace complete tables.

    Changes are applied at a start, whatever they take away.
    """
    return {
        "apply": "always",
        "store": {"url": url},
        "sources": {name: {"domains": domains} for name, domains in SOURCES.items()},
        "channels": {
            "web-de": {"locale": "de-DE", "fallbacks": ["en"], "currency": "EUR", "requires": ESSENTIALS},
            "market-at": {
                "locale": "de-AT",
                "fallbacks": ["de-DE", "en"],
                "currency": "EUR",
                "requires": ["catalog", "pricing"],
                "sources": {"inventory": ["wms-b"]},
            },
            "web-us": {
                "locale": "en-US",
                "currency": "USD",
                "requires": [*ESSENTIALS, "media"],
                "sources": {"catalog": ["pim2", "pim"], "media": []},
            },
            "outlet-de": {"locale": "de-DE", "fallbacks": ["fr"], "currency": "EUR", "sources": {"catalog": ["pim"]}},
        },
    } | tables


def configured(url: str, **tables: Document) -> Config:
    """The configuration of the shop at a store. The lease is one second, the minimum."""
    return Config.parse(document(url, work={"poll_seconds": 0.05, "lease_seconds": 1.0}) | tables, store=url)


def with_channel(config: Config, name: str, **changes: object) -> Config:
    """The same configuration with some keys of one channel changed."""
    channel = msgspec.structs.replace(config.channels[name], **changes)
    return msgspec.structs.replace(config, channels={**config.channels, name: channel})


async def apply_file(shop: Shop) -> None:
    """Applies the shop's own configuration, as a person does."""
    await shop.apply(await shop.plan(), by="ada", reason="a test")


# --- events ---------------------------------------------------------------------------------------


def event(  # noqa: PLR0913  # an event has that many parts
    domain: str,
    payload: Mapping[str, object] | bytes | None,
    *,
    version: int = 1,
    channel: str = "*",
    sku: str = SKU,
    source: str | None = None,
    identifier: str | None = None,
) -> DomainEvent:
    """One event. Its `occurredAt` follows from its stream and version, so that a duplicate is equal in every field."""
    speaker = source or SPEAKS[domain]
    name = f"{sku}/{channel}/{domain}/{speaker}"
    occurred_at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=version, microseconds=crc32(name.encode()))
    return DomainEvent(
        type=domain,
        sku=sku,
        channel=channel,
        source=speaker,
        source_version=version,
        occurred_at=occurred_at,
        payload=payload,
        id=identifier,
    )


def catalog(name: str, *, version: int = 1, channel: str = "*", sku: str = SKU, source: str = "pim") -> DomainEvent:
    """A product's name, in German and English."""
    payload = {"attributes": {"code": name}, "localized": {"name": {"de": f"{name} (de)", "en": f"{name} (en)"}}}
    return event("catalog", payload, version=version, channel=channel, sku=sku, source=source)


def price(amount: str, *, currency: str = "EUR", version: int = 1, channel: str = "*", sku: str = SKU) -> DomainEvent:
    """A price."""
    payload = {"currency": currency, "amount": amount}
    return event("pricing", payload, version=version, channel=channel, sku=sku)


def stock(
    available: int, *, version: int = 1, channel: str = "*", sku: str = SKU, source: str = "wms-a"
) -> DomainEvent:
    """The stock of a warehouse."""
    return event("inventory", {"available": available}, version=version, channel=channel, sku=sku, source=source)


def media(*urls: str, version: int = 1, channel: str = "*", sku: str = SKU) -> DomainEvent:
    """A picture."""
    payload = {"assets": [{"url": url, "position": index} for index, url in enumerate(urls)]}
    return event("media", payload, version=version, channel=channel, sku=sku)


def withdrawn(
    domain: str, *, version: int, channel: str = "*", sku: str = SKU, source: str | None = None
) -> DomainEvent:
    """A source withdraws its event."""
    return event(domain, None, version=version, channel=channel, sku=sku, source=source)


def as_document(given: DomainEvent) -> Document:
    """The event as in a file, for the model."""
    payload = msgspec.json.decode(given.payload) if isinstance(given.payload, bytes) else given.payload
    document: Document = {
        "type": given.type,
        "sku": given.sku,
        "channel": given.channel,
        "source": given.source,
        "sourceVersion": given.source_version,
        "occurredAt": given.occurred_at.isoformat(),
        "payload": payload,
    }
    return document | ({} if given.id is None else {"id": given.id})


def as_line(given: DomainEvent) -> bytes:
    """The event as a line of a file."""
    return msgspec.json.encode(as_document(given))


def stream_of(given: DomainEvent) -> str:
    """The name of the event's stream in the log."""
    return stream_id(Stream(given.sku, given.channel, given.type, given.source))


def a_model(config: Config) -> Model:
    """The model with that configuration, without events."""
    tables: Document = msgspec.to_builtins(config)
    return Model(tables)


# --- a shop ---------------------------------------------------------------------------------------


async def append(shop: Shop, *events: DomainEvent) -> list[AppendResult]:
    """Appends events that must all be new."""
    results = await shop.append(events)
    assert [result.outcome for result in results] == ["appended"] * len(events), results
    return results


async def say(shop: Shop, *events: DomainEvent) -> None:
    """Appends events that must all be new, and folds them."""
    await append(shop, *events)
    await shop.catch_up()


async def section(shop: Shop, domain: str, channel: str = "web-de", sku: str = SKU) -> Any:  # noqa: ANN401  # JSON
    """One section of a page, decoded; of a disabled page too."""
    page = await shop.pages.get(sku, channel, disabled=True)
    assert page is not None
    sections: Any = page.sections
    return sections[domain]


async def pages_of(shop: Shop) -> dict[tuple[str, str], bytes | None]:
    """Every page of the store, disabled ones too."""
    return {
        (sku, channel): await shop.pages.get_json(sku, channel, disabled=True)
        for sku, channel in await keys_of(shop.store)
    }


def pages_in(model: Model) -> dict[tuple[str, str], bytes | None]:
    """Every expected page."""
    return {(sku, channel): model.page(sku, channel, disabled=True) for sku, channel in model.pages()}


async def assert_every_event_is_counted(store: Store) -> None:
    """applied + stale + dead is the exact number of each domain's events up to its checkpoint (I10)."""
    events = await everything(store)
    for checkpoint in await store.coordination.checkpoints():
        folded = [e for e in events if e.topic == checkpoint.domain and e.notification_id <= checkpoint.position]
        assert checkpoint.applied + checkpoint.stale + checkpoint.dead == len(folded), checkpoint


async def everything(store: Store) -> list[StoredEvent]:
    """The whole log, in order, but for applied configurations."""
    return [each for each in await store.records.notifications(1, 2**53, (), 1_000_000) if each.topic != TOPIC]


async def keys_of(store: Store) -> list[tuple[str, str]]:
    """(SKU, channel) of every page."""
    return [key async for key in store.pages.keys()]  # noqa: SIM118  # it is no dictionary


# --- direct calls of a store -----------------------------------------------------------


class Raw(NamedTuple):
    """An event as `Log.insert` takes it."""

    originator_id: str
    originator_version: int = 1
    topic: str = "inventory"
    state: bytes = b"{}"


def a_section(sku: str = SKU, channel: str = "web-de", domain: str = "catalog", body: bytes | None = b"{}") -> Section:
    """A section as the fold gives it, disabled if it has no body."""
    return Section(sku, channel, domain, body is not None, body is not None, b'{"pim":1}', body, MOMENT, MOMENT)


def a_dead_letter(
    stream: str = "A/*/inventory/wms-a", *, version: int = 1, digest: bytes = b"1", error: str = "wrong"
) -> NewDeadLetter:
    """A dead letter of the intake."""
    return NewDeadLetter("ingest", "inventory", stream, version, 0, digest, error, b"{}", MOMENT)


def ended(dead_letter: AnyDeadLetter, resolution: Resolution) -> AnyDeadLetter:
    """The dead letter, resolved like this."""
    how, at, by, reason, position = resolution
    return msgspec.structs.replace(
        dead_letter, resolution=how, resolved_at=at, resolved_by=by, reason=reason, position=position
    )


def undecided(dead_letter: AnyDeadLetter) -> AnyDeadLetter:
    """The dead letter, not resolved."""
    nothing = dict.fromkeys(("resolution", "resolved_at", "resolved_by", "reason", "position"))
    return msgspec.structs.replace(dead_letter, **nothing)


async def insert(store: Store, *streams: str, version: int = 1, topic: str = "inventory") -> list[int]:
    """The positions of one new event in each stream."""
    positions = await store.log.insert([Raw(stream, version, topic) for stream in streams])
    assert None not in positions
    return [position for position in positions if position is not None]


async def folded(store: Store, *sections: Section, domain: str = "catalog") -> int:
    """Stores all sections of some SKUs. Returns for how many SKUs they changed."""
    async with store.coordination.fold_transaction(domain) as folding:
        return await folding.write(shared_sections(sections))
