"""Pages that keep an older version while the newest is incomplete, on both stores, against a plain model."""

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pagefold
from pagefold import Config, DomainEvent, Shop
from pagefold.domains import DOMAINS
from pagefold.domains.catalog import Catalog
from pagefold.engine.folding import older_versions
from pagefold.engine.stores.log_records import CorrectionEvent, StoredEvent
from pagefold.projections import DecodedEvent, DomainFold, KeptPages
from tests.support.small_shop import (
    CHANNELS,
    MOMENT,
    Document,
    append,
    apply_file,
    document,
    event,
    pages_of,
    say,
    section,
    stream_of,
)

REQUIREMENTS: Document = {
    "name": "shop",
    "requires": [{"attributes": ["name"]}, {"attributes": ["care"], "severity": "warns"}],
}


def keeping(url: str, **more: object) -> Config:
    """The small shop, with two channels that keep pages; in the first, the sources are ranked."""
    tables = document(url, work={"poll_seconds": 0.05})
    keeps: Document = {"requirements": [REQUIREMENTS], "incomplete": "keep", **more}
    tables["channels"]["web-de"] |= keeps | {"sources": {"catalog": ["pim", "pim2"]}}
    tables["channels"]["outlet-de"] |= keeps
    return Config.parse(tables, store=url)


def product(
    version: int, name: str | None, *, source: str = "pim", channel: str = "*", sku: str = "TEE", **more: object
) -> DomainEvent:
    """A version of a product, complete if it has a name."""
    attributes = {"number": version} | ({} if name is None else {"name": name})
    payload = {"attributes": attributes, **more}
    return event("catalog", payload, version=version, source=source, channel=channel, sku=sku)


@pytest.fixture
async def shop(store_url: str) -> AsyncIterator[Shop]:
    """A shop whose first channel keeps pages."""
    async with pagefold.open(keeping(store_url)) as opened:
        yield opened


async def test_an_incomplete_version_is_held_back(shop: Shop) -> None:
    """The page stays as it was, and says so; where incomplete pages are shown, it does not."""
    await say(shop, product(1, "one"), product(2, "two"))
    before = await shop.pages.get("TEE", "web-de")
    await say(shop, product(3, None), product(4, " "))
    page = await shop.pages.get("TEE", "web-de")
    assert before is not None
    assert page is not None
    assert page.sections["catalog"] == {**(before.sections["catalog"] or {}), "kept": True}
    assert (page.source_versions, page.updated_at) == (before.source_versions, before.updated_at)
    assert page.readiness["catalog"]
    assert (await section(shop, "catalog", "market-at", sku="TEE"))["attributes"] == {"number": 4, "name": " "}
    assert (await shop.verify()).changed == 0
    await say(shop, product(5, "five"))
    assert "kept" not in await section(shop, "catalog", sku="TEE")
    assert (await section(shop, "catalog", sku="TEE"))["attributes"]["number"] == 5


async def test_a_page_without_a_complete_version_is_hidden(shop: Shop) -> None:
    """It may come tomorrow; a late event that is complete shows it."""
    await say(shop, product(3, None))
    assert await shop.pages.get("TEE", "web-de") is None
    await say(shop, product(1, "late"))
    assert (await section(shop, "catalog", sku="TEE"))["attributes"]["number"] == 1
    await say(shop, product(2, "later"))
    assert (await section(shop, "catalog", sku="TEE"))["attributes"]["number"] == 2


async def test_a_withdrawal_ends_what_is_kept(shop: Shop) -> None:
    """What came before it belongs to a record that is gone; a version that the source disables is only passed over."""
    await say(shop, product(1, "one"), event("catalog", None, sku="TEE", version=2), product(3, None))
    assert await shop.pages.get("TEE", "web-de") is None
    await say(shop, product(4, "four"), product(5, "five", enabled=False), product(6, None))
    assert (await section(shop, "catalog", sku="TEE"))["attributes"]["number"] == 4
    await say(shop, product(7, None, enabled=False))
    assert await shop.pages.get("TEE", "web-de") is None


async def test_only_the_first_source_is_asked(shop: Shop) -> None:
    """The other one completes a page while it is complete, and never an older version."""
    await say(shop, product(1, "one"), product(2, None), product(1, "other", source="pim2"))
    assert (await section(shop, "catalog", sku="TEE"))["attributes"] == {"number": 2, "name": "other"}
    await say(shop, product(2, None, source="pim2"))
    assert (await section(shop, "catalog", sku="TEE"))["attributes"] == {"number": 1, "name": "one"}
    page = await shop.pages.get("TEE", "web-de")
    assert page is not None
    assert page.source_versions == {"catalog/pim": 1}


