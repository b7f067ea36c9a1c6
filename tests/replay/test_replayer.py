"""Replays from the log, on both stores: what is repaired, what is left alone, and when one starts by itself."""

import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.lowlevel import checkpoint

import pagefold
from pagefold import Config, DomainEvent, Shop
from pagefold.domains import DOMAINS
from pagefold.engine.errors import LeaseLost
from pagefold.engine.folding.mixed_pages import fingerprints_in
from pagefold.engine.replay import replayer, section_verifier
from pagefold.engine.replay.replayer import Replayer, ReplayResult, SectionDrift
from pagefold.engine.replay.section_verifier import SectionVerifier
from pagefold.projections import Section
from tests.support.processes import eventually
from tests.support.rebuild_fixtures import CHANGES, SPOIL, Intruder, SectionKey, without_channel
from tests.support.small_shop import (
    CHANNELS,
    a_model,
    a_section,
    append,
    apply_file,
    as_document,
    assert_every_event_is_counted,
    catalog,
    media,
    pages_in,
    pages_of,
    price,
    say,
    stock,
    stream_of,
    with_channel,
)

SKUS = [f"SKU-{number:02}" for number in range(24)]
NAMES = [domain.name for domain in DOMAINS]
Replayed = tuple[ReplayResult, dict[SectionKey, SectionDrift]]


