"""Epochs: which one an event enters, who raises them, and that nothing enters a past one; on both stores."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest

import pagefold
from pagefold import Config, DomainEvent, Rejected, Shop, StoreUnavailable
from pagefold.engine.errors import InvalidEpochRequest
from pagefold.engine.intake.epoch_registry import EpochRegistry, KnownEpochs
from pagefold.engine.stores.epoch_fence import EPOCHS, EpochsMoved, Fence
from pagefold.engine.stores.log_records import CorrectionEvent
from pagefold.engine.stores.store import Store
from pagefold.projections.epochs import MAX_EPOCH, MAX_NAMED_EPOCH, describe_version, epoch_of, version_of, versioned
from tests.support.small_shop import (
    SKU,
    Raw,
    append,
    event,
    everything,
    price,
    say,
    section,
    stock,
    stream_of,
    withdrawn,
)

LAST = 2**53 - 1
"""The highest version."""


@pytest.fixture
async def other(shop: Shop, config: Config) -> AsyncIterator[Shop]:
    """Another process: a shop with its own connections and caches."""
    async with pagefold.open(config, create=False) as another:
        yield another


def in_epoch(epoch: int | None, given: DomainEvent) -> DomainEvent:
    """The event with an epoch."""
    return msgspec.structs.replace(given, epoch=epoch)


def last_price(amount: str) -> DomainEvent:
    """A price at the highest version."""
    return msgspec.structs.replace(price(amount), source_version=LAST)


async def head(shop: Shop, given: DomainEvent) -> tuple[int, int]:
    """Epoch and version of the newest event in the stream of another event."""
    [newest] = await shop.store.log.heads([stream_of(given)])
    return epoch_of(newest.originator_version), version_of(newest.originator_version)


async def raised(shop: Shop, scope: str, epoch: int | None = None) -> int:
    """Raises an epoch, as an operator does."""
    return (await shop.epochs.raise_epoch(scope, reason="restored", operator="kim", epoch=epoch)).epoch


# --- numbers --------------------------------------------------------------------------------------


def test_a_version_has_its_epoch_above_it() -> None:
    """They sort as (epoch, version), fit into a signed 64-bit integer, and can be separated again."""
    pairs = [(0, 0), (0, LAST), (1, 0), (1, 5), (MAX_EPOCH, 0), (MAX_EPOCH, LAST)]
    logged = [versioned(*pair) for pair in pairs]
    assert logged == sorted(logged)
    assert logged[-1] == 2**63 - 1
    assert [(epoch_of(each), version_of(each)) for each in logged] == pairs
    assert [describe_version(each) for each in (5, versioned(2, 5))] == ["5", "5 of epoch 2"]


@pytest.mark.parametrize("epoch", [-1, MAX_NAMED_EPOCH + 1, MAX_EPOCH, MAX_EPOCH + 1, True, "1"])
async def test_an_epoch_is_checked(shop: Shop, epoch: Any) -> None:  # noqa: ANN401  # whatever a caller gives
    """An integer from 0 to 511: anything else is rejected by name."""
    [result] = await shop.append([in_epoch(epoch, stock(1))])
    assert (result.outcome, result.path) == ("rejected", "epoch")


# --- by an operator -------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["erp", f"{SKU}/*/pricing/erp"])
async def test_the_last_version_has_a_remedy(shop: Shop, scope: str) -> None:
    """A price at 2^53-1 remains until the epoch of its source, or of its stream, is raised: then version 1 counts."""
    await say(shop, last_price("9.99"))
    await say(shop, price("1.00", version=1))
    assert (await section(shop, "pricing"))["amount"] == "9.99"
    assert await raised(shop, scope) == 1
    await say(shop, price("2.00", version=1), price("3.00", version=2))
    assert (await section(shop, "pricing"))["amount"] == "3.00"
    assert await head(shop, price("3.00")) == (1, 2)
    page = await shop.pages.get(SKU, "web-de", disabled=True)
    assert page is not None
    assert page.source_versions["pricing/erp"] == 2


async def test_an_epoch_is_of_its_source_or_stream_alone(shop: Shop) -> None:
    """Other streams and sources stay in their epoch."""
    await append(shop, stock(5, version=9), stock(5, version=9, source="wms-b"), stock(5, version=9, sku="OTHER"))
    await raised(shop, f"{SKU}/*/inventory/wms-a")
    sent = [stock(1, version=1), stock(1, version=1, source="wms-b"), stock(1, version=1, sku="OTHER")]
    await append(shop, *sent)
    assert [await head(shop, each) for each in sent] == [(1, 1), (0, 9), (0, 9)]
    assert await raised(shop, "wms-b") == 1
    await append(shop, stock(2, version=2, source="wms-b"), stock(2, version=2, sku="NEW", source="wms-b"))
    assert await head(shop, stock(2, sku="NEW", source="wms-b")) == (1, 2)
    assert await raised(shop, "wms-a") == 2, "above all of its streams"


async def test_a_raise_is_an_event(shop: Shop, other: Shop) -> None:
    """Who, when and why is in the log, for every process; no page and no checkpoint changes."""
    await say(shop, stock(5))
    note = await shop.epochs.raise_epoch("wms-a", reason="restored from Tuesday", operator="kim")
    assert (note.scope, note.epoch, note.operator, note.reason) == ("wms-a", 1, "kim", "restored from Tuesday")
    await shop.epochs.raise_epoch(f"{SKU}/*/pricing/erp", reason="made again", operator="lee", epoch=7)
    listed = await other.epochs.list()
    assert [(each.what, each.scope, each.epoch, each.operator) for each in listed] == [
        ("raised", f"{SKU}/*/pricing/erp", 7, "lee"),
        ("raised", "wms-a", 1, "kim"),
    ]
    assert [each.position for each in listed] == [4, 3]
    assert {each.originator_id for each in await everything(shop.store)} == {stream_of(stock(5)), EPOCHS}
    assert {domain.lag_events for domain in (await shop.status()).domains} == {0}


@pytest.mark.parametrize(
    ("scope", "epoch", "problem"),
    [
        ("nobody", None, "unknown source 'nobody'"),
        ("A/B", None, "neither a source nor"),
        ("A/*/pricing/wms-a", None, "may not write the domain"),
        ("A/nowhere/pricing/erp", None, "unknown channel"),
        ("erp", 0, "is in epoch 0"),
        ("erp", MAX_EPOCH + 1, "the highest is 1023"),
    ],
)
async def test_an_invalid_raise_is_an_error(shop: Shop, scope: str, epoch: int | None, problem: str) -> None:
    """The scope and the epoch are checked before anything is stored."""
    with pytest.raises(InvalidEpochRequest, match=problem):
        await raised(shop, scope, epoch)
    with pytest.raises(Rejected):
        await shop.epochs.raise_epoch("erp", reason=" ", operator="kim")
    with pytest.raises(Rejected):
        await shop.epochs.raise_epoch("erp", reason="so", operator="")
    assert await shop.epochs.list() == []


async def test_the_last_epoch_is_the_last(shop: Shop) -> None:
    """No epoch is above 1023, and events enter it as any other."""
    await raised(shop, "erp", MAX_EPOCH)
    await say(shop, last_price("1.00"))
    assert await head(shop, price("1.00")) == (MAX_EPOCH, LAST)
    with pytest.raises(InvalidEpochRequest, match="in epoch 1023"):
        await raised(shop, "erp")


async def test_no_event_exhausts_the_epochs(shop: Shop) -> None:
    """An event's highest epoch is below an operator's highest; a higher one is rejected, with the reason."""
    await say(shop, in_epoch(MAX_NAMED_EPOCH, last_price("1.00")))
    for epoch in (MAX_NAMED_EPOCH + 1, MAX_EPOCH):
        [refused] = await shop.append([in_epoch(epoch, price("2.00"))])
        assert (refused.outcome, refused.path) == ("rejected", "epoch")
        assert f"{epoch} is above 511, the highest for an event" in (refused.reason or "")
    assert await raised(shop, "erp") == MAX_NAMED_EPOCH + 1
    await say(shop, price("3.00", version=1))
    assert (await section(shop, "pricing"))["amount"] == "3.00"


async def test_dead_letters_of_higher_epochs_are_retried_and_corrected(shop: Shop, config: Config) -> None:
    """A conflict of an epoch that an operator had raised belongs to it, however it is appended later."""
    await raised(shop, "erp", MAX_EPOCH - 1)
    await say(shop, price("1.00"))
    [conflict] = await shop.append([price("2.00")])
    assert conflict.outcome == "conflict"
    [dead_letter] = await shop.dead_letters.newest(kind="ingest")
    assert epoch_of(dead_letter.originator_version) == MAX_EPOCH - 1
    assert await shop.dead_letters.retry(dead_letter) == "still dead"
    result = await shop.dead_letters.correct(dead_letter, b'{"currency":"EUR","amount":"3.00"}', "kim")
    assert result.outcome == "appended"
    await shop.catch_up()
    assert (await section(shop, "pricing"))["amount"] == "3.00"
    assert await head(shop, price("3.00")) == (MAX_EPOCH - 1, 1)


async def test_an_error_when_all_are_used(shop: Shop) -> None:
    """A person, and a snapshot with `--authoritative`, get an error that says what remains to be done."""
    await raised(shop, "erp", MAX_EPOCH)
    problem = "the last one; give the source a new name"
    with pytest.raises(InvalidEpochRequest, match=problem):
        await raised(shop, "erp")
    with pytest.raises(InvalidEpochRequest, match=problem):
        await shop.epochs.next_epoch("erp")


# --- nothing enters a past epoch ---------------------------------------------------------


async def test_a_raise_takes_effect_immediately_everywhere(shop: Shop, other: Shop) -> None:
    """A process that has not read a raise appends into the new epoch all the same."""
    await append(shop, price("5.00", version=5))
    await append(other, price("6.00", version=6))
    await raised(other, "erp")
    await append(shop, price("1.00", version=1))
    assert await head(shop, price("1.00")) == (1, 1)
    await raised(shop, f"{SKU}/*/pricing/erp")
    await append(other, price("2.00", version=1))
    assert await head(shop, price("2.00")) == (2, 1)


async def test_concurrent_raises_and_appends(shop: Shop, other: Shop) -> None:
    """Of many appends beside raises, each that begins after a raise is in that epoch, or in a higher one."""
    floors: list[tuple[int, str]] = []
    reached = 0

    async def raises() -> None:
        nonlocal reached
        for _ in range(5):
            reached = await raised(other, "wms-a")
            await asyncio.sleep(0.005)

    async def appends(each: Shop, name: str) -> None:
        for number in range(40):
            sent = stock(1, version=number, sku=f"{name}-{number}")
            floors.append((reached, stream_of(sent)))
            await append(each, sent)

    await asyncio.gather(raises(), appends(shop, "A"), appends(other, "B"), appends(shop, "C"))
    assert reached == 5
    versions = await shop.store.log.newest_versions([stream for _, stream in floors])
    assert [stream for floor, stream in floors if epoch_of(versions[stream]) < floor] == []


async def test_raisers_do_not_overtake_each_other(shop: Shop, other: Shop) -> None:
    """Two concurrent raises of one source get two epochs, and both are stored."""
    both = await asyncio.gather(*(raised(each, "erp") for each in (shop, other) for _ in range(4)))
    assert sorted(both) == list(range(1, 9))
    assert len(await shop.epochs.list()) == 8


async def test_an_event_from_before_a_raise_stays_in_its_epoch(
    shop: Shop, other: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An append whose answer was lost is repeated after a raise: the event is in the log once."""
    insert = shop.store.log.insert
    lost = 0

    async def lossy(events: Sequence[Any], fence: Fence | None = None) -> list[int | None]:
        nonlocal lost
        positions = await insert(events, fence)
        if not lost:
            lost += 1
            await raised(other, "erp")
            raise StoreUnavailable(shop.store.name, OSError("the answer was lost"))
        return positions

    monkeypatch.setattr(shop.store.log, "insert", lossy)
    results = await shop.append([price("1.00", version=1), price("2.00", version=2)])
    assert [(each.outcome, each.position) for each in results] == [("appended", 1), ("appended", 2)]
    streams = [each.originator_id for each in await everything(shop.store)]
    assert streams.count(stream_of(price("1.00"))) == 2


