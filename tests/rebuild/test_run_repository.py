"""The runs of rebuilds as aggregates in the shop's log, on either store."""

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import anyio
import pytest
from anyio.to_thread import run_sync
from eventsourcing.application import Application
from eventsourcing.persistence import InterfaceError

from pagefold import Config, Shop
from pagefold.engine.errors import RunStateError, RunTakenOver, StoreUnavailable, UnknownRun
from pagefold.engine.rebuild.excerpts import MAX_EXAMPLES, MAX_TEXT_LENGTH
from pagefold.engine.rebuild.run_aggregate import MAX_LISTED_STREAMS, Drifted, RebuildRun
from pagefold.engine.rebuild.run_records import RunCounts, RunSpec
from pagefold.engine.rebuild.run_repository import REGISTER, SNAPSHOT_EVERY, RunRepository, open_runs
from pagefold.engine.stores import open_store
from pagefold.engine.stores.store import Store
from tests.conftest import assert_nothing_is_open
from tests.support.library_application import environment
from tests.support.small_shop import append, catalog, price

Item = TypeVar("Item")

PROCESS = "host:1"
STREAMS = [f"SKU-{number:04}/*/pricing/erp" for number in range(100)]


def plan(source: str = "erp", **changes: Any) -> RunSpec:  # noqa: ANN401  # whatever a plan has
    """The spec of a run."""
    fields: dict[str, Any] = {
        "source": source,
        "domains": ["pricing"],
        "start_position": 7,
        "snapshot": "exports/prices.ndjson.gz",
        "identity": "1-2-3",
        "process": PROCESS,
    }
    return RunSpec(**(fields | changes))


def compare(run: RebuildRun, streams: Sequence[str], *, orphans: Sequence[str] = ()) -> None:
    """A chunk in which all of these streams were missing."""
    run.chunk_compared(
        cursor={"snapshot": {"offset": len(streams)}, "stream": max([*streams, *orphans])},
        counts=RunCounts(rows=len(streams), missing=len(streams), orphans=len(orphans)),
        live=len(orphans),
        drifted={"missing": streams},
        orphans=orphans,
        samples=[[stream, "missing", [["amount", None, "9.90"]]] for stream in streams],
    )


async def saved(runs: RunRepository, **changes: Any) -> RebuildRun:  # noqa: ANN401  # whatever a plan has
    """A run with two compared chunks."""
    run = await runs.start(plan(**changes))
    compare(run, STREAMS[0:2], orphans=STREAMS[2:4])
    compare(run, STREAMS[4:6])
    await runs.save(run)
    return run


async def items(pages: AsyncIterator[Sequence[Item]]) -> list[list[Item]]:
    """The chunks, as lists."""
    return [list(page) async for page in pages]


def failing_after(done: Callable[..., Awaitable[object]], problem: Exception) -> object:
    """A store's method that does its work, but then raises an error."""

    async def fail(*arguments: object) -> object:
        await done(*arguments)
        raise problem

    return fail


# --- the aggregate --------------------------------------------------------------------------------