@pytest.fixture
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes replays take many transactions of a few products."""
    monkeypatch.setattr(section_verifier, "STEP_STREAMS", 20)
    monkeypatch.setattr(replayer, "MAX_TRANSACTION_SECONDS", 0.0)


def products(skus: Sequence[str] = SKUS, version: int = 1) -> list[DomainEvent]:
    """Random events of all sources, for some products."""
    sent: list[DomainEvent] = []
    for number, sku in enumerate(skus):
        sent += [catalog(f"{sku} {version}", sku=sku, version=version), stock(number, sku=sku, version=version)]
        sent += [price(f"{number}.{version:02}", sku=sku, version=version)]
        if number % 2:
            sent += [catalog(f"{sku} of the other", sku=sku, version=version, source="pim2")]
            sent += [price(f"{number}.50", currency="USD", channel="web-us", sku=sku, version=version)]
        if number % 3:
            sent += [stock(number, sku=sku, version=version, source="wms-b"), media(f"{sku}.webp", sku=sku)]
    return [each for each in sent if each.source_version == version]


def pages_under(config: Config, sent: Sequence[DomainEvent]) -> dict[tuple[str, str], bytes | None]:
    """Every page that a configuration makes of these events."""
    model = a_model(config)
    for each in sent:
        model.submit(as_document(each))
    return pages_in(model)


def table_of(shop: Shop) -> dict[SectionKey, Section]:
    """Every stored section."""
    return Intruder(shop.config.store.url).sections()


async def replayed(shop: Shop, *, write: bool = True, prefix: str = "") -> Replayed:
    """Replays every page, and returns the drift."""
    drift: list[SectionDrift] = []
    found = await shop.replay(write=write, prefix=prefix, on_drift=drift.append)
    assert len({(each.sku, each.channel, each.domain) for each in drift}) == len(drift) == found.changed
    return found, {(each.sku, each.channel, each.domain): each for each in drift}


async def test_each_damage_is_found_and_repaired(shop: Shop) -> None:
    """Verifying reports the one damaged row and leaves it; replaying restores it, and writes no other."""
    await say(shop, *products())
    intruder = Intruder(shop.config.store.url)
    whole = intruder.sections()
    for change, key in zip(SPOIL.values(), random.Random(7).sample(sorted(whole), len(SPOIL)), strict=True):
        intruder.put([change(whole[key])])
        damaged = intruder.sections()
        found, drift = await replayed(shop, write=False)
        assert (found, set(drift)) == (ReplayResult(len(whole), 1), {key})
        assert (drift[key].kind, bool(drift[key].changes)) == ("differs", True)
        others = ReplayResult(sum(each[2] != key[2] for each in whole))
        assert (await shop.verify(sample=len(SKUS))) == found == await shop.verify([key[2]], sample=99) + others
        assert intruder.sections() == damaged
        assert await replayed(shop) == (found, drift)
        assert intruder.sections() == whole


async def test_the_fields_that_drifted_are_reported(shop: Shop) -> None:
    """Changes are from stored to expected, field by field, also if the stored text is not JSON."""
    await say(shop, price("5.00", sku="A"), price("6.00", sku="B"))
    table = table_of(shop)
    key, other = ("A", "web-de", "pricing"), ("B", "web-de", "pricing")
    wrong = table[key]._replace(body=b'{"amount":"5.01","currency":"EUR"}', versions=b'{"pricing/erp":2}')
    Intruder(shop.config.store.url).put([wrong, table[other]._replace(body=b"\xff{")])
    _, drift = await replayed(shop)
    changes = {each.path: (each.before, each.after) for each in drift[key].changes}
    assert changes == {"body.amount": ("5.01", "5.00"), "sourceVersions.pricing/erp": (2, 1)}
    assert ("body", "\\xff{", None) in [(each.path, each.before, each.after) for each in drift[other].changes]


@pytest.mark.parametrize("lost", ["some", "a domain", "a product", "everything"])
async def test_rows_that_are_lost_come_back(shop: Shop, lost: str) -> None:
    """Some rows, those of a whole domain, or all."""
    await say(shop, *products())
    whole = table_of(shop)
    gone = {
        "some": lambda key: key in random.Random(7).sample(sorted(whole), 9),
        "a domain": lambda key: key[2] == "pricing",
        "a product": lambda key: key[0] == SKUS[-1],
        "everything": lambda _: True,
    }[lost]
    keys = set(filter(gone, whole))
    Intruder(shop.config.store.url).remove(keys)
    found, drift = await replayed(shop)
    assert found == ReplayResult(len(whole), len(keys))
    assert {key: each.kind for key, each in drift.items()} == dict.fromkeys(keys, "lost")
    assert table_of(shop) == whole


async def test_surplus_rows_are_removed(shop: Shop) -> None:
    """Rows of unknown channels, of domains without events, and of SKUs before, between and after all others."""
    await say(shop, *products())
    whole = table_of(shop)
    channel = whole[min(whole)].channel
    keys = [key for key in sorted(whole) if key[1] == channel][::3]  # of one channel: moved to another, none meet there
    made_up = [whole[key]._replace(channel="web-mars") for key in keys]
    made_up += [
        a_section(sku, domain=name) for sku in ("", "0", "SKU-01x", "SKU-1", "ZZ", "\U0001f9e6") for name in NAMES
    ]
    made_up += [a_section(SKUS[0], domain="media"), a_section("ONLY-MEDIA", "web-mars", "media")]
    Intruder(shop.config.store.url).put(made_up)
    found, drift = await replayed(shop)
    assert found == ReplayResult(len(whole) + len(made_up), len(made_up))
    assert {key: each.kind for key, each in drift.items()} == {row[:3]: "surplus" for row in made_up}
    assert table_of(shop) == whole


@pytest.mark.parametrize(("known", "lost", "unknown"), [(2, 0, 2), (3, 1, 2)])
async def test_no_number_of_rows_hides_another(shop: Shop, known: int, lost: int, unknown: int) -> None:
    """Surplus rows of products and of unknown SKUs, and lost ones, in numbers that cancel out."""
    await say(shop, *products())
    whole = table_of(shop)
    rows = [section for section in whole.values() if section.domain == "catalog" and section.channel == "web-us"]
    surplus = [section._replace(channel="web-mars") for section in rows[:known]]
    surplus += [section._replace(sku=f"{section.sku}?") for section in rows[:unknown]]
    Intruder(shop.config.store.url).put(surplus)
    Intruder(shop.config.store.url).remove(section[:3] for section in rows[-lost:] if lost)
    found = ReplayResult(len(whole) + known + unknown, known + lost + unknown)
    assert await shop.replay(write=False) == found == await shop.replay()
    assert table_of(shop) == whole


async def test_an_event_during_the_replay_hides_no_row(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Surplus rows of a SKU are removed even if the log gets an event of it during the replay."""
    await say(shop, *products())
    Intruder(shop.config.store.url).put([a_section("LATE", channel, "pricing") for channel in ("web-de", "web-us")])
    count = shop.store.pages.count

    async def late(domain: str) -> int:
        await shop.append([price("1.00", currency="USD", channel="web-us", sku="LATE")])
        return await count(domain)

    monkeypatch.setattr(shop.store.pages, "count", late)
    await shop.replay(["pricing"])
    await shop.catch_up()
    assert [key for key in table_of(shop) if key[0] == "LATE"] == [("LATE", "web-us", "pricing")]
    assert (await shop.verify()).changed == 0