async def test_the_event_for_the_channel_counts_before_that_for_all(shop: Shop) -> None:
    """Its versions are tried, and no others."""
    await say(shop, product(1, "all"), product(1, "own", channel="web-de"), product(2, None, channel="web-de"))
    assert (await section(shop, "catalog", sku="TEE"))["attributes"]["name"] == "own"
    assert (await section(shop, "catalog", "outlet-de", sku="TEE"))["attributes"]["name"] == "all"


async def test_each_channel_keeps_what_is_complete_there(store_url: str) -> None:
    """Two channels ask one stream for different things, and a third shows what came last."""
    tables = msgspec.to_builtins(keeping(store_url))
    tables["channels"]["outlet-de"]["requirements"] = [{"name": "gtin", "requires": [{"attributes": ["gtin"]}]}]
    async with pagefold.open(Config.parse(tables, store=store_url)) as shop:
        await say(shop, product(1, "one"), event("catalog", {"attributes": {"gtin": "1"}}, sku="TEE", version=2))
        await say(shop, product(3, "three"), product(4, None))
        shown = [(await section(shop, "catalog", name, sku="TEE"))["attributes"] for name in CHANNELS[:2]]
        assert shown == [{"number": 3, "name": "three"}, {"number": 4}]
        assert (await section(shop, "catalog", "outlet-de", sku="TEE"))["attributes"] == {"gtin": "1"}


async def test_a_filter_sees_the_newest_version(store_url: str) -> None:
    """A product that is moved away is not kept; and no version is kept that the filter hides."""
    config = keeping(store_url, filters={"clothing": {"only": {"@family": ["clothing"]}}})
    async with pagefold.open(config) as shop:
        await say(shop, product(1, "one", family="clothing"), product(2, "two", family="mugs"))
        await say(shop, product(3, None, family="clothing"))
        assert (await section(shop, "catalog", sku="TEE"))["attributes"]["number"] == 1
        await say(shop, product(4, None, family="mugs"))
        assert await shop.pages.get("TEE", "web-de") is None


async def correct(shop: Shop, given: DomainEvent, name: str | None) -> None:
    """A correction of a version: the next revision, with another name."""
    payload = msgspec.json.encode({"attributes": {"number": 0} | ({} if name is None else {"name": name})})
    moment = MOMENT.encode()
    state = b'{"id":"x","occurredAt":"%b","recordedAt":"%b","payload":%b}' % (moment, moment, payload)
    correction = CorrectionEvent(stream_of(given), given.source_version, 1, "catalog", state)
    assert None not in await shop.store.log.correct([correction])
    await shop.catch_up()


async def test_a_corrected_version_counts_as_corrected(shop: Shop) -> None:
    """Of each version, the last revision: what it replaced is not kept."""
    await say(shop, product(1, "one"), product(2, "wrong"), product(3, None))
    assert (await section(shop, "catalog", sku="TEE"))["attributes"]["name"] == "wrong"
    await correct(shop, product(2, "wrong"), None)
    assert (await section(shop, "catalog", sku="TEE"))["attributes"]["name"] == "one"
    await correct(shop, product(3, None), "right")
    assert (await section(shop, "catalog", sku="TEE"))["attributes"] == {"number": 0, "name": "right"}


async def test_what_cannot_be_folded_is_passed_over(shop: Shop) -> None:
    """As the head, and before it."""
    bad = [CorrectionEvent("TEE/*/catalog/pim", version, 0, "catalog", b"{}") for version in (3, 5)]
    await say(shop, product(1, "one"), product(2, None))
    await shop.store.log.correct(bad)
    await say(shop, product(4, None))
    assert (await section(shop, "catalog", sku="TEE"))["attributes"]["number"] == 1
    assert [each.originator_version for each in await shop.dead_letters.newest()] == [5]
    assert (await shop.verify()).changed == 0


