"""A shop with very many pages, and with trouble of every kind: what the dashboard has to show at its worst.

Half as many products as pages, in two channels; a dead letter for each ten pages, of some forty causes; an audit, runs,
plans, releases, fields of records, and a day of key figures. Everything goes through the shop, except that the events
of most products are validated, and then inserted as the baseline inserts them.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import anyio
import msgspec

import pagefold
from benchmarks.large_shop_trouble import dead_letters, sightings
from benchmarks.server_processes import served
from benchmarks.throwaway_stores import Stores
from benchmarks.workload import BATCH
from pagefold import Config, DomainEvent
from pagefold.domains.values import format_timestamp
from pagefold.engine.monitoring.measurements import MEASUREMENTS
from pagefold.engine.requests.request_service import RequestService
from pagefold.engine.runtime.clock import minute_of, moment, now
from pagefold.engine.stores.audit_records import AuditEnd, NewAuditEntry
from pagefold.engine.stores.dead_letter_records import Resolution
from pagefold.engine.stores.delivery_records import Wanted
from pagefold.engine.stores.kpi_records import KpiPoint
from pagefold.engine.stores.schedule_records import sync_task
from pagefold.engine.stores.session_records import Session

CHANNELS = ("web-de", "web-fr")
RUNS, PLANS, RELEASES, PUBLISHED, SESSIONS = 100, 20, 50, 3, 200
"""How many there are of each in a shop of `FULL_SIZE`; a smaller one has fewer."""

FULL_SIZE = 200_000
"""Pages."""

FIRST_PRODUCTS = 2_000
"""Products that are there before the others: plans are made of them, which keep only so many pages each."""

OUTLET_PRODUCTS = 600
HISTORY_MINUTES = 24 * 60
HOT_VERSIONS = 500
"""Versions of one product's price."""

TARGET = "search"
"""A target that has got no page yet: all of them wait."""

CONCURRENT = 16
"""Writes at once, where each is a transaction of its own."""

_COLOURS = ("navy", "olive", "rust", "sand")


class LargeShop(NamedTuple):
    """A filled store: its configuration as a file, the pages that it has, and the secret of a token for everything."""

    url: str
    settings: Path
    pages: int
    secret: str

    @property
    def hot_sku(self) -> str:
        """The product with a long past."""
        return sku_of(0)


def sku_of(number: int) -> str:
    """The SKU of a product."""
    return f"LS-{number:07}-{_COLOURS[number % 4].upper()}"


def write_settings(url: str, folder: Path) -> Path:
    """The configuration of the shop, as a file in a folder, where the snapshot of the outlet is expected, too."""
    domains = {"pim": "catalog", "erp": "pricing", "wms": "inventory", "dam": "media", "outlet": "inventory"}
    lines = ["[store]", f"url = {json.dumps(url)}", "[http]", 'reads = "open"']
    for name, domain in domains.items():
        lines += [f"[sources.{name}]", f'domains = ["{domain}"]']
    lines += ["[sources.outlet.snapshot]", f'file = "{folder / "outlet.ndjson"}"', 'settle = "0s"', 'duration = "0s"']
    for name, locale in zip(CHANNELS, ("de-DE", "fr-FR"), strict=True):
        lines += [f"[channels.{name}]", f'locale = "{locale}"', 'fallbacks = ["en"]', 'currency = "EUR"']
        lines += ['requires = ["catalog", "pricing", "inventory"]']
    lines += [f"[targets.{TARGET}.files]", f'folder = "{folder / "delivered"}"']
    file = folder / "pagefold.toml"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


