"""Releases on both stores: they count nowhere until they are published, then above all, and leave no trace."""

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

import anyio
import msgspec
import pytest

import pagefold
from pagefold import Config, DomainEvent, Shop
from pagefold.domains.values import format_timestamp
from pagefold.engine.demo.reference_model import Model
from pagefold.engine.errors import InvalidRelease, InvalidTokenRequest, Rejected
from pagefold.engine.plans.page_changes import PageChange
from pagefold.engine.plans.planner import PlannedRange
from pagefold.engine.plans.saved_plan import SavedPlan
from pagefold.engine.releases.release_log import TOPIC, ReleaseRecord
from pagefold.engine.runtime.clock import moment
from pagefold.engine.stores.event_state import EncodedEvent
from tests.support.processes import eventually
from tests.support.small_shop import (
    append,
    as_document,
    catalog,
    configured,
    document,
    event,
    media,
    pages_of,
    price,
    say,
    section,
    stock,
)

SUMMER, WINTER = "release/summer", "release/winter"
SKUS = ["A", "B", "C"]
WHO = {"by": "ada", "reason": "a test"}

Pages = Mapping[tuple[str, str], bytes | None]


def products() -> list[DomainEvent]:
    """Three products of several sources."""
    said: list[DomainEvent] = []
    for sku in SKUS:
        said += [catalog(f"{sku}1", sku=sku), price("19.90", sku=sku), stock(3, sku=sku), media("a.webp", sku=sku)]
    return [*said, catalog("other", sku="B", source="pim2"), price("9.00", currency="USD", channel="web-us", sku="A")]


def summer() -> list[DomainEvent]:
    """What the release says: a name, a price in one channel, a picture, and a new product."""
    return [
        event("catalog", {"localized": {"name": {"de": "Sommer"}}}, sku="A", source=SUMMER),
        event("pricing", {"currency": "EUR", "amount": "15.00"}, sku="A", channel="web-de", source=SUMMER),
        event("media", {"assets": [{"url": "summer.webp"}]}, sku="B", source=SUMMER),
        event("catalog", {"attributes": {"code": "new"}}, sku="NEW", source=SUMMER),
    ]


def model_with(config: Config, *releases: str) -> Model:
    """The independent model of a shop in which releases are sources like any other, above all."""
    tables = document(config.store.url)
    tables["sources"] = {name: {"domains": ["catalog", "pricing", "media"]} for name in releases} | tables["sources"]
    for channel in tables["channels"].values():
        own = channel.get("sources", {})
        channel["sources"] = {
            domain: [*(releases if names else ()), *names] if domain in ("catalog", "pricing", "media") else names
            for domain, names in own.items()
        }
    return Model(tables)


def expected(config: Config, *releases: str) -> Pages:
    """The pages that the model makes of all events."""
    model = model_with(config, *releases)
    for each in [*products(), *(summer() if releases else ())]:
        assert model.submit(as_document(each)) == "appended"
    return {key: model.page(*key, disabled=True) for key in model.pages()}


@pytest.fixture
async def prepared(config: Config, shop: Shop) -> Shop:
    """The shop with a release that is not published."""
    await say(shop, *products())
    await shop.releases.create("summer", **WHO)
    await say(shop, *summer())
    return shop


async def test_a_draft_counts_nowhere(prepared: Shop) -> None:
    """Its events are in the log, and every page is as it would be without them."""
    assert await pages_of(prepared) == expected(prepared.config)
    assert (await prepared.verify()).changed == 0
    assert [(each.state, each.release.name) for each in await prepared.releases.all()] == [("draft", "summer")]
    content = await prepared.releases.content("summer")
    assert (content.skus, content.statements) == (3, {"catalog": 2, "pricing": 1, "media": 1})
    assert (await prepared.status()).unknown == []


async def test_a_published_release_counts_above_all(prepared: Shop) -> None:
    """Its pages are those of a source above all others, in channels that use the domain; also in other processes."""
    applied = await prepared.releases.publish("summer", **WHO)
    assert applied.record.settings.releases == ["summer"]
    await prepared.catch_up()
    pages = await pages_of(prepared)
    assert pages == expected(prepared.config, SUMMER)
    assert (await section(prepared, "pricing", sku="A"))["amount"] == "15.00"
    assert (await section(prepared, "catalog", sku="A"))["attributes"] == {"code": "A1", "name": "Sommer"}
    assert (await prepared.verify(processes=2)).changed == 0
    assert await prepared.pages.get("NEW", "web-de") is not None
    async with pagefold.open(prepared.config) as again:
        await again.catch_up()
        assert not again.applied.is_held, "a file says nothing of releases"
        assert await pages_of(again) == pages


