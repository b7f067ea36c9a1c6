"""Fold transactions, checkpoints and leases: the contract of `pagefold.engine.stores.store`, on both stores."""

from collections.abc import Mapping

import anyio
import psycopg
import pytest

from pagefold import Config
from pagefold.engine.errors import LeaseLost
from pagefold.engine.stores import open_store
from pagefold.engine.stores.dead_letter_records import NewDeadLetter, Resolution
from pagefold.engine.stores.sqlite import SQLiteStore
from pagefold.engine.stores.store import Checkpoint, Lease, Store, Streak
from pagefold.projections.section_fold import sections_of, shared_sections
from tests.support.small_shop import MOMENT, SKU, a_dead_letter, a_section, folded, insert, keys_of

MOVED = Checkpoint("catalog", 7, 4, 2, 1, "fingerprint")


class Interrupted(Exception):
    """An error in the middle."""


def buried(stream: str = "A/*/catalog/pim", *, version: int = 1, error: str = "wrong") -> NewDeadLetter:
    """A dead letter of the fold."""
    return NewDeadLetter("projection", "catalog", stream, version, 0, b"", error, b"{}", MOMENT)


async def checkpoint_of(store: Store, domain: str = "catalog") -> Checkpoint:
    """The checkpoint of a domain, without its holder."""
    checkpoints = {each.domain: each for each in await store.coordination.checkpoints()}
    return checkpoints.get(domain, Checkpoint(domain))._replace(holder=None, mark=None)


async def a_log(store: Store) -> None:
    """A log up to the position of `MOVED`: a checkpoint needs an event at its position."""
    await insert(store, *(f"S{number}" for number in range(MOVED.position)))


def stamps(config: Config) -> Mapping[tuple[str, str], int]:
    """For each section, a value that changes whenever its row is written."""
    if config.store.url.startswith("postgresql:"):
        with psycopg.connect(config.store.url) as connection:
            rows = connection.execute("SELECT sku, domain, xmin::text::bigint FROM pagefold.sections").fetchall()
        return {(sku, domain): stamp for sku, domain, stamp in rows}
    return {}  # SQLite has none: its count of changes does


# --- writing sections -----------------------------------------------------------------------------


async def test_write_counts_changed_sections(store: Store) -> None:
    """New and different sections count; equal ones do not, whatever order they come in."""
    first, second = a_section("A"), a_section("B", body=None)
    assert await folded(store, second, first) == 2
    assert await folded(store, first, second) == 0
    assert await folded(store) == 0
    for changed in (
        first._replace(body=b'{"a":1}'),
        first._replace(versions=b'{"catalog/pim":2}'),
        first._replace(ready=False),
        first._replace(occurred_at="2026-01-01T12:00:00.000001Z"),
        first._replace(recorded_at="2026-01-01T12:00:00.000001Z"),
        first._replace(enabled=False, ready=False, body=None),
    ):
        assert await folded(store, changed, second) == 1
        assert await folded(store, second, first) == 1


async def test_many_sections_are_counted_together(store: Store) -> None:
    """However many are written together, in any order, each changed one counts."""
    sections = [a_section(f"S{number:04d}") for number in range(1_234)]
    assert await folded(store, *reversed(sections)) == 1_234
    changed = [each._replace(body=b"[]") for each in sections[::2]]
    assert await folded(store, *changed, *sections[1::2]) == len(changed)


async def test_an_equal_section_is_not_written(store: Store, config: Config) -> None:
    """The row of an unchanged section is not written, next to one that changed."""
    await folded(store, a_section("A"), a_section("B"))
    before = stamps(config)
    await folded(store, a_section("A"), a_section("B"))
    assert stamps(config) == before
    if isinstance(store, SQLiteStore):
        changes = await store._connections.pages.run(lambda connection: connection.total_changes())
        await folded(store, a_section("A"), a_section("B"))
        assert await store._connections.pages.run(lambda connection: connection.total_changes()) == changes
        return
    await folded(store, a_section("A"), a_section("B", body=b"[]"))
    after = stamps(config)
    assert after["A", "catalog"] == before["A", "catalog"]
    assert after["B", "catalog"] != before["B", "catalog"]


