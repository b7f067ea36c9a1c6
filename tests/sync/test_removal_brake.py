"""A sync that would remove too much appends the rest, and waits for a confirmation; on both stores."""

from typing import Any

import pytest

import pagefold
from pagefold import Shop
from pagefold.engine.errors import SourceFailed
from pagefold.engine.reading.source_lag import SourceLag
from pagefold.engine.rebuild import spill
from pagefold.engine.stores.sync_notes import SyncNotes
from pagefold.engine.sync import removal_brake
from pagefold.engine.sync.delta_sync import DeltaSync
from pagefold.engine.sync.removal_brake import HeldDecision
from pagefold.engine.sync.sync_report import SyncReport
from tests.support.fake_endpoint import Asked, Reply, serving
from tests.sync.test_delta_sync import NOON, Clock, Feed, configured

CONTRACT = {
    "sku": "code",
    "versions": "none",
    "catalog": {"withdraw": {"gone": [True]}, "attributes": {"color": "color", "size": "size"}},
}
SKUS = [f"SKU-{number:02}" for number in range(20)]


class Products(Feed):
    """Products that can be deleted, or lose a field."""

    def say(self, *skus: str, **fields: object) -> None:
        """These products are so now."""
        for sku in skus:
            self.change(sku, NOON)
            self.records[-1] = {"code": sku, "updated": self.records[-1]["updated"], "gone": False, **FIELDS, **fields}


FIELDS = {"name": "Hemd", "color": "red", "size": "L"}


class Fixture:
    """A shop, and the source that it asks."""

    def __init__(self, shop: Shop, feed: Products) -> None:
        self.shop = shop
        self.feed = feed

    async def sync(self, decision: HeldDecision | None = None) -> SyncReport:
        """Asks once."""
        return await DeltaSync(self.shop, Clock()).run("pim", decision)

    async def shown(self, field: str = "color") -> list[object]:
        """What pages show of a field, None for no page."""
        await self.shop.catch_up()
        pages = [await self.shop.pages.get(sku, "web-de", disabled=True) for sku in SKUS]
        found: list[Any] = [page and page.sections["catalog"] for page in pages]
        return [each and each["attributes"].get(field) for each in found]


