"""What operators do with dead letters: list, retry, correct and discard them, on both stores."""

import json
from collections.abc import Sequence

import anyio
import anyio.lowlevel
import msgspec
import pytest

import pagefold
from pagefold import Config, DomainEvent, Rejected, Shop
from pagefold.engine.dead_letters.bulk_decisions import RetryResult
from pagefold.engine.dead_letters.corrector import Payload
from pagefold.engine.dead_letters.request_letters import dead_letter_of_request
from pagefold.engine.errors import DeadLetterResolved, UnknownCursor, UnknownDeadLetter
from pagefold.engine.intake.operators import MAX_REASON_LENGTH
from pagefold.engine.intake.text_limits import MAX_IDENTIFIER_LENGTH
from pagefold.engine.stores.dead_letter_records import (
    OPEN,
    DeadLetter,
    DeadLetterFilter,
    DeadLetterHeader,
    ResolutionKind,
)
from tests.support.small_shop import (
    MOMENT,
    SKU,
    Raw,
    a_dead_letter,
    append,
    apply_file,
    as_document,
    assert_every_event_is_counted,
    everything,
    price,
    say,
    section,
    stock,
    stream_of,
    undecided,
    with_channel,
)

CHANNEL = "web-de"
GOOD = b'{"currency":"EUR","amount":"15.00"}'


def own(amount: str, version: int = 1, currency: str = "EUR") -> DomainEvent:
    """A price event for the channel itself."""
    return price(amount, currency=currency, version=version, channel=CHANNEL)


async def conflict(shop: Shop, sku: str = SKU) -> DeadLetter:
    """The dead letter of a price of 12.00 where the log has 10.00."""
    await append(shop, price("10.00", sku=sku))
    [result] = await shop.append([price("12.00", sku=sku)])
    assert result.outcome == "conflict"
    return (await shop.dead_letters.newest(limit=1))[0]


async def unvalidated(shop: Shop, *skus: str, version: int = 2) -> list[DeadLetter]:
    """Dead letters of prices that no validator would accept."""
    moment = MOMENT.encode()
    state = b'{"id":"x","occurredAt":"%s","recordedAt":"%s","payload":7}' % (moment, moment)
    streams = [stream_of(price("1.00", sku=sku)) for sku in skus]
    await shop.store.log.insert([Raw(stream, version, "pricing", state) for stream in streams])
    await shop.catch_up()
    return await shop.dead_letters.newest(kind="projection")


async def delivered(shop: Shop, body: bytes = b"\xff\0 no JSON", identifier: str = "msg_1") -> DeadLetter:
    """The dead letter of a request that could not be turned into events."""
    headers = {"webhook-id": identifier, "content-type": "text/plain"}
    dead_letter = dead_letter_of_request("erp", body, "no sku\0 in \ud800 it", identifier=identifier, headers=headers)
    await shop.store.dead_letters.add([dead_letter])
    return (await shop.dead_letters.newest(limit=1))[0]


async def amount(shop: Shop, channel: str = CHANNEL) -> str:
    """The price on the page."""
    return str((await section(shop, "pricing", channel))["amount"])


async def resolved(shop: Shop) -> list[DeadLetterHeader]:
    """All dead letters that are not open."""
    return (await shop.dead_letters.page(DeadLetterFilter(resolved=True))).dead_letters


# --- lists ----------------------------------------------------------------------------------------


async def test_lists_return_all_dead_letters(shop: Shop) -> None:
    """Newest first, each once, whatever is resolved or added meanwhile; the last list has no cursor."""
    await append(shop, price("1.00"))
    for number in range(2, 9):
        await shop.append([price(f"{number}.00")])
    first = await shop.dead_letters.page(limit=3)
    assert [dead_letter.number for dead_letter in first.dead_letters] == [7, 6, 5]
    await shop.dead_letters.discard(first.dead_letters[-1], "a test", "ada")
    await shop.append([price("9.00")])
    second = await shop.dead_letters.page(after=first.next, limit=3)
    assert [dead_letter.number for dead_letter in second.dead_letters] == [4, 3, 2]
    last = await shop.dead_letters.page(after=second.next, limit=1)
    assert ([dead_letter.number for dead_letter in last.dead_letters], last.next) == ([1], None)
    assert await shop.dead_letters.page(DeadLetterFilter(source="pim")) == ([], None)
    assert (await shop.dead_letters.page(limit=10**9)).next is None
    assert len((await shop.dead_letters.page(limit=-1)).dead_letters) == 1


