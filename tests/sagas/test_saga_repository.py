"""Records of sagas in the log: read again as they were, together, and once."""

import pytest

from pagefold import StoreUnavailable
from pagefold.engine.sagas.page_saga import PageName, PageSaga
from pagefold.engine.sagas.saga_repository import SNAPSHOT_EVERY, SagaRepository, open_sagas
from pagefold.engine.stores.recorder_records import Records
from pagefold.engine.stores.store import Store

PAGE = PageName("listing", "MUG/ü 1", "web-de")


def state_of(saga: PageSaga) -> dict[str, object]:
    """All that a record says."""
    return {name: value for name, value in vars(saga).items() if name != "_pending_events"}


async def found(sagas: SagaRepository, page: PageName = PAGE) -> PageSaga:
    """A record, as it is stored."""
    [saga] = await sagas.find([page])
    assert saga is not None
    return saga


async def test_a_record_with_a_history(store: Store) -> None:
    """It is read from an aggregate snapshot on, with every field."""
    async with open_sagas(store) as sagas:
        assert list(await sagas.find([PAGE])) == [None]
        saga = PageSaga.create(PAGE)
        for number in range(1, SNAPSHOT_EVERY):
            saga.start(upto=number, position=10 * number, tag=f"v{number}", targets=["a", "b"], pivot="b")
            saga.take("a")
            if number % 2:
                saga.complete()
            else:
                saga.refuse("b", "422 no", 10 * number + 5, uncertain=True)
                saga.compensate()
            assert await sagas.save([saga]) == set()
        again = await found(sagas)
        assert state_of(again) == state_of(saga)
        assert (again.common, again.given_up, again.name) == (19, None, PAGE)
        snapshots = await store.records.select(
            "stored_snapshots", PAGE.stream, after=-1, upto=2**62, descending=False, limit=99
        )
        assert len(snapshots) == saga.version // SNAPSHOT_EVERY


async def test_several_are_saved_together_but_for_those_that_were_taken_over(store: Store) -> None:
    """Those of which another process has recorded something else are named; their copies are useless."""
    pages = [PAGE, PageName("listing", "CUP", "web-de")]
    async with open_sagas(store) as sagas:
        mine = [PageSaga.create(page) for page in pages]
        assert await sagas.save(mine) == set()
        other = await found(sagas)
        other.start(upto=1, position=1, tag="theirs", targets=["a"], pivot="a")
        assert await sagas.save([other]) == set()
        for each in mine:
            each.start(upto=2, position=2, tag="mine", targets=["a"], pivot="a")
        assert await sagas.save(mine) == {PAGE}
        assert [(await found(sagas, page)).tag for page in pages] == ["theirs", "mine"]


async def test_a_save_whose_answer_was_lost_is_repeated(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The events are recorded once."""
    async with open_sagas(store) as sagas:
        saga = PageSaga.create(PAGE)
        kind = type(store.records)
        insert = kind.insert

        async def lost(self: Records, *arguments: object) -> list[int]:
            await insert(self, *arguments)  # type: ignore[arg-type]  # as they were given
            raise StoreUnavailable(store.name, TimeoutError("no answer"))

        monkeypatch.setattr(kind, "insert", lost)
        with pytest.raises(StoreUnavailable):
            await sagas.save([saga])
        monkeypatch.setattr(kind, "insert", insert)
        assert await sagas.save([saga]) == set()
        assert (await found(sagas)).version == 1