async def test_a_rollback_is_exact(prepared: Shop) -> None:
    """Pages have the bytes that they had; a page that only the release made is gone."""
    before = await pages_of(prepared)
    await prepared.releases.publish("summer", **WHO)
    await prepared.catch_up()
    assert await pages_of(prepared) != before
    await prepared.releases.roll_back("summer", **WHO)
    await prepared.catch_up()
    assert {key: page for key, page in (await pages_of(prepared)).items() if page is not None} == before
    with pytest.raises(InvalidRelease, match="is not published"):
        await prepared.releases.roll_back("summer", **WHO)


async def test_the_difference_is_what_publishing_changes(prepared: Shop) -> None:
    """Exactly those pages, and after that exactly those that a rollback changes."""
    before = await pages_of(prepared)
    saved, named = await planned_of(prepared, "summer")
    await prepared.releases.publish("summer", **WHO)
    await prepared.catch_up()
    after = await pages_of(prepared)
    assert {(each.sku, each.channel) for each in named} == changed(before, after)
    assert saved.plan.changed == len(named) > 0
    back, _ = await planned_of(prepared, "summer")
    assert back.plan.changed == saved.plan.changed


async def planned_of(shop: Shop, name: str) -> tuple[SavedPlan, list[PageChange]]:
    """What publishing or rolling back would change, and every page that it names."""
    changes: list[PageChange] = []

    def keep(part: PlannedRange) -> None:
        changes.extend(part.changes)

    return await shop.releases.plan(name, on_planned=keep, every_change=True), changes


def changed(before: Pages, after: Pages) -> set[tuple[str, str]]:
    """The pages that differ."""
    return {key for key in {*before, *after} if before.get(key) != after.get(key)}


async def test_the_later_release_is_above_the_earlier(shop: Shop) -> None:
    """Publishing one again puts it on top."""
    await say(shop, *products())
    for name in ("summer", "winter"):
        await shop.releases.create(name, **WHO)
    for source, amount in ((SUMMER, "15.00"), (WINTER, "12.00")):
        await append(shop, event("pricing", {"currency": "EUR", "amount": amount}, sku="A", source=source))
    amounts: list[str] = []
    for change in (shop.releases.publish, shop.releases.roll_back, shop.releases.publish):
        await change("summer", **WHO)
        if not amounts:
            await shop.releases.publish("winter", **WHO)
        await shop.catch_up()
        amounts.append((await section(shop, "pricing", sku="A"))["amount"])
    assert shop.applied.config.releases == ("summer", "winter")
    assert amounts == ["12.00", "12.00", "15.00"]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (event("catalog", {}, source="release/unknown"), "there is no release 'unknown'"),
        (event("inventory", {"available": 1}, source=SUMMER), "may not write the domain inventory"),
        (event("catalog", {}, source="release/no/such"), "unknown source 'release/no/such'"),
        (event("catalog", {}, source="release/"), "unknown source 'release/'"),
        (event("catalog", {}, source=SUMMER, channel="nowhere"), "unknown channel"),
    ],
)
async def test_what_a_release_may_not_say(prepared: Shop, sent: DomainEvent, reason: str) -> None:
    """Unknown releases, stock, and other names are rejected."""
    [result] = await prepared.append([sent])
    assert (result.outcome, reason in str(result.reason)) == ("rejected", True), result


async def test_a_release_of_another_process_is_known_soon(shop: Shop, config: Config) -> None:
    """A process that follows accepts its events within a second or two, and one that is opened at once."""
    async with pagefold.open(config) as other, anyio.create_task_group() as group:
        group.start_soon(other.follow)
        await shop.releases.create("summer", **WHO)

        async def accepted() -> bool:
            return (await other.append(summer()[:1]))[0].outcome == "appended"

        await eventually(accepted, "the release is known")
        group.cancel_scope.cancel()
    async with pagefold.open(config) as late:
        assert (await late.append(summer()[:1]))[0].outcome == "duplicate"


async def test_a_token_of_a_release(prepared: Shop) -> None:
    """It may write for that release and for nothing else."""
    secret, token = await prepared.tokens.create(["ingest"], source=SUMMER, label="the agency")
    assert (token.source, bool(secret)) == (SUMMER, True)
    with pytest.raises(InvalidTokenRequest, match="unknown source 'release/'"):
        await prepared.tokens.create(["ingest"], source="release/", label="nobody")


@pytest.mark.parametrize("name", ["summer", "", "a/b", "a b", "ü", "x" * 65])
async def test_names_that_a_release_cannot_have(prepared: Shop, name: str) -> None:
    """Names that exist, are empty, too long, or have other characters."""
    with pytest.raises(InvalidRelease):
        await prepared.releases.create(name, **WHO)