async def test_the_life_of_a_run(store: Store) -> None:
    """Each step of a run is recorded, and the run is read back in the state after it."""
    async with open_runs(store) as runs:
        run = await runs.start(plan(prefix="T", max_orphans=["5%", 500], written_at="2026-11-23T02:00:00.000000Z"))
        assert (run.source, run.domains, run.prefix, run.max_orphans) == ("erp", ["pricing"], "T", ["5%", 500])
        assert (run.state, run.phase, run.process) == ("running", "comparing", PROCESS)
        steps: list[Callable[[], None]] = [
            partial(compare, run, STREAMS[0:2], orphans=STREAMS[2:4]),
            partial(run.start_over, "row 3 comes before row 2"),
            partial(compare, run, STREAMS[0:3], orphans=STREAMS[3:6]),
            partial(run.fail, "the source does not answer"),
            partial(run.resume, "host:2"),
            partial(compare, run, STREAMS[6:7]),
            partial(run.compared, complete=True, taken_at="2026-11-23T01:00:00.000000Z"),
            partial(run.hold, 3, 1),
            partial(run.approve, "ada", "a range was given up"),
            partial(run.resume, "host:3"),
            partial(run.withdraw, STREAMS[3:5], spared=1, after=STREAMS[5]),
            run.complete,
        ]
        stood = []
        for step in steps:
            step()
            await runs.save(run)
            assert await runs.get(run.id) == run
            stood.append((run.state, run.phase))
        assert stood == [("running", "comparing")] * 3 + [("failed", "comparing")] + [("running", "comparing")] * 2 + [
            ("running", "withdrawing"),
            ("held", "withdrawing"),
            ("approved", "withdrawing"),
            ("running", "withdrawing"),
            ("running", "withdrawing"),
            ("completed", "done"),
        ]
        assert run.counts == RunCounts(rows=4, missing=4, orphans=3, withdrawn=2, spared=1)
        assert (run.live, run.cursor) == (3, {"snapshot": {"offset": 1}, "stream": STREAMS[6]})
        assert (run.spilled, run.confirmed, run.process, run.held_orphans) == (True, True, "host:3", 3)
        assert (run.complete_snapshot, run.withdrawn_after) == (True, STREAMS[5])
        assert run.taken_at == "2026-11-23T01:00:00.000000Z"
        assert run.started_at < run.changed_at


def test_a_command_needs_its_state() -> None:
    """A method that the run's state does not allow raises an error with the state, and changes nothing."""
    run = RebuildRun.start(plan())
    early = (
        run.complete,
        partial(run.approve, "ada", "for a test"),
        partial(run.refuse, "ada", "for a test"),
        partial(run.hold, 1, 0),
        partial(run.withdraw, STREAMS[:1], spared=0, after=STREAMS[0]),
    )
    for command in early:
        with pytest.raises(RunStateError, match=rf"the rebuild {run.id} cannot .*: it is in phase comparing"):
            command()
    run.compared(complete=False, reason="no end marker")
    with pytest.raises(RunStateError, match="cannot withdraw: it is in phase withdrawing"):
        run.withdraw(STREAMS[:1], spared=0, after=STREAMS[0])
    with pytest.raises(RunStateError, match="cannot compare a chunk: it is in phase withdrawing"):
        compare(run, STREAMS[:1])
    run.supersede("erp-20261123T020000-3f9a")
    assert not run.resumable
    with pytest.raises(RunStateError, match="cannot be resumed: it is failed, superseded by erp-20261123T020000-3f9a"):
        run.resume(PROCESS)
    other = RebuildRun.start(plan())
    other.compared(complete=True)
    other.complete()
    for command in (
        partial(compare, other, STREAMS[:1]),
        partial(other.fail, "no"),
        partial(other.resume, PROCESS),
        partial(other.supersede, run.id),
    ):
        with pytest.raises(RunStateError, match="it is completed"):
            command()
    assert [len(each.pending_events) for each in (run, other)] == [3, 3]


def test_a_confirmed_run_is_not_held_again() -> None:
    """After one confirmation, no other is needed."""
    run = RebuildRun.start(plan())
    run.compared(complete=True)
    run.hold(600, 500)
    run.resume(PROCESS, confirmed=True)
    with pytest.raises(RunStateError, match="cannot be held"):
        run.hold(600, 500)


def test_an_event_of_a_run_is_bounded() -> None:
    """Up to twenty samples are kept, with shortened texts; lists of streams are limited."""
    run = RebuildRun.start(plan(snapshot="prices-\udcff.csv"))
    assert run.snapshot == r"prices-\udcff.csv"
    long = "x" * 10_000
    for _ in range(3):
        run.chunk_compared(
            cursor={"snapshot": None, "stream": "A"},
            counts=RunCounts(rows=9, refused=9),
            samples=[["A", "changed", [["payload.name", long, None]] * 50]] * 9,
            refusals=[[number, long, "\ud800"] for number in range(9)],
        )
    assert len(run.samples) == len(run.refusals) == MAX_EXAMPLES
    [_, _, changes] = run.samples[-1]  # type: ignore[misc, str-unpack]  # it is JSON
    assert len(changes) == MAX_EXAMPLES  # type: ignore[arg-type]  # likewise
    assert run.refusals[0] == [0, "x" * (MAX_TEXT_LENGTH - 1) + "…", r"\ud800"]
    with pytest.raises(ValueError, match=f"at most {MAX_LISTED_STREAMS} streams"):
        run.chunk_compared(cursor=run.cursor, counts=RunCounts(), orphans=["A"] * (MAX_LISTED_STREAMS + 1))