async def test_a_fence_is_held_by_the_store(store: Store) -> None:
    """With another generation, or a version at a ceiling, nothing is appended; otherwise everything is."""
    here, beyond = Raw("A/*/inventory/wms-a", 5), Raw("B/*/inventory/wms-a", versioned(1, 0))
    assert await store.log.insert([here, beyond], Fence(0)) == [1, 2]
    for fence in (Fence(1), Fence(0, {beyond.originator_id: versioned(1, 0)}), Fence(0, {here.originator_id: 5})):
        with pytest.raises(EpochsMoved):
            await store.log.insert([Raw("C")], fence)
        with pytest.raises(EpochsMoved):
            await store.log.correct([CorrectionEvent(*here[:2], 1, "inventory", b"{}")], fence)
    ceilings = {here.originator_id: 6, beyond.originator_id: versioned(1, 1), "NOTHING": 0}
    assert await store.log.insert([Raw("C")], Fence(0, ceilings)) == [3]
    assert await store.log.insert([Raw(EPOCHS, 0, "t")], Fence(0, ceilings)) == [4]
    assert await store.log.generation() == 1
    assert await store.log.correct([CorrectionEvent(*here[:2], 1, "inventory", b"{}")], Fence(1, ceilings)) == [5]
    with pytest.raises(EpochsMoved):
        await store.log.insert([Raw("D")], Fence(0))
    assert await store.log.end() == 5
    assert await store.log.newest_versions([here.originator_id, beyond.originator_id, "NOTHING"]) == {
        here.originator_id: 5,
        beyond.originator_id: versioned(1, 0),
    }


