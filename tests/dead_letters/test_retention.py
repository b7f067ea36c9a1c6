"""Retention: the bodies of dead letters are removed after a time, the dead letters stay, and operators are warned."""

import json
from pathlib import Path

import anyio
import pytest

import pagefold
from pagefold import Config, Rejected, Shop
from pagefold.engine.configuration.dead_letter_config import DeadLettersConfig
from pagefold.engine.dead_letters.request_letters import dead_letter_of_request
from pagefold.engine.dead_letters.retention import REMOVED, STEP, Outlook, PurgedCount, Retention
from pagefold.engine.errors import StoreUnavailable
from pagefold.engine.stores.dead_letter_records import DeadLetter, DeadLetterFilter, NewDeadLetter, Purge, Resolution
from pagefold.engine.stores.store import Store
from tests.support.command_line import on_sqlite, run_pagefold, settle
from tests.support.small_shop import MOMENT, a_dead_letter, configured, document

NAME = "Erika Mustermann"
OLD, RECENT = "2020-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"
BODY = json.dumps({"customer": NAME}).encode()


def request(number: int = 0, at: str = OLD) -> NewDeadLetter:
    """A request that came to the wrong address."""
    body = b'{"customer":"%b","n":%d}' % (NAME.encode(), number)
    headers = {"x-shopify-topic": NAME}
    return dead_letter_of_request("erp", body, f"sku: {NAME!r}", headers=headers)._replace(recorded_at=at)


def conflict(number: int = 0, at: str = OLD) -> NewDeadLetter:
    """An event that contradicts another."""
    return a_dead_letter(version=number, error=NAME)._replace(state=BODY, recorded_at=at)


async def add_projection_dead_letters(store: Store, *dead_letters: NewDeadLetter) -> None:
    """Stores dead letters of events that could not be folded."""
    async with store.coordination.fold_transaction("inventory") as folding:
        await folding.add_dead_letters([each._replace(kind="projection") for each in dead_letters])


async def all_dead_letters(store: Store, *, resolved: bool = False) -> list[DeadLetter]:
    """Every dead letter, oldest number first."""
    listed = await store.dead_letters.oldest(DeadLetterFilter(resolved=resolved))
    found = [await store.dead_letters.get(each.kind, each.number) for each in listed]
    return sorted([each for each in found if each is not None], key=lambda each: (each.kind, each.number))


def emptied(**counts: int) -> list[PurgedCount]:
    """The counts that `Retention` returns, by the keys of the configuration."""
    return [
        PurgedCount(sort, resolved, counts.get(sort + ("_resolved" if resolved else ""), 0))
        for sort in ("request", "conflict", "projection", "waiting")
        for resolved in (False, True)
    ]


async def test_old_bodies_are_removed_by_kind(store: Store) -> None:
    """Open and resolved, each after its own time; the dead letter keeps when, which stream, and by whom."""
    dead_letters = store.dead_letters
    await dead_letters.add([request(), request(1, RECENT), conflict(), conflict(1, RECENT), conflict(2)])
    await add_projection_dead_letters(store, conflict(), conflict(1, RECENT))
    [third] = [each for each in await all_dead_letters(store) if each.originator_version == 2]
    await dead_letters.resolve(third.kind, third.number, Resolution("discarded", OLD, "ada", "a test"))
    retention = Retention(store, DeadLettersConfig())
    expected = emptied(request=1, conflict=1, conflict_resolved=1, projection=1)
    assert await retention.overdue() == expected
    assert await retention.enforce("ada") == expected
    assert await retention.enforce("ada") == emptied()
    for dead_letter in (*await all_dead_letters(store), *await all_dead_letters(store, resolved=True)):
        was_old = dead_letter.recorded_at == OLD
        assert (dead_letter.state == b"") is (dead_letter.error == REMOVED) is was_old
        assert (dead_letter.purged_by, dead_letter.purged_at is not None) == (
            ("ada", True) if was_old else (None, False)
        )
        assert (NAME in str(dead_letter)) is not was_old
    assert await dead_letters.count() == 6
    [resolved] = await all_dead_letters(store, resolved=True)
    assert (resolved.resolution, resolved.resolved_by, resolved.reason) == ("discarded", "ada", "a test")


@pytest.mark.parametrize(
    "sort", ["request", "request_resolved", "conflict", "conflict_resolved", "projection", "projection_resolved"]
)
async def test_each_kind_has_its_own_time(store: Store, sort: str) -> None:
    """A setting applies to its kind only; a resolved dead letter is as old as its resolution."""
    dead_letters = store.dead_letters
    await dead_letters.add([request(0, MOMENT), request(1, MOMENT), conflict(0, MOMENT), conflict(1, MOMENT)])
    await add_projection_dead_letters(store, conflict(0, MOMENT), conflict(1, MOMENT))
    for dead_letter in await all_dead_letters(store):
        if dead_letter.number % 2 == 0:
            await dead_letters.resolve(
                dead_letter.kind, dead_letter.number, Resolution("discarded", MOMENT, "ada", "a test")
            )
    everlasting = dict.fromkeys(DeadLettersConfig.__struct_fields__, 36500.0)
    name = sort.replace("_resolved", "_resolved_days") if "resolved" in sort else f"{sort}_days"
    found = await Retention(store, DeadLettersConfig(**everlasting | {name: 0.001})).overdue()
    assert found == emptied(**{sort: 1})