async def test_many_sections_in_one_call(store: Store) -> None:
    """Thousands of sections, unsorted, are one call."""
    sections = [a_section(f"S{number * 7919 % 5000:05}", channel) for channel in "ba" for number in range(5_000)]
    assert await folded(store, *sections) == 5_000
    assert await folded(store, *sections[::-1]) == 0


async def test_two_domains_of_one_page_are_two_rows(store: Store) -> None:
    """A domain's write leaves the sections of other domains alone."""
    await folded(store, a_section(body=b'"catalog"'))
    await folded(store, a_section(domain="pricing", body=b'"pricing"'), domain="pricing")
    assert {row[0]: row[4] for row in await store.pages.sections(SKU, "web-de")} == {
        "catalog": b'"catalog"',
        "pricing": b'"pricing"',
    }


async def test_sections_are_the_stored_ones_of_the_domain(store: Store) -> None:
    """Those of some SKUs, including this transaction's, by SKU and channel, in the types of the fold."""
    written = [a_section("A", "web-us"), a_section("A", body=None), a_section("B"), a_section("Ä", body=b"[]")]
    await folded(store, *written, a_section("C"))
    await folded(store, a_section("A", domain="media"), domain="media")
    async with store.coordination.fold_transaction("catalog") as folding:
        found = sections_of(await folding.sections({"Ä", "B", "A", "nobody's"}))
        assert found == sorted(written)
        assert [list(map(type, section)) for section in found] == [list(map(type, each)) for each in sorted(written)]
        await folding.write(shared_sections([a_section("B", body=b"1")]))
        assert await folding.sections(["B"]) == shared_sections([a_section("B", body=b"1")])
        assert await folding.sections([]) == []


async def test_sections_of_many_skus(store: Store) -> None:
    """Thousands of SKUs are read and removed in one call."""
    sections = [a_section(f"S{number:05}") for number in range(5_000)]
    await folded(store, *sections)
    async with store.coordination.fold_transaction("catalog") as folding:
        assert sections_of(await folding.sections([section.sku for section in sections])) == sections
        await folding.remove([section.sku for section in sections[1:]])
    assert await keys_of(store) == [("S00000", "web-de")]


async def test_removing_takes_away_a_domains_own(store: Store) -> None:
    """The sections of these SKUs, if there are any; not those of another SKU or domain."""
    await folded(store, a_section("A"), a_section("A", "web-us"), a_section("B"), a_section("Ä"))
    await folded(store, a_section("A", domain="media"), domain="media")
    async with store.coordination.fold_transaction("catalog") as folding:
        await folding.remove([])
        await folding.remove({"A", "Ä", "nobody's"})
        assert await folding.sections(["A", "Ä"]) == []
    assert [row[0] for row in await store.pages.sections("A", "web-de")] == ["media"]
    assert await keys_of(store) == [("A", "web-de"), ("B", "web-de")]
    assert await folded(store, a_section("A")) == 1


# --- streaks --------------------------------------------------------------------------------------


async def test_streaks_are_stored_by_source(store: Store) -> None:
    """Each source's last one, until it is 0; those of other sources and domains stay."""
    assert await store.coordination.streaks() == []
    async with store.coordination.fold_transaction("pricing") as folding:
        await folding.save_streaks({"erp": 3})
    async with store.coordination.fold_transaction("catalog") as folding:
        assert await folding.streaks() == {}
        await folding.save_streaks({})
        await folding.save_streaks({"pim": 1, "erp": 2**40, "other": 0})
        await folding.save_streaks({"pim": 2})
        assert await folding.streaks() == {"pim": 2, "erp": 2**40}
    assert await store.coordination.streaks() == [
        Streak("catalog", "erp", 2**40),
        Streak("catalog", "pim", 2),
        Streak("pricing", "erp", 3),
    ]
    async with store.coordination.fold_transaction("catalog") as folding:
        await folding.save_streaks({"erp": 0})
    assert await store.coordination.streaks() == [Streak("catalog", "pim", 2), Streak("pricing", "erp", 3)]