# --- by the source --------------------------------------------------------------------------------


async def test_a_source_raises_its_stream(shop: Shop, other: Shop) -> None:
    """An event of a higher epoch counts, whatever its version; later ones follow, in its stream only."""
    await append(shop, stock(5, version=9), stock(5, version=9, sku="OTHER"))
    await append(other, stock(6, version=10))
    await say(shop, in_epoch(3, stock(1, version=1)))
    assert (await section(shop, "inventory"))["available"] == 1
    await append(other, stock(2, version=2), stock(7, version=11, sku="OTHER"))
    assert await head(shop, stock(2)) == (3, 2)
    assert await head(shop, stock(2, sku="OTHER")) == (0, 11)
    await append(shop, in_epoch(0, stock(8, version=12)))
    assert await head(shop, stock(2)) == (3, 2), "an epoch that is over is history"


async def test_epochs_count_within_a_transaction(shop: Shop) -> None:
    """In one request, an event without an epoch follows earlier ones of its stream, and not later ones."""
    said = [stock(1, version=1), in_epoch(1, stock(2, version=2)), stock(3, version=3), in_epoch(5, price("1.00"))]
    await append(shop, *said)
    log = [(each.originator_id, each.originator_version) for each in await everything(shop.store)]
    assert [version for stream, version in log if stream == stream_of(said[0])] == [
        1,
        versioned(1, 2),
        versioned(1, 3),
    ]
    assert [result.outcome for result in await shop.append(said[1:])] == ["duplicate"] * 3