async def test_some_domains_alone_are_repaired(shop: Shop) -> None:
    """The other domains stay as they are, drift included."""
    await say(shop, *products())
    intruder = Intruder(shop.config.store.url)
    whole = intruder.sections()
    intruder.put([section._replace(body=b"{}") for section in whole.values()])
    found = await shop.replay(["pricing", "media"])
    repaired = {key for key in whole if key[2] in ("pricing", "media")}
    assert found == ReplayResult(len(repaired), len(repaired))
    assert {key for key, section in intruder.sections().items() if section == whole[key]} == repaired


async def test_a_prefix_limits_it(shop: Shop) -> None:
    """Only SKUs with the prefix are verified, surplus ones too, also with encoded characters."""
    skus = ["A", "A/1", "A/10", "A/2", "A%", "A%/", "A0", "B", "Ä", "\ud7ff", "\uffff", "\U0001f9e6"]
    await say(shop, *products(skus))
    intruder = Intruder(shop.config.store.url)
    whole = intruder.sections()
    for prefix in [*skus, "A/1x", "SKU", "\ue000"]:
        surplus = [a_section(f"{sku}{end}", "web-mars") for sku in ("A/1", "B", "Ä", "\uffff") for end in ("", "?")]
        intruder.put([*(section._replace(body=b"{}") for section in whole.values()), *surplus])
        found, drift = await replayed(shop, prefix=prefix)
        mine = {key for key in [*whole, *(row[:3] for row in surplus)] if key[0].startswith(prefix)}
        assert (found, set(drift)) == (ReplayResult(len(mine), len(mine)), mine)
    await replayed(shop)
    assert intruder.sections() == whole