# --- recording ------------------------------------------------------------------------------------


async def test_what_was_saved_survives_its_process(store: Store, config: Config) -> None:
    """Another process sees exactly what was saved, and can resume from there."""
    async with open_runs(store) as runs:
        run = await saved(runs)
        compare(run, STREAMS[6:8])  # and is killed before it saves
    other = await open_store(config)
    async with open_runs(other) as runs:
        again = await runs.get(run.id)
        assert (again.version, again.counts.rows) == (3, 4)
        assert again.cursor == {"snapshot": {"offset": 2}, "stream": STREAMS[5]}
        again.resume("host:2")
        await runs.save(again)
        assert (await runs.get(run.id)).process == "host:2"
    await other.close()


async def test_one_of_two_processes_takes_a_run(store: Store) -> None:
    """Of two processes at the same version, one records, and the other gets `RunTakenOver`."""
    async with open_runs(store) as runs:
        run = await saved(runs)
        copies = [await runs.get(run.id) for _ in range(4)]
        taken = []

        async def resume(number: int) -> None:
            copies[number].resume(f"host:{number}")
            try:
                await runs.save(copies[number])
            except RunTakenOver:
                taken.append(number)

        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(resume, number)
        assert len(taken) == 3
        [winner] = {0, 1, 2, 3}.difference(taken)
        assert (await runs.get(run.id)).process == f"host:{winner}"
        compare(copies[taken[0]], STREAMS[6:8])
        with pytest.raises(RunTakenOver, match=f"the rebuild {run.id} was taken over by another process"):
            await runs.save(copies[taken[0]])