async def test_sources_with_epochs_and_others_race(shop: Shop, other: Shop) -> None:
    """Beside a process that starts epochs, another that names none never falls back behind a commit."""

    async def begin() -> None:
        for number in range(1, 20):
            await append(other, in_epoch(number, stock(number, version=1)))

    async def follow() -> None:
        for number in range(1, 60):
            before = (await shop.store.log.newest_versions([stream_of(stock(1))])).get(stream_of(stock(1)), 0)
            [result] = await append(shop, stock(1_000 + number, version=1_000 + number))
            [mine] = [each for each in await everything(shop.store) if each.notification_id == result.position]
            assert epoch_of(mine.originator_version) >= epoch_of(before)

    await asyncio.gather(begin(), follow())


async def test_conflicts_and_duplicates_are_of_an_epoch(shop: Shop) -> None:
    """The same version of two epochs is two; a conflict and its dead letter name theirs; it can be corrected."""
    await append(shop, price("1.00"))
    await raised(shop, "erp")
    await append(shop, price("2.00"))
    assert [each.outcome for each in await shop.append([price("2.00")])] == ["duplicate"]
    [conflict] = await shop.append([price("3.00")])
    assert conflict.outcome == "conflict"
    assert conflict.reason == f"version 1 of epoch 1 of {SKU}/*/pricing/erp is stored with other content"
    [dead_letter] = await shop.dead_letters.newest()
    detail = await shop.dead_letters.describe(dead_letter)
    assert (detail.version, detail.epoch) == (1, 1)
    assert [each.path for each in detail.differences or ()] == ["amount"]
    assert await shop.dead_letters.retry(dead_letter) == "still dead"
    result = await shop.dead_letters.correct(dead_letter, {"currency": "EUR", "amount": "4.00"}, "kim")
    assert result.outcome == "appended"
    await shop.catch_up()
    assert (await section(shop, "pricing"))["amount"] == "4.00"