async def test_a_product_with_more_streams_than_a_step(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is folded completely, however small the steps are."""
    monkeypatch.setattr(section_verifier, "STEP_STREAMS", 2)
    sent = [*products(SKUS[:3]), *(price("1.00", channel=name, currency="EUR", sku="M") for name in ("web-de", "*"))]
    sent += [
        catalog("m", sku="M", channel=channel, source=who) for channel in (*CHANNELS, "*") for who in ("pim", "pim2")
    ]
    await say(shop, *sent)
    whole = table_of(shop)
    Intruder(shop.config.store.url).remove([*whole])
    assert await shop.replay() == ReplayResult(len(whole), len(whole))
    assert await pages_of(shop) == pages_under(shop.config, sent)


async def test_a_sample_is_of_so_many_products(shop: Shop) -> None:
    """A random sample of that size; every product if there are no more."""
    await say(shop, *(price("1.00", sku=sku) for sku in SKUS))
    Intruder(shop.config.store.url).remove([*table_of(shop)])
    for number in (0, 1, 5, len(SKUS), 1_000):
        found = min(number, len(SKUS)) * len(CHANNELS)
        assert await shop.verify(sample=number) == ReplayResult(found, found)


# --- events that are not folded yet ------------------------------------------------------------------


async def test_unfolded_events_are_no_drift(shop: Shop) -> None:
    """Events that are not folded yet: verifying counts them as behind, and replaying folds them."""
    await say(shop, *products())
    news = [*products(SKUS[:4], version=2), *products(["NEW"])]
    await append(shop, *news)
    whole = table_of(shop)
    Intruder(shop.config.store.url).remove([(SKUS[9], "web-de", "catalog"), (SKUS[1], "web-de", "catalog")])
    found, drift = await replayed(shop, write=False)
    assert (found.changed, set(drift)) == (1, {(SKUS[9], "web-de", "catalog")})
    assert found.behind > len(news)
    assert await replayed(shop) == (found, drift)
    assert await pages_of(shop) == pages_under(shop.config, [*products(), *news])
    assert table_of(shop).keys() > whole.keys()
    assert (await shop.status()).lag_events == len(news)
    await shop.catch_up()
    assert await shop.replay(write=False) == ReplayResult(len(table_of(shop)))
    await assert_every_event_is_counted(shop.store)


# --- another configuration --------------------------------------------------------------------------


async def fingerprints(shop: Shop) -> dict[str, str | None]:
    """The fingerprint with which each domain is folded."""
    return {each.domain: each.fingerprint for each in await shop.store.coordination.checkpoints()}


def fingerprints_of(config: Config) -> dict[str, str | None]:
    """The domains' fingerprints under a configuration."""
    return {domain.name: config.fingerprint(domain) for domain in DOMAINS}


async def test_a_change_of_the_configuration_reaches_every_page(config: Config) -> None:
    """`catch_up` replays the domains concerned, there and back, and stores the new fingerprints."""
    async with pagefold.open(config) as shop:
        await say(shop, *products())
    for name, change in CHANGES.items():
        changed = change(config)
        async with pagefold.open(changed) as shop:
            await apply_file(shop)
            status = {each.domain: each.configuration_changed for each in (await shop.status()).domains}
            stale = {each.name for each in DOMAINS if config.fingerprint(each) != changed.fingerprint(each)}
            assert {domain for domain, outdated in status.items() if outdated} == stale != set()
            assert (await shop.replay(write=False)).changed > 0, name
            await shop.catch_up()
            assert await fingerprints(shop) == fingerprints_of(changed)
            assert await pages_of(shop) == pages_under(changed, products()) != pages_under(config, products())
            assert await shop.replay(write=False) == ReplayResult(len(table_of(shop)))
        async with pagefold.open(config) as shop:
            await shop.catch_up()
            assert await pages_of(shop) == pages_under(config, products())
            await assert_every_event_is_counted(shop.store)


@asynccontextmanager
async def busy(shop: Shop, sent: list[DomainEvent]) -> AsyncIterator[None]:
    """A shop whose consumers fold and whose sources send. Their events are added to `sent`, and folded at the end."""
    over = anyio.Event()

    async def send() -> None:
        version = 1
        while not over.is_set():
            version += 1
            news = random.sample(products(SKUS, version), 20)
            sent.extend(news)
            await append(shop, *news)
            await anyio.sleep(0.002)

    async with anyio.create_task_group() as consumers:
        consumers.start_soon(shop.work)
        async with anyio.create_task_group() as sources:
            sources.start_soon(send)
            yield
            over.set()
        await shop.catch_up()
        consumers.cancel_scope.cancel()


@pytest.mark.usefixtures("_small_steps")
@pytest.mark.parametrize("name", ["locale", "removed"])
async def test_a_change_reaches_every_page_beside_new_events(config: Config, name: str) -> None:
    """`work` replays by itself, in many small steps, while consumers fold new events."""
    sent = products()
    async with pagefold.open(config) as shop:
        await say(shop, *sent)
    changed = CHANGES[name](config)
    async with pagefold.open(changed) as shop:
        async with busy(shop, sent):
            wanted = fingerprints_of(changed)
            while await fingerprints(shop) != wanted:
                await checkpoint()
        assert len(sent) > len(products())
        assert await pages_of(shop) == pages_under(changed, sent)
        assert await shop.replay(write=False) == ReplayResult(len(table_of(shop)))
        await assert_every_event_is_counted(shop.store)


def before_part(monkeypatch: pytest.MonkeyPatch, number: int, do: Callable[[], Awaitable[None]]) -> None:
    """Runs something before a step of the replay, counted from 0: a verification, or a transaction."""
    numbers = itertools.count()

    def interrupted(part: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        async def begin(*arguments: object, **options: object) -> object:
            if next(numbers) == number:
                await do()
            return await part(*arguments, **options)

        return begin

    monkeypatch.setattr(SectionVerifier, "verify", interrupted(SectionVerifier.verify))
    monkeypatch.setattr(Replayer, "_transaction", interrupted(Replayer._transaction))


@pytest.mark.usefixtures("_small_steps")
@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("returns", [False, True])
async def test_a_worker_that_is_stopped_in_the_middle_begins_again(
    config: Config, monkeypatch: pytest.MonkeyPatch, number: int, *, returns: bool
) -> None:
    """Cancelled during a replay, the next worker replays everything, also if it `returns` to the former settings."""
    newer = products(SKUS[-5:], version=2)
    sent, changed = [*products(), *newer], CHANGES["locale"](config)
    async with pagefold.open(config) as shop:
        await say(shop, *products())
        await append(shop, *newer)
    with anyio.CancelScope() as scope:
        async with pagefold.open(changed) as shop:

            async def stop() -> None:
                await eventually(lambda: folds_nothing(shop), "what is new, folded")
                scope.cancel()

            before_part(monkeypatch, number, stop)
            await shop.work(["catalog"])
    assert scope.cancelled_caught
    settled = config if returns else changed
    async with pagefold.open(settled) as shop:
        mixed = [fingerprints_of(each)["catalog"] for each in (config, changed)]
        assert fingerprints_in(str((await fingerprints(shop))["catalog"])) == mixed
        await shop.catch_up()
        assert await pages_of(shop) == pages_under(settled, sent)
        assert await fingerprints(shop) == fingerprints_of(settled)


async def folds_nothing(shop: Shop) -> bool:
    """Whether the catalog's consumer has reached the end of the log."""
    [found] = [each for each in (await shop.status()).domains if each.domain == "catalog"]
    return found.checkpoint == found.log_end


@pytest.mark.usefixtures("_small_steps")
async def test_a_worker_that_lost_its_lease_folds_no_page_again(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen in a replay, and replaced by a worker with a newer configuration, it changes nothing once it resumes."""
    frozen, woken = anyio.Event(), anyio.Event()
    async with pagefold.open(config) as shop:
        await say(shop, *products())
    older, newer = CHANGES["locale"](config), CHANGES["rank"](config)

    async def freeze() -> None:
        frozen.set()
        await woken.wait()

    async def go_on(old: Shop) -> None:
        with pytest.raises(LeaseLost):
            await old.catch_up(["catalog"])

    before_part(monkeypatch, 2, freeze)
    async with pagefold.open(older) as old, pagefold.open(newer) as shop, anyio.create_task_group() as group:
        group.start_soon(go_on, old)
        await frozen.wait()
        Intruder(newer.store.url).take_leases_away()
        await apply_file(shop)
        await shop.replay()
        woken.set()
    async with pagefold.open(newer) as shop:
        assert await pages_of(shop) == pages_under(newer, products())


# --- dead letters -----------------------------------------------------------------------------------


async def test_dead_letters_follow_the_configuration(config: Config) -> None:
    """Prices that no longer fit their channel become dead letters in a replay, and are resolved when they fit."""
    own = [price("3.00", currency="EUR", channel="web-de", sku=sku) for sku in SKUS]
    async with pagefold.open(config) as shop:
        await say(shop, *products(), *own)
        before = await pages_of(shop)
    async with pagefold.open(with_channel(config, "web-de", currency="USD")) as shop:
        await shop.catch_up()
        dead_letters = await shop.dead_letters.newest()
        assert {dead_letter.originator_id for dead_letter in dead_letters} == set(map(stream_of, own))
        assert {dead_letter.error for dead_letter in dead_letters} == {
            "the price is in EUR, the channel's currency is USD"
        }
        numbers = sorted(dead_letter.number for dead_letter in dead_letters)
        await shop.replay()
        assert sorted(dead_letter.number for dead_letter in await shop.dead_letters.newest()) == numbers
        await shop.replay(write=False)
        await say(shop, price("4.00", currency="USD", channel="web-de", sku=SKUS[0], version=2))
        assert len(await shop.dead_letters.newest()) == len(own) - 1
    async with pagefold.open(config) as shop:
        await shop.replay(write=False)
        assert len(await shop.dead_letters.newest()) == len(own) - 1
        await shop.catch_up()
        [dead_letter] = await shop.dead_letters.newest()
        assert (dead_letter.originator_id, dead_letter.originator_version) == (stream_of(own[0]), 2)
        assert await pages_of(shop) == before
        await assert_every_event_is_counted(shop.store)


async def test_dead_letters_of_a_removed_channel_are_resolved(config: Config) -> None:
    """Dead letters that a channel caused are resolved when the channel is removed."""
    async with pagefold.open(config) as shop:
        await say(shop, *products(), price("3.00", currency="EUR", channel="outlet-de", sku=SKUS[0]))
    async with pagefold.open(with_channel(config, "outlet-de", currency="USD")) as shop:
        await shop.catch_up()
        assert len(await shop.dead_letters.newest()) == 1
    async with pagefold.open(without_channel(config, "outlet-de")) as shop:
        await shop.catch_up()
        assert await shop.dead_letters.newest() == []


# --- beside consumers -------------------------------------------------------------------------------


@pytest.mark.usefixtures("_small_steps")
async def test_pages_folded_again_and_again_beside_consumers(shop: Shop) -> None:
    """No older state is written, nothing is reported that has not drifted, and in the end every page is right."""
    sent = products()
    await say(shop, *sent)
    seen: dict[tuple[str, str], Mapping[str, int]] = {}

    async def watch(storefront: Shop) -> None:
        while True:
            for key in [(sku, channel) for sku in SKUS for channel in CHANNELS]:
                page = await storefront.pages.get(*key, disabled=True)
                assert page is not None
                before = seen.get(key, {})
                assert all(page.source_versions[source] >= version for source, version in before.items())
                seen[key] = page.source_versions
                await checkpoint()

    async with pagefold.open(shop.config) as other, busy(shop, sent), anyio.create_task_group() as group:
        group.start_soon(watch, other)
        for rounds in range(4):
            found = await other.replay(write=rounds % 3 > 0)
            assert found.changed == 0
        group.cancel_scope.cancel()
    assert await pages_of(shop) == pages_under(shop.config, sent)
    assert await shop.replay(write=False) == ReplayResult(len(table_of(shop)))
    await assert_every_event_is_counted(shop.store)