CURSORS = [
    "",
    "x",
    "ingest-1",
    ".ingest-1",
    "2026-01-01.ingest-1",
    "2026-01-01T00:00:00Z.ingest-1",
    "2026-01-01T00:00:00.000000Z.ingest-01",
    "2026-01-01T00:00:00.000000Z.other-1",
    "2026-01-01T00:00:00.000000+01:00.ingest-1",
    "0001-01-01T00:00:00.000000+14:00.ingest-1",
    "2026-01-01T00:00:00.000000Z.ingest-1\0",
]


@pytest.mark.parametrize("cursor", CURSORS)
async def test_an_invalid_cursor_is_an_error(shop: Shop, cursor: str) -> None:
    """Only the `next` of a list is a cursor."""
    with pytest.raises(UnknownCursor, match="is not a cursor"):
        await shop.dead_letters.page(after=cursor)


# --- many retries ---------------------------------------------------------------------------------


async def retried(shop: Shop, wanted: DeadLetterFilter = OPEN) -> list[tuple[str, RetryResult]]:
    """The result of a retry of all dead letters that match."""
    with anyio.fail_after(20):
        return [each async for each in shop.dead_letters.retry_all(wanted, by="ada")]


async def test_all_are_retried_once(config: Config) -> None:
    """Oldest first, each once, also those that stay dead, and more than are in memory at a time."""
    skus = [f"S{number:02}" for number in range(45)]
    async with pagefold.open(with_channel(config, CHANNEL, currency="USD")) as shop:
        await append(shop, *(price("1.00", currency="USD", channel=CHANNEL, sku=sku) for sku in skus))
    async with pagefold.open(config) as shop:
        await shop.catch_up()
        dead_letter = await conflict(shop)
        before = [(dead_letter.id, "still dead") for dead_letter in await shop.store.dead_letters.oldest()]
        assert len(before) == 46
        assert await retried(shop) == before
        assert await retried(shop, DeadLetterFilter("ingest")) == [(dead_letter.id, "still dead")]
        assert await retried(shop, DeadLetterFilter(source="pim")) == []
    async with pagefold.open(with_channel(config, CHANNEL, currency="USD")) as shop:
        await apply_file(shop)
        assert [result for _, result in await retried(shop, DeadLetterFilter(domain="pricing", kind="projection"))] == [
            "resolved"
        ] * 45
        assert {(each.resolution, each.resolved_by) for each in await resolved(shop)} == {("folded", "ada")}
        assert await shop.dead_letters.newest() == [dead_letter]


async def test_retries_end_although_dead_letters_keep_coming(shop: Shop) -> None:
    """Dead letters added during a retry of many are left for the next one."""
    await append(shop, price("1.00"))
    await shop.append([price("2.00"), price("3.00")])
    tried = []
    with anyio.fail_after(20):
        async for name, _ in shop.dead_letters.retry_all():
            tried.append(name)
            await shop.append([price(f"{len(tried)}.50")])
    assert tried == ["ingest-1", "ingest-2"]
    assert len(await shop.dead_letters.newest()) == 4


async def test_a_dead_letter_that_was_resolved_before_is_gone(shop: Shop) -> None:
    """Of two operators' decisions on one dead letter, the second changes nothing, and is an error."""
    dead_letter = await conflict(shop)
    await shop.dead_letters.discard(dead_letter, "a test", "ada")
    assert await shop.dead_letters.retry(dead_letter) == "gone"
    with pytest.raises(DeadLetterResolved, match="ingest-1 is no longer open: discarded by ada at"):
        await shop.dead_letters.discard(dead_letter, "another", "bob")
    with pytest.raises(DeadLetterResolved):
        await shop.dead_letters.correct(dead_letter, GOOD, "bob")
    assert len(await everything(shop.store)) == 1
    missing = msgspec.structs.replace(dead_letter, number=77)
    assert await shop.dead_letters.retry(missing) == "gone"
    with pytest.raises(UnknownDeadLetter):
        await shop.dead_letters.discard(missing, "a test", "ada")


# --- corrections ----------------------------------------------------------------------------------