async def test_history_shows_epochs(shop: Shop) -> None:
    """The source's own versions and their epochs, in the order in which they count."""
    await append(shop, stock(5, version=8), withdrawn("inventory", version=9), in_epoch(1, stock(6, version=1)))
    entries = [entry async for entry in shop.history(SKU)]
    assert [(each.epoch, each.version, each.withdrawn, each.head) for each in entries] == [
        (0, 8, False, False),
        (0, 9, True, False),
        (1, 1, False, True),
    ]


async def test_a_plain_shop_reads_nothing(monkeypatch: pytest.MonkeyPatch, shop: Shop) -> None:
    """If no epoch was ever raised, an append reads none from the log."""

    async def unexpected(*_: object) -> None:
        raise AssertionError

    for name in ("generation", "newest_versions", "history"):
        monkeypatch.setattr(shop.store.log, name, unexpected)
    await append(shop, event("inventory", {"available": 1}))


async def test_a_log_that_was_put_back_is_read_again(shop: Shop) -> None:
    """A process that knows more raises than the log has reads the log again."""
    await raised(shop, "erp")
    epochs = EpochRegistry(shop.store.log)
    epochs.known = KnownEpochs(7, {"erp": 5, "pim": 2}, frozenset({"erp"}))
    known = await epochs.refresh()
    assert (known.generation, known.raised, known.own) == (1, {"erp": 1}, frozenset())


async def test_the_registry_is_what_the_log_says(shop: Shop, config: Config) -> None:
    """A process that reads all notes together knows the same as one that reads them one by one."""
    await raised(shop, "erp")
    await append(shop, in_epoch(2, stock(1)))
    await raised(shop, f"{SKU}/*/pricing/erp", 5)
    fresh = EpochRegistry(shop.store.log)
    known = await fresh.refresh()
    assert (known.generation, known.raised, known.own) == (
        3,
        {"erp": 1, f"{SKU}/*/pricing/erp": 5},
        frozenset({"wms-a"}),
    )
    assert known.current(f"{SKU}/*/pricing/erp") == 5
    assert known.current("OTHER/*/pricing/erp", versioned(0, LAST)) == 1


async def test_events_of_applications_raise_nothing(shop: Shop) -> None:
    """An event of an application under the name of the stream counts as an event, and changes nothing."""
    await raised(shop, "erp")
    await shop.store.log.insert([Raw(EPOCHS, 1, "tests.app:Something", b"{")])
    assert await raised(shop, "erp") == 2
    assert [each.epoch for each in await shop.epochs.list()] == [2, 1]
    await append(shop, price("1.00"))
    assert await head(shop, price("1.00")) == (2, 1)