async def fill(stores: Stores, pages: int, folder: Path) -> LargeShop:
    """Makes a store with this many pages, in steps that say how far they are."""
    url = await stores.new()
    settings = write_settings(url, folder)
    products = pages // len(CHANNELS)
    first = min(FIRST_PRODUCTS, products)
    async with pagefold.open(settings) as shop:
        await _append(shop, _products(range(first)))
        await _append(shop, _outlet(min(OUTLET_PRODUCTS, first)))
        await _releases(shop, first, _share(RELEASES, pages))
        await shop.catch_up()
        await _plans(shop, _share(PLANS, pages))
        await _runs(shop, min(OUTLET_PRODUCTS, first), _share(RUNS, pages))
    await stores.fill(url, _products(range(first, products)), Config.load(settings))
    async with pagefold.open(settings) as shop:
        await _append(shop, _versions(HOT_VERSIONS))
        await shop.catch_up()
        await _letters(shop, products, pages // 10)
        await _audit(shop, pages // 100)
        await _deliveries(shop, products)
        await _small_things(shop)
        secret, _ = await shop.tokens.create({"read", "operate"})
    stores.settle(url)
    return LargeShop(url, settings, pages, str(secret))


@asynccontextmanager
async def serving(shop: LargeShop, folder: Path) -> AsyncIterator[str]:
    """`pagefold serve` with two processes, as a shop runs it. Yields its address."""
    command = (
        "-m",
        "pagefold.engine.command",
        "serve",
        "--config",
        str(shop.settings),
        "--port",
        "0",
        "--workers",
        "2",
    )
    async with served(folder / "pagefold.log", *command, core=None) as address:
        yield address


def _share(number: int, pages: int) -> int:
    """As many of this number as fit a shop of that many pages, at least two."""
    return max(2, number * min(pages, FULL_SIZE) // FULL_SIZE)


# --- products -------------------------------------------------------------------------------------


def _products(numbers: range) -> Iterator[DomainEvent]:
    at = datetime(2026, 1, 12, 6, 0, tzinfo=UTC)
    for number in numbers:
        colour, sku = _COLOURS[number % 4], sku_of(number)
        name = f"Shirt {number % 911} {colour}"
        texts = f'"name":{{"de":"{name}","en":"{name}","fr":"{name}, taille M"}}'
        attributes = f'"attributes":{{"colour":"{colour}","size":"M","weight":{number % 900}}},"localized":{{{texts}}}'
        place = f'"categories":["clothes/c{number % 300}"],"references":{{"gtin":"{4_000_000_000_000 + number}"}}'
        yield _event("catalog", "pim", sku, f"{{{attributes},{place}}}", 1, at)
        yield _event("pricing", "erp", sku, f'{{"currency":"EUR","amount":"{5 + number % 300}.90"}}', 1, at)
        yield _event("inventory", "wms", sku, f'{{"available":{number % 400},"safetyStock":1}}', 1, at)


def _versions(number: int) -> Iterator[DomainEvent]:
    at = datetime(2026, 1, 12, 7, 0, tzinfo=UTC)
    for version in range(2, number):
        payload = f'{{"currency":"EUR","amount":"{5 + version % 300}.80"}}'
        yield _event("pricing", "erp", sku_of(0), payload, version, at + timedelta(minutes=version))


def _outlet(number: int) -> list[DomainEvent]:
    at = datetime(2026, 1, 12, 6, 0, tzinfo=UTC)
    return [_event("inventory", "outlet", sku_of(each), f'{{"available":{each % 9}}}', 1, at) for each in range(number)]


def _event(  # an event has that many parts
    domain: str, source: str, sku: str, payload: str, version: int, at: datetime
) -> DomainEvent:
    return DomainEvent(
        type=domain,
        sku=sku,
        channel="*",
        source=source,
        source_version=version,
        occurred_at=at,
        payload=payload.encode(),
    )


async def _append(shop: pagefold.Shop, events: Iterator[DomainEvent] | Sequence[DomainEvent]) -> None:
    found = iter(events)
    while batch := list(islice(found, BATCH)):
        assert all(each.outcome == "appended" for each in await shop.append(batch))


# --- releases, plans, runs ------------------------------------------------------------------------


async def _releases(shop: pagefold.Shop, products: int, number_of: int) -> None:
    """The last of them count; each says something of forty products."""
    at = datetime(2026, 1, 12, 8, 0, tzinfo=UTC)
    for number in range(number_of):
        name = f"sale-{number:02}"
        await shop.releases.create(name, by="ada", reason="the sale of a week")
        payload = f'{{"currency":"EUR","amount":"{3 + number}.50"}}'
        chosen = dict.fromkeys(sku_of((number * 31 + each) % products) for each in range(40))
        await shop.append([_event("pricing", f"release/{name}", sku, payload, 1, at) for sku in chosen])
        if number >= number_of - PUBLISHED:
            await shop.releases.publish(name, by="ada", reason="the sale begins")


async def _plans(shop: pagefold.Shop, number_of: int) -> None:
    """What other requirements would change."""
    for number in range(number_of):
        attributes = ["name", "colour", *(f"extra{each}" for each in range(number))]
        required = [{"name": f"plan-{number}", "requires": [{"attributes": attributes}]}]
        changed = {
            name: msgspec.structs.replace(channel, requirements=required)
            for name, channel in shop.config.channels.items()
        }
        plan = await shop.plan(msgspec.structs.replace(shop.config, channels=changed), processes=None)
        await shop.plans.keep(plan, "ada")


async def _runs(shop: pagefold.Shop, products: int, number_of: int) -> None:
    """Rebuilds of the outlet: all complete, but for the last, which is held, because most rows are gone."""
    snapshot = shop.config.sources["outlet"].snapshot
    assert snapshot is not None
    assert snapshot.file is not None
    rows = _outlet(products)
    async with shop.rebuilds() as service:
        for number in range(number_of):
            kept = rows if number < number_of - 1 else rows[: len(rows) // 4]
            taken = format_timestamp(moment() + timedelta(minutes=1))
            await asyncio.to_thread(Path(snapshot.file).write_bytes, _exported(kept, taken))
            await service.rebuild("outlet")
    at = now()
    for number in range(number_of):
        run = await shop.store.schedule.begin(sync_task("erp") if number % 2 else "nightly", at, at)
        await shop.store.schedule.end(run, "done" if number % 9 else "failed", f"{number} records", at)


def _exported(events: Sequence[DomainEvent], taken_at: str) -> bytes:
    """A complete snapshot."""
    lines = [msgspec.json.encode({"snapshot": "begin", "takenAt": taken_at})]
    for each in events:
        assert isinstance(each.payload, bytes)
        line = {
            "type": each.type,
            "sku": each.sku,
            "channel": each.channel,
            "source": each.source,
            "sourceVersion": each.source_version,
            "occurredAt": each.occurred_at,
            "payload": msgspec.Raw(each.payload),
        }
        lines.append(msgspec.json.encode(line))
    return b"\n".join([*lines, msgspec.json.encode({"snapshot": "end", "count": len(events)})]) + b"\n"


# --- trouble --------------------------------------------------------------------------------------


async def _letters(shop: pagefold.Shop, products: int, number: int) -> None:
    """Dead letters of the last two days; then a fifth as many that were decided."""
    skus = [sku_of(each) for each in range(0, products, max(1, products // number))]
    for decided, count in ((True, number // 5), (False, number)):
        found = dead_letters(skus, count, moment(), decided=decided)
        while batch := list(islice(found, BATCH)):
            await shop.store.dead_letters.add([each for each in batch if each.kind != "projection"])
            folded = [each for each in batch if each.kind == "projection"]
            for domain in {each.domain for each in folded}:
                async with shop.store.coordination.fold_transaction(domain) as transaction:
                    await transaction.add_dead_letters([each for each in folded if each.domain == domain])
        while decided and (open_ones := await shop.store.dead_letters.newest(limit=BATCH)):
            resolution = Resolution("discarded", now(), "ada", "an old catalogue")
            await shop.store.dead_letters.resolve_open(open_ones, resolution)


async def _audit(shop: pagefold.Shop, number: int) -> None:
    """Entries of three people; each is a durable transaction, so that some are written at once."""
    actions = ("dead-letters discard", "dead-letters retry", "releases publish", "plans refuse", "sign-in")

    async def write(numbers: range) -> None:
        for each in numbers:
            actor, action = ("ada", "bob", "eve")[each % 3], actions[each % len(actions)]
            entry = NewAuditEntry(
                now(), actor, "dashboard", action, f"ingest-{each}", "as agreed", f"pagefold {action}"
            )
            begun = await shop.store.audit.begin(entry)
            await shop.store.audit.end(begun, AuditEnd(now(), "done", None, f'{{"letters":{each % 50}}}'))

    async with anyio.create_task_group() as group:
        for first in range(CONCURRENT):
            group.start_soon(write, range(first, number, CONCURRENT))


async def _deliveries(shop: pagefold.Shop, products: int) -> None:
    """Every page waits for the target."""
    for first in range(0, products, BATCH):
        skus = [sku_of(number) for number in range(first, min(first + BATCH, products))]
        wanted = [Wanted(sku, channel, sku[-32:], 1) for sku in skus for channel in CHANNELS]
        cursor = await shop.store.deliveries.cursor(TARGET)
        await shop.store.deliveries.mark(TARGET, cursor, str(first + 1), wanted)


async def _small_things(shop: pagefold.Shop) -> None:
    """A request that waits for a worker, the ledger of fields, a day of key figures, sessions of other people."""
    await RequestService(shop).verify(100, by="ada", reason="after the import")
    await shop.store.fields.add(sightings(now()))
    for reading in await shop.kpis.readings():
        await shop.store.kpis.record(_day(reading.kpi, reading.label))
    for number in range(SESSIONS):
        digest = number.to_bytes(32)
        session = Session(digest, (number % 20).to_bytes(32), now(), format_timestamp(moment() + timedelta(hours=9)))
        await shop.store.sessions.add(session, keep=SESSIONS)


def _day(kpi: str, label: str) -> list[KpiPoint]:
    rng, last = random.Random(f"{kpi} {label}"), minute_of(moment())
    assert kpi in MEASUREMENTS
    return [KpiPoint(kpi, label, last - each, rng.random()) for each in range(HISTORY_MINUTES)]