async def test_what_is_scheduled_happens_once_in_time(prepared: Shop, config: Config) -> None:
    """It is published and rolled back by workers, of which several try; each decision is one event."""
    before = await pages_of(prepared)
    at = moment() + timedelta(seconds=1.5)
    await prepared.releases.schedule("summer", at, at + timedelta(seconds=2.5), by="kim", reason="the sale")
    async with pagefold.open(config) as other, anyio.create_task_group() as group:
        for each in (prepared, other):
            group.start_soon(each.work)
        assert (await prepared.releases.get("summer")).state == "scheduled"

        async def is_published() -> bool:
            return "NEW" in {sku for sku, _ in await pages_of(prepared)}

        await eventually(is_published, "it is published")
        assert moment() >= at
        assert (await prepared.releases.get("summer")).state == "published"

        async def is_rolled_back() -> bool:
            status = await prepared.releases.get("summer")
            return status.state == "draft" and await prepared.pages.get("NEW", "web-de") is None

        await eventually(is_rolled_back, "it is rolled back")
        group.cancel_scope.cancel()
    await prepared.catch_up()
    assert {key: page for key, page in (await pages_of(prepared)).items() if page is not None} == before
    decided = [(each.record.by, each.record.settings.releases) for each in await prepared.applied.log.list(10)]
    assert decided[:2] == [("kim", []), ("kim", ["summer"])]
    assert len(decided) == 3


async def test_a_schedule_that_was_due_while_nothing_ran(prepared: Shop) -> None:
    """It is done at the next start, in order; a rollback by a person ends it."""
    past = moment() - timedelta(seconds=5)
    record = ReleaseRecord(
        "scheduled", "summer", "kim", "the sale", "2026-01-01T00:00:00.000000Z", format_timestamp(past)
    )
    await insert_record(prepared, record)
    await prepared.catch_up()
    assert (await prepared.releases.get("summer")).state == "published"
    await prepared.releases.roll_back("summer", **WHO)
    await prepared.catch_up()
    assert (await prepared.releases.get("summer")).state == "draft"


async def test_a_schedule_of_which_all_is_past(prepared: Shop) -> None:
    """What should have been published and rolled back while nothing ran is never shown, and is done with."""
    past = [format_timestamp(moment() - timedelta(seconds=seconds)) for seconds in (9, 5)]
    await insert_record(prepared, ReleaseRecord("scheduled", "summer", "kim", "the sale", past[0], *past))
    before = await prepared.applied.log.list(10)
    await prepared.releases.apply_due()
    assert await prepared.applied.log.list(10) == before
    status = await prepared.releases.get("summer")
    assert (status.state, status.release.publish_at, status.release.roll_back_at) == ("draft", None, None)


async def insert_record(shop: Shop, record: ReleaseRecord) -> None:
    """Appends a decision that nobody could make now."""
    [number] = (await shop.store.log.newest_versions([TOPIC])).values()
    await shop.store.log.insert([EncodedEvent(TOPIC, number + 1, TOPIC, msgspec.json.encode(record), b"")])


async def test_times_that_cannot_be(prepared: Shop) -> None:
    """Past ones, those in the wrong order, without a zone; and people without a name."""
    soon = moment() + timedelta(hours=1)
    for at, until, problem in (
        (moment() - timedelta(hours=1), None, "is past"),
        (soon, soon, "is not after"),
        (soon.replace(tzinfo=None), None, "needs its offset"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), None, "outside the years"),
    ):
        with pytest.raises(InvalidRelease, match=problem):
            await prepared.releases.schedule("summer", at, until, **WHO)
    with pytest.raises(Rejected, match="operator"):
        await prepared.releases.schedule("summer", soon, by=" ", reason="x")
    with pytest.raises(InvalidRelease, match="no release 'winter'"):
        await prepared.releases.publish("winter", **WHO)


async def test_a_changed_file_keeps_releases(prepared: Shop, config: Config) -> None:
    """A start with another file applies it, and published releases count as before."""
    await prepared.releases.publish("summer", **WHO)
    await prepared.catch_up()
    other = configured(config.store.url, channels={"web-de": {"locale": "de-DE", "currency": "EUR"}})
    async with pagefold.open(other) as changed_shop:
        await changed_shop.catch_up()
        assert changed_shop.applied.config.releases == ("summer",)
        assert (await section(changed_shop, "pricing", sku="A"))["amount"] == "15.00"
        assert (await changed_shop.verify()).changed == 0