# --- transactions ---------------------------------------------------------------------------------


async def test_a_transaction_is_committed_at_its_end(store: Store) -> None:
    """Sections, dead letters and the checkpoint appear together, and none of them before the end."""
    await a_log(store)
    async with store.coordination.fold_transaction("catalog") as folding:
        assert folding.checkpoint._replace(holder=None) == Checkpoint("catalog")
        await folding.write(shared_sections([a_section()]))
        await folding.add_dead_letters([buried()])
        await folding.advance(MOVED)
        assert not await store.pages.sections(SKU, "web-de")
        assert await store.dead_letters.newest() == []
        assert await checkpoint_of(store) == Checkpoint("catalog")
    assert await store.pages.sections(SKU, "web-de")
    assert len(await store.dead_letters.newest()) == 1
    assert await checkpoint_of(store) == MOVED


async def test_an_error_rolls_a_transaction_back(store: Store) -> None:
    """If the body raises, sections, dead letters, streaks and checkpoint are as before, and the error is raised."""
    await a_log(store)
    await folded(store, a_section())

    async def broken_off() -> None:
        async with store.coordination.fold_transaction("catalog") as folding:
            await folding.write(shared_sections([a_section(body=None), a_section("NEW")]))
            await folding.remove([SKU])
            await folding.save_streaks({"pim": 1})
            await folding.add_dead_letters([buried()])
            await folding.advance(MOVED)
            raise Interrupted

    with pytest.raises(Interrupted):
        await broken_off()
    assert [row[4] for row in await store.pages.sections(SKU, "web-de")] == [b"{}"]
    assert not await store.pages.sections("NEW", "web-de")
    assert await store.coordination.streaks() == []
    assert await store.dead_letters.newest() == []
    assert await checkpoint_of(store) == Checkpoint("catalog")
    assert await folded(store, a_section("NEW")) == 1


async def test_a_failed_statement_leaves_nothing_of_a_transaction(store: Store) -> None:
    """If the database rejects a row, nothing of the transaction stays, even if the body continues."""
    broken = a_section("BROKEN")._replace(domain=None)  # type: ignore[arg-type]  # what the fold never gives

    async def refused() -> None:
        async with store.coordination.fold_transaction("catalog") as folding:
            await folding.write(shared_sections([a_section()]))
            await folding.write(shared_sections([broken]))

    with pytest.raises(Exception, match=r"(?i)null"):
        await refused()
    assert await keys_of(store) == []
    assert await folded(store, a_section()) == 1


async def test_a_cancelled_transaction_leaves_nothing(store: Store) -> None:
    """A cancelled body is rolled back, and the next transaction can begin."""
    with anyio.move_on_after(0.05) as scope:
        async with store.coordination.fold_transaction("catalog") as folding:
            await folding.write(shared_sections([a_section()]))
            await anyio.sleep(60)
    assert scope.cancelled_caught
    assert await keys_of(store) == []
    with anyio.fail_after(20):
        assert await folded(store, a_section()) == 1


async def test_one_transaction_at_a_time_folds_a_domain(store: Store, config: Config) -> None:
    """Another one that folds the domain waits until the first ends, and sees its result."""
    await a_log(store)
    order: list[str] = []
    other = await open_store(config)

    async def second() -> None:
        async with other.coordination.fold_transaction("catalog") as folding:
            order.append(f"second from {folding.checkpoint.position}")

    try:
        async with anyio.create_task_group() as group, store.coordination.fold_transaction("catalog") as folding:
            group.start_soon(second)
            await anyio.sleep(0.2)
            await folding.advance(MOVED)
            order.append("first")
    finally:
        await other.close()
    assert order == ["first", "second from 7"]