@pytest.fixture
async def asking(store_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401  # a generator
    """A shop that knows twenty products. Everything is done in small pieces."""
    for module, name in ((removal_brake, "HEADS_PER_READ"), (spill, "BATCH_ITEMS"), (removal_brake, "SCANNED_STREAMS")):
        monkeypatch.setattr(module, name, 3)
    feed = Products()
    feed.pages = 4
    feed.say(*SKUS)
    async with serving(feed) as server:
        config = configured(store_url, server, source="pim", contract=CONTRACT, max_orphans="25%")
        async with pagefold.open(config) as shop:
            asked = Fixture(shop, feed)
            assert (await asked.sync()).appended == len(SKUS)
            yield asked


async def test_a_few_are_withdrawn(asking: Fixture) -> None:
    """As many as the limit, whatever else changes."""
    asking.feed.say(*SKUS[:5], gone=True)
    asking.feed.say(*SKUS[5:], color="blue")
    report = await asking.sync()
    assert (report.held, report.appended, report.needs_attention) == ("", 20, False)
    assert await asking.shown() == [None] * 5 + ["blue"] * 15


async def test_many_are_not_withdrawn(asking: Fixture) -> None:
    """One more than the limit: no removal is appended, the rest is, and the next run finds the same again."""
    asking.feed.say(*SKUS[:6], gone=True)
    asking.feed.say(*SKUS[6:], color="blue")
    for appended in (14, 0):
        report = await asking.sync()
        assert report.held == "6 streams would be withdrawn; without a confirmation, 5 may be"
        assert (report.appended, report.needs_attention) == (appended, True)
        assert await asking.shown() == ["red"] * 6 + ["blue"] * 14
    [status] = await SourceLag(asking.shop.store, asking.shop.config).sources()
    assert status.held == report.held


async def test_a_confirmation_goes_on(asking: Fixture) -> None:
    """What was held is appended, and nothing is held any more."""
    asking.feed.say(*SKUS[:6], gone=True)
    assert (await asking.sync()).held
    report = await asking.sync(HeldDecision())
    assert (report.held, report.appended) == ("", 6)
    assert await asking.shown() == [None] * 6 + ["red"] * 14
    note = await SyncNotes(asking.shop.store, "pim").newest()
    assert note is not None
    assert (note.complete, note.held) == (True, "")


async def test_a_note_has_what_would_be_removed(asking: Fixture) -> None:
    """The number of streams, and some of them with what they would lose; nothing of it once a run is complete."""
    asking.feed.say(*SKUS[:6], gone=True)
    asking.feed.say(*SKUS[6:9], color="")
    report = await asking.sync()
    note = await SyncNotes(asking.shop.store, "pim").newest()
    assert note is not None
    assert (report.removals, note.removals, len(note.samples)) == (9, 9, 9)
    fields = {stream: [(each.path, each.after) for each in changes] for stream, changes in note.samples}
    assert fields[f"{SKUS[0]}/*/catalog/pim"] == [("", None)]
    assert fields[f"{SKUS[6]}/*/catalog/pim"] == [("attributes.color", None)]
    await asking.sync(HeldDecision())
    note = await SyncNotes(asking.shop.store, "pim").newest()
    assert note is not None
    assert (note.held, note.removals, note.samples) == ("", 0, [])


async def test_a_decision_is_about_what_was_seen(asking: Fixture) -> None:
    """One more removal than expected, and the run is held again, whatever was decided; the audit says so."""
    asking.feed.say(*SKUS[:6], gone=True)
    assert (await asking.sync()).held
    asking.feed.say(SKUS[6], gone=True)
    for leaves_out in (False, True):
        report = await asking.sync(HeldDecision(leaves_out, expected=6))
        assert (report.removals, report.appended, report.left_out) == (7, 0, 0)
    report = await asking.sync(HeldDecision(expected=7))
    assert (report.held, report.appended) == ("", 7)
    entries = [(each.action, each.target, each.outcome) for each in (await asking.shop.audit.page()).entries]
    assert entries == [
        ("sync --yes", "pim", "done"),
        ("sync --leave-out", "pim", "refused"),
        ("sync --yes", "pim", "refused"),
        *[("sync", "pim", "done")] * (len(entries) - 3),
    ]


async def test_what_is_left_out_is_not_asked_for_again(asking: Fixture) -> None:
    """Pages stay as they are; what else changes of these products is appended, now and later."""
    asking.feed.say(*SKUS[:7], gone=True)
    asking.feed.say(*SKUS[7:], color="blue")
    [back] = [each for each in asking.feed.records if each["code"] == SKUS[0]]
    asking.feed.records.append({**back, "gone": False, "color": "green"})
    assert (await asking.sync()).held
    report = await asking.sync(HeldDecision(leaves_out=True, expected=7))
    assert (report.held, report.left_out, report.appended) == ("", 7, 1)
    assert await asking.shown() == ["green"] + ["red"] * 6 + ["blue"] * 13
    asking.feed.records = []
    asking.feed.say(SKUS[1], color="blue")
    report = await asking.sync()
    assert (report.held, report.appended) == ("", 1)


async def test_a_source_that_is_repaired_needs_no_confirmation(asking: Fixture) -> None:
    """The next run finds nothing to hold."""
    asking.feed.say(*SKUS[:6], gone=True)
    assert (await asking.sync()).held
    asking.feed.say(*SKUS[:6], color="blue")
    report = await asking.sync()
    assert (report.held, report.appended) == ("", 6)
    assert await asking.shown() == ["blue"] * 6 + ["red"] * 14


async def test_a_field_that_most_changes_lack(asking: Fixture) -> None:
    """More than half of the changed records lose their color: held, although other fields changed in all."""
    asking.feed.say(*SKUS[:11], color="", size="XL")
    asking.feed.say(*SKUS[11:], size="XL")
    report = await asking.sync()
    assert report.held == "catalog would lose attributes.color in 11 of 20 changes"
    assert await asking.shown() == ["red"] * 20
    assert await asking.shown("size") == ["L"] * 11 + ["XL"] * 9


@pytest.mark.parametrize(("lacking", "changed"), [(10, 20), (5, 5)])
async def test_a_field_that_some_changes_lack(asking: Fixture, lacking: int, changed: int) -> None:
    """Half of them, or a few, are appended."""
    asking.feed.records = []
    asking.feed.say(*SKUS[:lacking], color="")
    asking.feed.say(*SKUS[lacking:changed], size="XL")
    report = await asking.sync()
    assert (report.held, report.appended) == ("", changed)
    assert await asking.shown() == [None] * lacking + ["red"] * (20 - lacking)


async def test_later_changes_of_a_stream_keep_their_order(asking: Fixture) -> None:
    """A product is deleted, and comes back on a later page: without versions, what comes last counts."""
    again = [{**record, "gone": False, "color": "blue"} for record in asking.feed.records[:5]]
    asking.feed.records = [{**record, "gone": True} for record in asking.feed.records[:5]] + again
    assert (await asking.sync()).held == ""
    assert await asking.shown() == ["blue"] * 5 + ["red"] * 15


async def test_a_feed_that_fails_removes_nothing(asking: Fixture) -> None:
    """Removals wait until everything was read; the next run has them."""
    asking.feed.say(*SKUS[:3], gone=True)

    def broken(asked: Asked) -> Reply | None:
        return Reply(status=400) if asked.query.get("page", "1") == "3" else None

    asking.feed.broken = broken
    with pytest.raises(SourceFailed):
        await asking.sync()
    assert await asking.shown() == ["red"] * 20
    asking.feed.broken = lambda _asked: None
    assert (await asking.sync()).held == ""
    assert await asking.shown() == [None] * 3 + ["red"] * 17