async def test_a_correction_of_a_conflict_counts(shop: Shop) -> None:
    """The edited content is the version's next revision, by the operator; the dead letter keeps the original."""
    dead_letter = await conflict(shop)
    await shop.catch_up()
    result = await shop.dead_letters.correct(dead_letter, GOOD, "ada")
    assert result.outcome == "appended"
    await shop.catch_up()
    assert await amount(shop) == "15.00"
    kept = await shop.dead_letters.get(dead_letter.id)
    assert undecided(kept) == dead_letter
    assert (kept.resolution, kept.resolved_by, kept.position) == ("corrected", "ada", result.position)
    entries = [entry async for entry in shop.history(SKU)]
    assert [(each.version, each.revision, each.operator, each.corrects) for each in entries] == [
        (1, 0, None, None),
        (1, 1, "ada", dead_letter.id),
    ]
    assert (entries[1].head, entries[1].occurred_at) == (True, json.loads(dead_letter.state)["occurredAt"])
    await assert_every_event_is_counted(shop.store)


async def test_after_a_correction_the_source_changes_nothing(shop: Shop) -> None:
    """The head of before is a duplicate, the corrected event conflicts once, and a newer version counts."""
    dead_letter = await conflict(shop)
    await shop.dead_letters.correct(dead_letter, GOOD, "ada")
    results = await shop.append([price("10.00"), price("12.00"), price("12.00"), price("15.00")])
    assert [result.outcome for result in results] == ["duplicate", "conflict", "conflict", "duplicate"]
    [again] = await shop.dead_letters.newest()
    assert (again.revision, dead_letter.revision) == (1, 0)
    await shop.dead_letters.discard(again, "the source insists", "ada")
    await shop.append([price("12.00")])
    assert await shop.dead_letters.newest() == []
    await say(shop, price("9.00", version=2))
    assert await amount(shop) == "9.00"


@pytest.mark.parametrize("payload", [None, b"null", b" null\n"])
async def test_a_correction_may_withdraw(shop: Shop, payload: Payload) -> None:
    """A payload of null withdraws the event."""
    dead_letter = await conflict(shop)
    assert (await shop.dead_letters.correct(dead_letter, payload, "ada")).outcome == "appended"
    await shop.catch_up()
    assert await section(shop, "pricing") is None


async def test_a_correction_of_an_unfoldable_event(shop: Shop) -> None:
    """The next revision of the same version is folded, and every event is counted."""
    await append(shop, price("10.00"))
    [dead_letter] = await unvalidated(shop, SKU)
    assert await amount(shop) == "10.00"
    result = await shop.dead_letters.correct(dead_letter, json.loads(GOOD), "ada")
    assert result.outcome == "appended"
    await shop.catch_up()
    assert await amount(shop) == "15.00"
    assert [(each.resolution, each.resolved_by) for each in await resolved(shop)] == [("corrected", "ada")]
    last = (await everything(shop.store))[-1]
    assert (last.originator_version, last.revision) == (2, 1)
    await assert_every_event_is_counted(shop.store)
    assert (await shop.status()).domains[1].dead_letters == 0


async def test_a_fold_that_is_faster_leaves_the_decision(shop: Shop) -> None:
    """If a consumer folds the correction before the dead letter is resolved, it still names the operator."""
    [dead_letter] = await unvalidated(shop, SKU)
    async with anyio.create_task_group() as group:
        group.start_soon(shop.work)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        await shop.dead_letters.correct(dead_letter, GOOD, "ada")
        await shop.catch_up()
        group.cancel_scope.cancel()
    assert (await shop.dead_letters.get(dead_letter.id)).resolution == "corrected"


async def test_a_correction_at_another_version(shop: Shop) -> None:
    """An operator may name another version of the stream; the content is its first event, or its next revision."""
    dead_letter = await conflict(shop)
    result = await shop.dead_letters.correct(dead_letter, GOOD, "ada", version=5)
    assert result.outcome == "appended"
    last = (await everything(shop.store))[-1]
    assert (last.originator_version, last.revision) == (5, 0)
    assert (await shop.append([price("15.00", version=5)]))[0].outcome == "duplicate"