async def test_readers_see_whole_pages_while_others_fold(store: Store) -> None:
    """Reading a page waits for no transaction, and sees nothing uncommitted."""
    await folded(store, a_section())
    async with store.coordination.fold_transaction("catalog") as folding:
        await folding.write(shared_sections([a_section(body=b"[]")]))
        with anyio.fail_after(10):
            assert [row[4] for row in await store.pages.sections(SKU, "web-de")] == [b"{}"]


async def test_appending_does_not_wait_for_folding(store: Store) -> None:
    """Events are appended during a fold transaction, whose heads have them immediately."""
    async with store.coordination.fold_transaction("catalog"):
        with anyio.fail_after(10):
            await insert(store, "A")
            assert [head.originator_id for head in await store.log.heads(["A"])] == ["A"]


# --- dead letters of the fold ---------------------------------------------------------------------


async def test_burying_again_keeps_the_number(store: Store) -> None:
    """An existing dead letter keeps its number and gets the new reason."""
    numbers = []
    for error in ("first", "second"):
        async with store.coordination.fold_transaction("catalog") as folding:
            await folding.add_dead_letters([buried(error=error)])
        [dead_letter] = await store.dead_letters.newest()
        assert (dead_letter.kind, dead_letter.error) == ("projection", error)
        numbers.append(dead_letter.number)
    assert numbers[0] == numbers[1]


async def test_burying_the_same_twice_in_one_call(store: Store) -> None:
    """Two dead letters of one event in one call are one."""
    async with store.coordination.fold_transaction("catalog") as folding:
        await folding.add_dead_letters([])
        await folding.add_dead_letters([buried(), buried(error="second"), buried(version=2)])
    assert dict(await store.dead_letters.counts()) == {("projection", "catalog"): 2}


RESOLVED = Resolution("folded", MOMENT, "ada")


async def test_resolving_closes_the_dead_letters_of_streams(store: Store) -> None:
    """Resolves all dead letters of kind `projection` of these streams, and no others."""
    await store.dead_letters.add([a_dead_letter("A/*/catalog/pim")])
    async with store.coordination.fold_transaction("catalog") as folding:
        assert not await folding.has_dead_letters()
        await folding.add_dead_letters(
            [buried(), buried(version=2), buried("B/*/catalog/pim"), buried("A/*/catalog/pim2")]
        )
        assert await folding.has_dead_letters()
        await folding.resolve([], RESOLVED)
        await folding.resolve(["A/*/catalog/pim", "nobody's"], RESOLVED)
    left = await store.dead_letters.newest()
    assert sorted((dead_letter.kind, dead_letter.originator_id) for dead_letter in left) == [
        ("ingest", "A/*/catalog/pim"),
        ("projection", "A/*/catalog/pim2"),
        ("projection", "B/*/catalog/pim"),
    ]


async def test_dead_letters_are_those_of_the_domain(store: Store) -> None:
    """Neither the dead letters of other domains nor those of the intake are a domain's."""
    await store.dead_letters.add([a_dead_letter()._replace(domain="pricing")])
    async with store.coordination.fold_transaction("catalog") as folding:
        await folding.add_dead_letters([buried()])
    async with store.coordination.fold_transaction("pricing") as folding:
        assert not await folding.has_dead_letters()


# --- leases ---------------------------------------------------------------------------------------


async def test_a_lease_is_exclusive(store: Store, config: Config) -> None:
    """While one has a domain's lease, another gets None and others' domains are free."""
    other = await open_store(config)
    try:
        async with store.coordination.lease("catalog") as lease:
            assert lease is not None
            for rival in (store, other):
                async with rival.coordination.lease("catalog", wait=False) as second:
                    assert second is None
                async with rival.coordination.lease("pricing", wait=False) as second:
                    assert second is not None
            async with lease.fold_transaction() as folding:
                assert folding.checkpoint.holder == lease.holder
        async with other.coordination.lease("catalog", wait=False) as second:
            assert second is not None
            assert second.holder != lease.holder
    finally:
        await other.close()