async def test_not_all_versions_are_looked_at(shop: Shop, store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many, only the newest, in batches that grow to a limit; a version that is too old is not kept."""
    await append(shop, product(1, "one"), *[product(version, None) for version in range(2, 300)])
    limits: list[int] = []
    older_events = shop.store.log.older_events

    async def counted(event: StoredEvent, limit: int) -> list[StoredEvent]:
        limits.append(limit)
        return await older_events(event, limit)

    monkeypatch.setattr(shop.store.log, "older_events", counted)
    await shop.catch_up()
    assert (await section(shop, "catalog", sku="TEE"))["attributes"]["number"] == 1
    assert limits == [4, 16, 50, 50, 50, 50, 50, 50]
    monkeypatch.setattr(older_versions, "MAX_OLDER_VERSIONS", 100)
    assert (await shop.replay()).changed > 0
    assert await shop.pages.get("TEE", "web-de") is None
    monkeypatch.setattr(older_versions, "MAX_BATCH_BYTES", 1)
    limits.clear()
    await shop.verify()
    assert limits[:3] == [4, 1, 1]


async def test_many_products_are_looked_at_together(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what needs more than a first batch, or has large events, is read product by product: the pages are equal."""
    skus = [f"S{number:03}" for number in range(300)]
    await append(shop, *[product(1, f"one {sku}", sku=sku) for sku in skus])
    await append(shop, *[product(2, None, sku=sku) for sku in skus[:-1]])
    await append(shop, *[product(3 + more, None, sku="S007") for more in range(6)])
    await append(shop, product(3, "x" * older_versions.MAX_STATE_BYTES, sku="S008"), product(4, None, sku="S008"))
    await append(shop, event("catalog", None, sku="S009", version=3), product(4, None, sku="S009"))
    await shop.catch_up()
    read: list[str] = []
    older_events = shop.store.log.older_events

    async def counted(head: StoredEvent, limit: int) -> list[StoredEvent]:
        read.append(head.originator_id.partition("/")[0])
        return await older_events(head, limit)

    monkeypatch.setattr(shop.store.log, "older_events", counted)
    assert (await shop.verify()).changed == 0
    assert sorted(set(read)) == ["S007", "S008"]
    monkeypatch.setattr(older_versions, "CHUNK_SKUS", 1)
    assert (await shop.verify()).changed == 0
    assert len(set(read)) == len(skus) - 1
    shown = [(await section(shop, "catalog", sku=sku))["attributes"]["number"] for sku in ("S000", "S007", "S008")]
    assert shown == [1, 1, 3]
    assert await shop.pages.get("S009", "web-de") is None


async def test_a_late_version_is_no_drift(shop: Shop) -> None:
    """Until its consumer has folded it, verify says that the page waits for it."""
    await say(shop, product(1, "one"), product(3, None))
    await append(shop, product(2, "two"))
    found = await shop.verify()
    assert (found.changed, found.behind) == (0, 2)
    await shop.catch_up()
    assert (await shop.verify()).behind == 0


async def test_kept_pages_are_counted_as_what_they_hold_back(store_url: str, shop: Shop) -> None:
    """The completeness of a channel is that of the newest versions, whatever becomes of incomplete pages."""
    await say(shop, product(1, "one", sku="A"), product(2, None, sku="A"), product(1, "one", sku="B"))
    kept = await shop.completeness.report("web-de")
    assert (kept.pages, kept.blocked, kept.attributes[0].attribute) == (2, 1, "name")
    assert [page.sku async for page in shop.completeness.lacking("web-de", "name")] == ["A"]


async def test_a_changed_policy_is_planned_and_applied(store_url: str) -> None:
    """From `show` to `keep` and back: the plan names what changes, and pages are those of a shop that was always so."""
    async with pagefold.open(keeping(store_url, incomplete="show")) as shop:
        await say(shop, product(1, "one", sku="A"), product(2, None, sku="A"), product(1, "one", sku="B"))
        before = await pages_of(shop)
    async with pagefold.open(keeping(store_url)) as shop:
        saved = await shop.plan()
        assert {(each.sku, each.channel) for each in saved.plan.samples} == {("A", "web-de"), ("A", "outlet-de")}
        await apply_file(shop)
        await shop.catch_up()
        assert (await section(shop, "catalog", sku="A"))["attributes"]["number"] == 1
        assert (await shop.verify()).changed == 0
    async with pagefold.open(keeping(store_url, incomplete="show")) as shop:
        await apply_file(shop)
        await shop.catch_up()
        assert await pages_of(shop) == before


# --- against a model ------------------------------------------------------------------------------

RANKED = {"web-de": ["pim", "pim2"], "outlet-de": ["pim"]}


class Version(NamedTuple):
    """One version of one stream: its attributes; None if it withdraws. `name` completes it."""

    sku: str
    channel: str
    source: str
    version: int
    name: str | None
    enabled: bool = True
    withdrawn: bool = False

    def event(self) -> DomainEvent:
        """The event that sends it."""
        if self.withdrawn:
            return event("catalog", None, version=self.version, source=self.source, channel=self.channel, sku=self.sku)
        more = {} if self.enabled else {"enabled": False}
        return product(self.version, self.name, source=self.source, channel=self.channel, sku=self.sku, **more)

    @property
    def attributes(self) -> Document:
        """What it says of the product."""
        return {"number": self.version} | ({} if self.name is None else {"name": self.name})


def expected(versions: Sequence[Version], channel: str) -> Document | None:
    """The model: the attributes that a channel shows of a product, and whether they are kept."""
    counting: list[list[Version]] = []  # of each source, the stream that counts, newest first
    for source in RANKED[channel]:
        for place in (channel, "*"):
            own = [each for each in versions if (each.source, each.channel) == (source, place)]
            own.sort(key=lambda each: -each.version)
            if own and not own[0].withdrawn:
                counting.append(own)
                break
    shown: Document = {}
    for stream in counting:
        shown = stream[0].attributes | shown
    if not counting or not all(stream[0].enabled for stream in counting):
        return None
    if "name" in shown:
        return shown
    for each in counting[0][1:]:
        if each.withdrawn:
            return None
        if each.enabled and each.name is not None:
            return {**each.attributes, "kept": True}
    return None


def versions_of(luck: random.Random, sku: str) -> list[Version]:
    """Some versions of some streams of a product."""
    found: list[Version] = []
    for source, channel in (("pim", "*"), ("pim", "web-de"), ("pim2", "*")):
        if luck.random() < 0.6:
            for version in range(1, luck.randrange(2, 9)):
                kind = luck.random()
                name = f"{source} {version}" if kind < 0.3 else None
                found.append(Version(sku, channel, source, version, name, kind < 0.9, kind > 0.95))
    return found


async def shown(shop: Shop, sku: str, channel: str) -> Document | None:
    """What a page shows, as the model has it."""
    page = await shop.pages.get(sku, channel)
    if page is None:
        return None
    found = page.sections["catalog"]
    assert found is not None
    assert page.readiness["catalog"]
    return {**found["attributes"], **({"kept": True} if "kept" in found else {})}


@pytest.mark.parametrize("seed", range(3))
async def test_pages_are_those_of_the_model(store_url: str, seed: int) -> None:
    """In any order of arrival, with duplicates, in any windows; and verify, replay and another batch find the same."""
    luck = random.Random(seed)
    products = {f"SKU-{number}": versions_of(luck, f"SKU-{number}") for number in range(40)}
    events = [each for versions in products.values() for each in versions]
    events += luck.sample(events, 20)
    luck.shuffle(events)
    wanted = {(sku, channel): expected(versions, channel) for sku, versions in products.items() for channel in RANKED}
    assert sum(1 for each in wanted.values() if each is not None and "kept" in each) > 5
    async with pagefold.open(keeping(store_url)) as shop:
        while events:
            await shop.append([each.event() for each in events[:40]])
            del events[:40]
            if luck.random() < 0.5:
                await shop.catch_up()
        await shop.catch_up()
        assert {key: await shown(shop, *key) for key in wanted} == wanted
        assert (await shop.verify(processes=2)).changed == 0
        assert (await shop.replay()).changed == 0


STREAM = st.lists(st.sampled_from(["full", "empty", "off", "gone"]), min_size=1, max_size=8)
STREAMS = st.dictionaries(st.sampled_from([("pim", "*"), ("pim", "web-de"), ("pim2", "*")]), STREAM, min_size=1)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(STREAMS, st.data())
def test_the_pure_fold_is_the_model(streams: Mapping[tuple[str, str], Sequence[str]], data: st.DataObject) -> None:
    """However many older versions are added at a time."""
    versions = [
        Version("A", channel, source, number, "x" if kind in {"full", "off"} else None, kind != "off", kind == "gone")
        for (source, channel), kinds in streams.items()
        for number, kind in enumerate(kinds, 1)
    ]
    by_suffix: dict[str, list[DecodedEvent]] = {}
    for each in sorted(versions, key=lambda each: -each.version):
        payload = None if each.withdrawn else Catalog(attributes=each.attributes, enabled=each.enabled)
        by_suffix.setdefault(f"/{each.channel}/catalog/{each.source}", []).append(
            DecodedEvent(MOMENT, MOMENT, payload, each.version)
        )
    fold = DomainFold(DOMAINS[0], keeping("sqlite:///nowhere").resolved_channels)
    try:
        found = fold.fold("A", {suffix: events[0] for suffix, events in by_suffix.items()})
    except KeptPages as pages:
        while (suffix := pages.needs) is not None:
            rest = by_suffix[suffix]
            number = data.draw(st.integers(1, 3))
            pages.add(rest[1 : 1 + number])
            del rest[1 : 1 + number]
        found = pages.sections()
    sections = {each.channel: each for each in found.sections()}
    for channel in RANKED:
        body = sections[channel].body if channel in sections else None
        got = None if body is None else msgspec.json.decode(body)
        if got is not None:
            got = got["attributes"] | ({"kept": True} if "kept" in got else {})
        assert got == expected(versions, channel)