async def test_a_lost_acknowledgement_is_no_rival(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that were recorded despite an error are recognised at the next save, alone or with new ones."""
    async with open_runs(store) as runs:
        run = await saved(runs)
        for more in (False, True):
            compare(run, STREAMS[6:8])
            with monkeypatch.context() as patched:
                problem = StoreUnavailable("here", OSError("gone"))
                patched.setattr(store.records, "insert", failing_after(store.records.insert, problem))
                with pytest.raises(StoreUnavailable, match="gone") as raised:
                    await runs.save(run)
                assert raised.value is problem
            if more:
                compare(run, STREAMS[8:9])
            await runs.save(run)
            assert not run.pending_events
            assert await runs.get(run.id) == run
        assert run.version == 6


async def test_what_was_not_recorded_is_saved_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failure that stored nothing, the next save stores everything."""
    async with open_runs(store) as runs:
        run = await saved(runs)

        async def fail(*_: object) -> object:
            raise StoreUnavailable("here", OSError("gone"))

        compare(run, STREAMS[6:8])
        with monkeypatch.context() as patched:
            patched.setattr(store.records, "insert", fail)
            with pytest.raises(StoreUnavailable):
                await runs.save(run)
        assert (await runs.get(run.id)).version == 3
        await runs.save(run)
        assert await runs.get(run.id) == run


async def test_a_save_outlasts_a_cancellation(store: Store) -> None:
    """A save in a shielded block is recorded, although the program around the runs is being cancelled."""
    async with open_runs(store) as runs:
        run = await saved(runs)
    with anyio.CancelScope() as scope:
        async with open_runs(store) as runs:
            with anyio.CancelScope(shield=True):
                scope.cancel()
                await anyio.sleep(0.01)
                run.fail("interrupted")
                await runs.save(run)
            await anyio.sleep(1)
    assert scope.cancelled_caught
    async with open_runs(store) as runs:
        assert (await runs.get(run.id)).failed_because == "interrupted"


# --- reading --------------------------------------------------------------------------------------


async def test_drifted_streams_and_orphans_are_read_in_pages(store: Store) -> None:
    """Chunks are read in order, without empty ones; a run that starts over discards its earlier findings."""
    async with open_runs(store) as runs:
        run = await saved(runs)
        assert await items(runs.orphans(run.id)) == [STREAMS[2:4]]
        assert await items(runs.drifted(run.id)) == [
            [(stream, "missing") for stream in STREAMS[0:2]],
            [(stream, "missing") for stream in STREAMS[4:6]],
        ]
        run.start_over("unsorted")
        await runs.save(run)
        assert await items(runs.drifted(run.id)) == []
        assert await items(runs.orphans(run.id)) == []
        compare(run, STREAMS[0:1], orphans=STREAMS[1:2])
        compare(run, STREAMS[2:3], orphans=STREAMS[3:5])
        several: Drifted = {"newer": ["A", "D"], "missing": ["C"], "changed": ["B"]}
        run.chunk_compared(cursor=run.cursor, counts=RunCounts(), drifted=several)
        run.compared(complete=True)
        run.withdraw(STREAMS[1:2], spared=0, after=STREAMS[1])
        await runs.save(run)
        assert await items(runs.orphans(run.id)) == [STREAMS[1:2], STREAMS[3:5]]
        in_order = [("A", "newer"), ("B", "changed"), ("C", "missing"), ("D", "newer")]
        expected = [[(STREAMS[0], "missing")], [(STREAMS[2], "missing")], in_order]
        assert await items(runs.drifted(run.id)) == expected


async def test_a_long_run_is_not_read_from_its_beginning(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is read from an aggregate snapshot and few events; a finished one from the snapshot alone."""
    async with open_runs(store) as runs:
        run = await runs.start(plan())
        for number in range(3 * SNAPSHOT_EVERY + 4):
            compare(run, STREAMS[number : number + 1], orphans=STREAMS[number + 50 : number + 51])
            await runs.save(run)
        read: list[int] = []
        select = store.records.select

        async def spied(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # passed on as they came
            rows = await select(*arguments, **options)
            read.append(len(rows))
            return rows

        monkeypatch.setattr(store.records, "select", spied)
        assert await runs.get(run.id) == run
        assert read == [1, 5]
        read.clear()
        run.compared(complete=True)
        run.hold(34, 20)
        await runs.save(run)
        assert list(await runs.list(10)) == [run]
        assert read == [1, 1, 0]
        application = runs._application
        monkeypatch.setattr(application.repository, "snapshot_store", None)
        assert await runs.get(run.id) == run


async def test_runs_are_listed_newest_first(store: Store) -> None:
    """Runs started one by one or concurrently are all listed, also by source; the latest of a source is known."""
    async with open_runs(store) as runs:
        assert list(await runs.list(10)) == []
        assert await runs.latest("erp") is None
        started = []
        for number in range(50):
            source = "erp" if number % 5 == 0 else "pim"
            started.append((await runs.start(plan(source))).id)
        newest = started[::-1]
        assert [run.id for run in await runs.list(50)] == newest
        assert [run.id for run in await runs.list(3)] == newest[:3]
        assert [run.id for run in await runs.list(100, "erp")] == started[45::-5]
        latest = await runs.latest("erp")
        assert latest is not None
        assert latest.id == started[45]
        async with anyio.create_task_group() as group:
            for _ in range(75):
                group.start_soon(runs.start, plan("wms"))
        assert len({run.id for run in await runs.list(1_000)}) == 125
        assert [run.id for run in await runs.list(1_000)][75:] == newest


async def test_two_stores_share_the_register(store: Store, config: Config) -> None:
    """Concurrent starts by several processes are all registered."""
    other = await open_store(config)
    async with open_runs(store) as here, open_runs(other) as there, anyio.create_task_group() as group:
        for runs in (here, there) * 10:
            group.start_soon(runs.start, plan())
    async with open_runs(store) as runs:
        assert len(await runs.list(100, "erp")) == 20
    await other.close()


async def test_an_unknown_run_is_explained(store: Store) -> None:
    """An id that is not a run's raises an error that names the command to list runs."""
    async with open_runs(store) as runs:
        run = await saved(runs)
        for name in ("", "nu\0ll", "erp", REGISTER, "erp-20261123T020000-3f9a", f"{run.id}/", "A/*/pricing/erp"):
            with pytest.raises(UnknownRun, match="pagefold rebuilds list"):
                await runs.get(name)
        with pytest.raises(UnknownRun):
            await items(runs.orphans("erp"))


# --- the log and the environment ------------------------------------------------------------------


async def test_the_environment_has_no_influence(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment variables for the user's own applications are ignored."""
    nonsense = {
        "PERSISTENCE_MODULE": "eventsourcing.popo",
        "AGGREGATE_CACHE_MAXSIZE": "many",
        "CIPHER_TOPIC": "no.such:Cipher",
        "COMPRESSOR_TOPIC": "zlib",
        "TRANSCODER_TOPIC": "no.such:Transcoder",
        "MAPPER_TOPIC": "no.such:Mapper",
        "APPLICATION_RECORDER_TOPIC": "no.such:Recorder",
        "IS_SNAPSHOTTING_ENABLED": "n",
        "ORIGINATOR_ID_TYPE": "int",
        "CREATE_TABLE": "perhaps",
        "PAGEFOLD_SCHEMA": "A B",
    }
    for name, value in nonsense.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(f"REBUILDS_{name}", value)
    async with open_runs(store) as runs:
        run = await saved(runs)
        run.fail("no")
        await runs.save(run)
        assert await runs.get(run.id) == run
    [event] = await store.records.select("stored_events", run.id, after=0, upto=1, descending=False, limit=9)
    assert event.topic == "engine.rebuild.run:Rebuild.Started"
    assert event.state.startswith(b'{"timestamp":')
    assert await store.records.select("stored_snapshots", run.id, after=0, upto=9, descending=False, limit=9)


async def test_a_plain_follower_reads_the_runs(store: Store, store_url: str) -> None:
    """An application of the library over the same store reads a run's events, and the run itself."""
    async with open_runs(store) as runs:
        run = await saved(runs)

    def follow() -> None:
        topic = "engine.rebuild.run:Rebuild.PageDone"
        with Application[str](environment(store_url, ORIGINATOR_ID_TYPE="text")) as follower:
            notifications = follower.recorder.select_notifications(None, 10, topics=[topic])
            events = [follower.mapper.to_domain_event(notification) for notification in notifications]
            assert all(isinstance(event, RebuildRun.ChunkCompared) for event in events)
            assert [event.originator_id for event in events] == [run.id, run.id]
            assert follower.repository.get(run.id) == run

    await run_sync(follow)


async def test_consumers_pass_over_runs(shop: Shop) -> None:
    """Consumers skip the events of runs: nothing is folded or dead, and there is no lag."""
    async with open_runs(shop.store) as runs:
        await append(shop, catalog("T-Shirt"))
        run = await saved(runs)
        await append(shop, price("9.90"))
        run.compared(complete=True)
        run.complete()
        await runs.save(run)
    await shop.catch_up()
    status = await shop.status()
    assert status.lag_events == 0
    assert {each.domain: each.applied for each in status.domains if each.applied} == {"catalog": 1, "pricing": 1}
    assert [each.dead_letters for each in status.domains] == [0, 0, 0, 0]
    assert await shop.store.log.skus("", 10) == ["TSHIRT-M"]


# --- the end --------------------------------------------------------------------------------------


async def test_nothing_is_left_of_runs(store: Store, config: Config) -> None:
    """However the block ends, the store is still open, and no thread is left waiting."""
    with pytest.raises(UnknownRun):  # noqa: PT012  # what is raised in the block comes out of it as itself
        async with open_runs(store) as runs:
            await saved(runs)
            raise UnknownRun("erp")
    assert await store.log.end() == 4
    with pytest.raises(InterfaceError, match="has been closed"):
        await runs.latest("erp")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pagefold-recorders")]
    await store.close()
    assert_nothing_is_open(config)