async def test_a_standby_takes_over(store: Store, config: Config) -> None:
    """A standby gets the lease once it is released."""
    other = await open_store(config)
    taken = False

    async def stand_by() -> None:
        nonlocal taken
        async with other.coordination.lease("catalog") as lease:
            taken = lease is not None

    try:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group, store.coordination.lease("catalog"):
                group.start_soon(stand_by)
                await anyio.sleep(0.3)
                assert not taken
    finally:
        await other.close()
    assert taken


async def test_a_live_lease_is_never_taken_over(store: Store, config: Config) -> None:
    """A live holder keeps its lease for longer than `lease_seconds`, idle or inside a transaction."""
    await a_log(store)
    other = await open_store(config)
    try:
        with anyio.move_on_after(2.5) as scope:
            async with store.coordination.lease("catalog") as lease, anyio.create_task_group() as group:
                assert lease is not None
                group.start_soon(stand_by_forever, other)
                await anyio.sleep(1.5)
                async with lease.fold_transaction() as folding:
                    await folding.advance(MOVED)
                await anyio.sleep(60)
        assert scope.cancelled_caught
        assert await checkpoint_of(store) == MOVED
    finally:
        await other.close()


async def stand_by_forever(store: Store) -> None:
    """Waits for the lease and must not get it."""
    async with store.coordination.lease("catalog"):
        pytest.fail("a live holder was replaced")


async def test_a_lost_lease_changes_nothing(store: Store) -> None:
    """A holder that is no longer the one named in the checkpoint gets `LeaseLost` before it can write (I9)."""
    lost: Lease | None
    async with store.coordination.lease("catalog") as lost:
        assert lost is not None
        await take_away(store)
        with pytest.raises(LeaseLost):
            async with lost.fold_transaction() as folding:
                await folding.write(shared_sections([a_section()]))
        assert await keys_of(store) == []
    async with store.coordination.lease("catalog") as lease:
        assert lease is not None
        async with lease.fold_transaction() as folding:
            await folding.write(shared_sections([a_section()]))


async def take_away(store: Store) -> None:
    """Names another holder, as a standby does when it takes over."""
    if isinstance(store, SQLiteStore):
        await store._connections.pages.run(lambda connection: connection.execute("UPDATE checkpoints SET holder = 'x'"))
        return
    with psycopg.connect(store._connections._config.store.url) as connection:  # type: ignore[attr-defined]  # the other store
        connection.execute("UPDATE pagefold.checkpoints SET holder = 'x'")


@pytest.mark.parametrize("waiting", [False, True])
async def test_errors_under_a_lease_are_not_wrapped(store: Store, *, waiting: bool) -> None:
    """Errors under a lease are not wrapped, since callers handle them by type; the lease is released."""

    async def under_lease() -> None:
        async with store.coordination.lease("catalog", wait=waiting) as lease:
            assert lease is not None
            raise Interrupted

    async def in_transaction() -> None:
        async with store.coordination.lease("catalog", wait=waiting) as lease:
            assert lease is not None
            async with lease.fold_transaction():
                raise Interrupted

    for fail in (under_lease, in_transaction, under_lease):
        with pytest.raises(Interrupted):
            await fail()


async def test_advancing_keeps_the_holder(store: Store) -> None:
    """A checkpoint moves with its counts and fingerprint; its holder stays."""
    await a_log(store)
    async with store.coordination.lease("catalog") as lease:
        assert lease is not None
        async with lease.fold_transaction() as folding:
            moved = await folding.advance(MOVED._replace(holder="somebody else"))
        async with store.coordination.fold_transaction("catalog") as folding:
            assert folding.checkpoint == moved == MOVED._replace(holder=lease.holder, mark=moved.mark)
    assert moved.mark == await store.proof.mark(MOVED.position) is not None
    assert [each.domain for each in await store.coordination.checkpoints()] == ["catalog"]


async def test_checkpoints_come_by_name(store: Store) -> None:
    """Every domain that was ever folded has one, ordered by name."""
    assert await store.coordination.checkpoints() == []
    for domain in ("pricing", "catalog", "media"):
        await folded(store, domain=domain)
    assert [each.domain for each in await store.coordination.checkpoints()] == ["catalog", "media", "pricing"]