async def test_it_works_in_steps(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """No transaction empties more than a step; after a failure between two steps, the rest is removed later."""
    await store.dead_letters.add([request(number) for number in range(2 * STEP + 5)])
    real, steps = store.dead_letters.purge, 0

    async def failing(*args: object, **more: int) -> int:
        nonlocal steps
        steps += 1
        if steps == 2:
            raise StoreUnavailable("here", OSError("gone"))
        count: int = await real(*args, **more)  # type: ignore[arg-type]  # as it was called
        assert count <= STEP
        return count

    monkeypatch.setattr(store.dead_letters, "purge", failing)
    retention = Retention(store, DeadLettersConfig())
    with pytest.raises(StoreUnavailable):
        await retention.enforce()
    assert await retention.overdue() == emptied(request=STEP + 5)
    assert await retention.enforce() == emptied(request=STEP + 5)
    assert {dead_letter.purged_by for dead_letter in await all_dead_letters(store)} == {"retention"}


async def test_a_step_is_bounded_in_bytes(store: Store) -> None:
    """A step ends with the dead letter that reaches the bound; one is emptied however large it is."""
    large = [request(number, f"2020-01-0{number}T00:00:00.000000Z") for number in range(1, 6)]
    await store.dead_letters.add([each._replace(state=b"x" * 1_000) for each in large])
    [expiry, *_] = Retention(store, DeadLettersConfig())._expiries()
    steps = [await store.dead_letters.purge(expiry, Purge(REMOVED, MOMENT, "ada"), limit=9, size=n) for n in (1, 1_001)]
    assert steps == [1, 2]
    assert [dead_letter.purged_at is None for dead_letter in await all_dead_letters(store)].count(True) == 2
    left = [dead_letter for dead_letter in await all_dead_letters(store) if dead_letter.purged_at is None]
    assert [dead_letter.recorded_at for dead_letter in left] == [each.recorded_at for each in large[3:]]


async def test_a_repeated_dead_letter_is_reopened(store: Store) -> None:
    """It is reopened under its number with its body, as of now, unless an operator discarded it."""
    dead_letters = store.dead_letters
    await dead_letters.add([request(), conflict()])
    await Retention(store, DeadLettersConfig()).enforce()
    before = await all_dead_letters(store)
    await dead_letters.resolve("ingest", before[1].number, Resolution("discarded", MOMENT, "ada", "a test"))
    await dead_letters.add([request(at=RECENT), conflict(at=RECENT)])
    [again] = await all_dead_letters(store)
    assert (again.number, again.state, again.recorded_at) == (before[0].number, request().state, RECENT)
    assert (again.purged_at, again.purged_by, json.loads(again.headers)) == (None, None, {"x-shopify-topic": NAME})
    [decided] = await all_dead_letters(store, resolved=True)
    assert (decided.state, decided.error) == (b"", REMOVED)
    await dead_letters.add([request(at=OLD)._replace(state=b"another text of the same digest")])
    assert (await all_dead_letters(store))[0].state == request().state


async def test_open_dead_letters_without_bodies_are_reported(config: Config) -> None:
    """Warned of a week before and while it is open, unless the log has the content too. It cannot be retried."""
    async with pagefold.open(config) as shop:
        await shop.store.dead_letters.add([request(), conflict(), request(1, RECENT)])
        await add_projection_dead_letters(shop.store, conflict())
        assert await shop.retention.outlook() == Outlook(2, 0)
        await shop.retention.enforce()
        assert await shop.retention.outlook() == Outlook(0, 2)
        status = await shop.status()
        assert (status.expiring, status.purged, status.deliveries) == (0, 2, 2)
        lost = [
            each for each in await all_dead_letters(shop.store) if each.kind == "ingest" and each.purged_at is not None
        ]
        for dead_letter in lost:
            assert await shop.dead_letters.retry(dead_letter) == "still dead"
            detail = await shop.dead_letters.describe(dead_letter)
            assert (detail.event, detail.base64, detail.differences) == (None, None, None)
            assert detail.purged_by == "retention"
            await shop.dead_letters.discard(dead_letter, "the order shop has it", "ada")
        assert await shop.retention.outlook() == Outlook(0, 0)
        soon = DeadLettersConfig(request_days=36_500 * 0.99)
        assert await Retention(shop.store, soon).outlook() == Outlook(0, 0)


async def test_a_named_dead_letter_is_emptied_immediately(store: Store) -> None:
    """Whatever its age, once; the operator needs a name."""
    await store.dead_letters.add([request(at=RECENT)])
    retention = Retention(store, DeadLettersConfig())
    [dead_letter] = await all_dead_letters(store)
    with pytest.raises(Rejected, match="operator"):
        await retention.empty(dead_letter, "")
    assert await retention.empty(dead_letter, "ada")
    assert not await retention.empty(dead_letter, "bob")
    assert not await store.dead_letters.purge_one("projection", dead_letter.number, Purge(REMOVED, MOMENT, "bob"))
    assert [each.purged_by for each in await all_dead_letters(store)] == ["ada"]


async def emptied_soon(shop: Shop) -> None:
    """Returns when the first dead letter has lost its body."""
    with anyio.fail_after(30):
        while (await shop.dead_letters.get("ingest-1")).purged_at is None:  # noqa: ASYNC110  # the store has no notification of it
            await anyio.sleep(0.02)


async def test_a_worker_enforces_it(shop: Shop) -> None:
    """Beside the consumers, from its start; a failing store does not end it."""
    await shop.store.dead_letters.add([request()])

    async with anyio.create_task_group() as group:
        group.start_soon(shop.work)
        await emptied_soon(shop)
        group.cancel_scope.cancel()


async def test_a_failing_store_is_retried_later(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folding continues, and the bodies are removed as soon as possible."""
    await shop.store.dead_letters.add([request()])
    real, failures = shop.store.dead_letters.purge, [StoreUnavailable("here", OSError("gone"))]

    async def failing(*args: object, **more: int) -> int:
        if failures:
            raise failures.pop()
        return await real(*args, **more)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr("pagefold.engine.dead_letters.retention.RETRY_SECONDS", 0.01)
    monkeypatch.setattr(shop.store.dead_letters, "purge", failing)
    async with anyio.create_task_group() as group:
        group.start_soon(shop.retention.run)
        await emptied_soon(shop)
        group.cancel_scope.cancel()
    assert not failures


@on_sqlite
def test_the_file_has_no_removed_body(config: Config, tmp_path: Path) -> None:
    """Removed bodies are overwritten: neither the database nor the files beside it contain them."""
    large = request()._replace(state=NAME.encode() * 3_000)

    async def purge() -> None:
        async with pagefold.open(config) as shop:
            await shop.store.dead_letters.add([large, conflict()])
            await add_projection_dead_letters(shop.store, conflict())
            await shop.retention.enforce()

    anyio.run(purge)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert files
    assert [file.name for file in files if NAME.encode() in file.read_bytes()] == []


def test_the_command_purges(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It purges what is too old, or what is named, and can list it first. The status reports what is lost."""
    place = settle(tmp_path, store_url, monkeypatch)
    config = Config.load(place / "pagefold.toml")

    async def prepare() -> None:
        async with pagefold.open(config) as shop:
            await shop.store.dead_letters.add([request(), conflict(), request(1, RECENT)])

    anyio.run(prepare)
    assert "2 open dead letters will lose their bodies within 7 days" in run_pagefold("status").err
    for dry in (["--dry-run"], ["--dry-run"], []):
        ran = run_pagefold("dead-letters", "purge", *dry, "--as", "ada")
        assert ran.out.splitlines() == ["1 open request", "1 open conflict"]
        assert ("would be removed" in ran.err) is bool(dry)
    assert "no body is old enough to be removed" in run_pagefold("dead-letters", "purge", "--as", "ada").err
    listed = [json.loads(line) for line in run_pagefold("dead-letters", "list", "--json").out.splitlines()]
    [recent] = [each["id"] for each in listed if each["purgedAt"] is None]
    [gone, _] = [each["id"] for each in listed if each["purgedAt"] is not None]
    ran = run_pagefold("dead-letters", "purge", recent, "--dry-run", "--as", "ada", "--json")
    assert json.loads(ran.out) == {"id": recent, "result": "would be purged"}
    ran = run_pagefold("dead-letters", "purge", recent, gone, "--as", "ada")
    assert ran.out.splitlines() == [f"{recent}  purged", f"{gone}  gone"]
    shown = run_pagefold("dead-letters", "show", recent)
    assert REMOVED in shown.out
    assert "purgedBy" in shown.out
    assert NAME not in shown.out + run_pagefold("dead-letters", "list").out
    assert "3 open dead letters lost their bodies, and there is no other copy" in run_pagefold("status").err
    counted = [
        json.loads(line) for line in run_pagefold("dead-letters", "purge", "--as", "a", "--json").out.splitlines()
    ]
    assert [each["letters"] for each in counted] == [0] * 8


def test_a_time_is_a_number_of_days() -> None:
    """More than none, and at most a hundred years."""
    for days in (0, -1, 36_501, "90"):
        with pytest.raises(pagefold.ConfigurationError, match=r"dead_letters\.request_days"):
            Config.parse(document(dead_letters={"request_days": days}))
    assert configured("sqlite:///nowhere", dead_letters={"request_days": 0.5}).dead_letters.request_days == 0.5