async def test_a_correction_made_twice_is_one_event(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the dead letter could not be resolved after its event was appended, the same correction finds the event."""
    dead_letter = await conflict(shop)
    with monkeypatch.context() as patch:
        patch.setattr(shop.store.dead_letters, "resolve", _fails)
        with pytest.raises(OSError, match="lost"):
            await shop.dead_letters.correct(dead_letter, GOOD, "ada")
    result = await shop.dead_letters.correct(dead_letter, GOOD, "ada")
    assert result.outcome == "duplicate"
    assert (await shop.dead_letters.get(dead_letter.id)).position == result.position
    assert len(await everything(shop.store)) == 2


async def _fails(*_: object) -> bool:
    raise OSError("lost")


async def test_an_unfoldable_event_does_not_correct_itself(config: Config) -> None:
    """The same content of a projection's dead letter is a duplicate that says so, and the dead letter stays open."""
    async with pagefold.open(with_channel(config, CHANNEL, currency="USD")) as shop:
        await append(shop, own("12.00", currency="USD"))
    async with pagefold.open(config) as shop:
        await shop.catch_up()
        [dead_letter] = await shop.dead_letters.newest()
    async with pagefold.open(with_channel(config, CHANNEL, currency="USD")) as shop:
        await apply_file(shop)
        result = await shop.dead_letters.correct(dead_letter, b'{"currency":"USD","amount":"12.00"}', "ada")
        assert (result.outcome, result.reason) == ("duplicate", "this is the content that could not be folded")
        assert await shop.dead_letters.newest() == [dead_letter]


REFUSED: Sequence[tuple[Payload, str]] = [
    (b"", "payload"),
    (b"{", "payload"),
    (b'{"amount":15.0,"currency":"EUR"}', "payload.amount"),
    (b'{"currency":"EUR","amount":"1.00","amount":"2.00"}', "payload"),
    ({"currency": "EUR", "amount": "15.00", "surprise": 1}, "payload"),
    (b"\xff", "payload"),
    (b"[" * 5_000, "payload"),
]


@pytest.mark.parametrize(("payload", "path"), REFUSED, ids=range(len(REFUSED)))
async def test_corrections_are_validated(shop: Shop, payload: Payload, path: str) -> None:
    """An invalid correction is rejected with its path and reason; the dead letter stays open, nothing is appended."""
    dead_letter = await conflict(shop)
    result = await shop.dead_letters.correct(dead_letter, payload, "ada")
    assert result.outcome == "rejected"
    assert (result.path or "").startswith(path)
    assert result.reason
    rejected = await shop.dead_letters.correct(dead_letter, GOOD, "ada", version=-1)
    assert (rejected.outcome, rejected.path) == ("rejected", "sourceVersion")
    assert await shop.dead_letters.newest() == [dead_letter]
    assert len(await everything(shop.store)) == 1


async def test_an_applications_event_is_not_corrected(shop: Shop) -> None:
    """An event with another stream name than `sku/channel/domain/source` has no payload to correct."""
    async with shop.store.coordination.fold_transaction("pricing") as folding:
        await folding.add_dead_letters([a_dead_letter("dog-1")._replace(kind="projection", domain="pricing")])
    [dead_letter] = await shop.dead_letters.newest()
    result = await shop.dead_letters.correct(dead_letter, GOOD, "ada")
    assert (result.outcome, result.reason) == ("rejected", "'dog-1' is not sku/channel/domain/source")


# --- decisions ------------------------------------------------------------------------------------


async def test_a_discarded_dead_letter_stays_discarded(shop: Shop) -> None:
    """Who, when and why are stored; it is not reopened by the same event, nor when its page is folded."""
    await append(shop, price("10.00"))
    [dead_letter] = await unvalidated(shop, SKU)
    await shop.dead_letters.discard(dead_letter, "a known fault: ü 🎽", "ada")
    await say(shop, own("8.00"))
    await shop.replay()
    assert await shop.dead_letters.newest() == []
    [kept] = await resolved(shop)
    assert (kept.id, kept.resolution, kept.resolved_by, kept.reason) == (
        dead_letter.id,
        "discarded",
        "ada",
        "a known fault: ü 🎽",
    )
    assert (kept.resolved_at or "") > kept.recorded_at
    assert (await shop.status()).domains[1].dead_letters == 0
    await assert_every_event_is_counted(shop.store)


async def test_a_dead_letter_is_reopened_when_it_fails_again(config: Config) -> None:
    """A dead letter that a fold resolved is reopened under its number when the cause returns."""
    dollars = with_channel(config, CHANNEL, currency="USD")
    async with pagefold.open(config) as shop:
        await say(shop, own("10.00"))
    for turn in range(2):
        async with pagefold.open(dollars) as shop:
            await say(shop, price("9.00", version=2 * turn))
            [dead_letter] = await shop.dead_letters.newest()
            assert (dead_letter.id, dead_letter.resolution) == ("projection-1", None)
        async with pagefold.open(config) as shop:
            await say(shop, price("9.00", version=2 * turn + 1))
            [kept] = await resolved(shop)
            assert (kept.id, kept.resolution, kept.resolved_by) == ("projection-1", "folded", None)


@pytest.mark.parametrize("text", ["", " \n", "\0", "\ud800", "x" * (MAX_REASON_LENGTH + 1)])
async def test_decisions_have_a_name_and_a_reason(shop: Shop, text: str) -> None:
    """Neither may be empty, blank, too long, or a text that a store cannot hold."""
    dead_letter = await conflict(shop)
    with pytest.raises(Rejected, match="reason: "):
        await shop.dead_letters.discard(dead_letter, text, "ada")
    for name in (text, "x" * (MAX_IDENTIFIER_LENGTH + 1)):
        with pytest.raises(Rejected, match="operator: "):
            await shop.dead_letters.discard(dead_letter, "a test", name)
        with pytest.raises(Rejected, match="operator: "):
            await shop.dead_letters.correct(dead_letter, GOOD, name)
    assert await shop.dead_letters.newest() == [dead_letter]


# --- requests -----------------------------------------------------------------------------------


async def test_a_request_is_stored_completely(shop: Shop) -> None:
    """Any bytes, with headers, of a source and no domain; the same request again is the same dead letter."""
    dead_letter = await delivered(shop)
    assert (dead_letter.id, dead_letter.domain, dead_letter.state, dead_letter.is_request) == (
        "ingest-1",
        "",
        b"\xff\0 no JSON",
        True,
    )
    assert dead_letter.error == "no sku\\0 in \\ud800 it"
    assert (await delivered(shop)).number == dead_letter.number
    assert (await delivered(shop, identifier="msg_2")).number != dead_letter.number
    assert (await delivered(shop, body=b"{}")).number != dead_letter.number
    assert await shop.dead_letters.count(DeadLetterFilter(source="erp")) == 3
    status = await shop.status()
    assert (status.deliveries, sum(each.conflicts for each in status.domains)) == (3, 0)


async def test_a_request_is_shown(shop: Shop) -> None:
    """A body that is not JSON is shown as text and in base64; JSON as it is."""
    detail = await shop.dead_letters.describe(await delivered(shop))
    assert (detail.event, detail.base64) == ("\\xff\0 no JSON", "/wAgbm8gSlNPTg==")
    assert detail.headers == {"webhook-id": "msg_1", "content-type": "text/plain"}
    assert (detail.source, detail.domain, detail.sku, detail.channel, detail.version) == ("erp", None, None, None, None)
    huge = await delivered(shop, b'{"n":123456789012345678901234567890}', "msg_2")
    assert (await shop.dead_letters.describe(huge)).event == {"n": 123456789012345678901234567890}


async def test_a_request_is_retried_by_its_retrier(shop: Shop) -> None:
    """Without a retrier it stays dead; with one, the retrier's result counts."""
    dead_letter = await delivered(shop)
    answers: list[ResolutionKind | None] = [None, "appended"]
    seen: list[DeadLetter] = []

    async def deliver(dead_letter: DeadLetter, by: str | None) -> ResolutionKind | None:
        assert by == "ada"
        seen.append(dead_letter)
        return answers.pop(0)

    assert await shop.dead_letters.retry(dead_letter) == "still dead"
    shop.dead_letters.deliver_with(deliver)
    assert await retried(shop) == [(dead_letter.id, "still dead")]
    assert await retried(shop) == [(dead_letter.id, "resolved")]
    assert seen == [dead_letter, dead_letter]
    assert [(each.resolution, each.resolved_by) for each in await resolved(shop)] == [("appended", "ada")]


async def test_a_request_is_corrected_by_a_complete_event(shop: Shop) -> None:
    """The operator gives the complete event: of the same source, and valid by every rule of intake."""
    dead_letter = await delivered(shop)
    document = as_document(price("15.00"))
    for payload, path in (
        (document, ""),
        (b"{", ""),
        (json.dumps(as_document(stock(1))).encode(), "source"),
        (json.dumps(document | {"sku": " "}).encode(), "sku"),
    ):
        result = await shop.dead_letters.correct(dead_letter, payload, "ada")
        assert (result.outcome, result.path) == ("rejected", path), payload
    assert (await shop.dead_letters.correct(dead_letter, json.dumps(document).encode(), "ada")).outcome == "appended"
    await shop.catch_up()
    assert await amount(shop) == "15.00"
    [entry] = [entry async for entry in shop.history(SKU)]
    assert (entry.operator, entry.corrects, entry.revision) == ("ada", dead_letter.id, 0)
    kept = await shop.dead_letters.get(dead_letter.id)
    assert (kept.state, kept.resolution) == (dead_letter.state, "corrected")
