"""Requirement sets that count from a day: applied on that day, as an event, since a page knows no clock."""

import pytest

import pagefold
from pagefold import Config
from pagefold.engine.applied import applied_configuration
from pagefold.engine.plans import applier
from tests.support.small_shop import Document, catalog, document, pages_of, say, section

TODAY = "2027-02-28"
FIRST: Document = {"name": "rules", "version": 1, "requires": [{"attributes": ["name"]}]}
SECOND: Document = {
    "name": "rules",
    "version": 2,
    "valid_from": "2027-03-01",
    "requires": [{"attributes": ["name", "gtin"]}],
}
OTHER: Document = {"name": "other", "valid_from": "2027-03-02", "requires": [{"attributes": ["care"]}]}


def asking(url: str, *requirements: Document) -> Config:
    """The small shop, with requirements of one channel."""
    tables = document(url)
    tables["channels"]["web-de"] |= {"requirements": list(requirements)}
    return Config.parse(tables, store=url)


class Calendar:
    """The day of this process."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.day = TODAY
        for module in (applied_configuration, applier):
            patch.setattr(module, "today", lambda: self.day)


@pytest.fixture
def calendar(monkeypatch: pytest.MonkeyPatch) -> Calendar:
    """A calendar that the test turns."""
    return Calendar(monkeypatch)


async def missing(shop: pagefold.Shop) -> list[str]:
    """What the page lacks."""
    found: list[str] = (await section(shop, "catalog"))["completeness"]["missing"]
    return found


async def test_a_set_counts_from_its_day_on(store_url: str, calendar: Calendar) -> None:
    """It takes the place of the earlier set of its name; one of another name counts beside it."""
    async with pagefold.open(asking(store_url, FIRST, SECOND, OTHER)) as shop:
        await say(shop, catalog("shirt"))
        assert await missing(shop) == []
        for day, expected, applied in (
            (TODAY, [], 1),
            ("2027-03-01", ["gtin"], 2),
            ("2027-03-01", ["gtin"], 2),
            ("2027-03-02", ["care", "gtin"], 3),
            ("2028-01-01", ["care", "gtin"], 3),
        ):
            calendar.day = day
            await shop.catch_up()
            assert await missing(shop) == expected
            assert len(await shop.applied.log.list(10)) == applied
            assert (await shop.verify(processes=2)).changed == 0
        newest = (await shop.applied.log.list(1))[0].record
        assert (newest.by, newest.reason) == ("pagefold", "requirement sets that count from 2027-03-02 on")
        report = await shop.completeness.report("web-de")
        assert report.requirements == ["rules@2", "other@1"]


async def test_the_file_is_not_held_by_what_a_day_has_changed(store_url: str, calendar: Calendar) -> None:
    """Nor does the clock matter when pages are folded again."""
    async with pagefold.open(asking(store_url, FIRST, SECOND)) as shop:
        await say(shop, catalog("shirt"))
        calendar.day = "2027-03-01"
        await shop.catch_up()
        pages = await pages_of(shop)
        calendar.day = TODAY  # a clock that was set back
        async with pagefold.open(asking(store_url, FIRST, SECOND)) as again:
            assert not again.applied.is_held
            await again.catch_up()
            assert (await again.replay()).changed == 0
            assert await pages_of(again) == pages


async def test_a_new_file_counts_as_of_its_day(store_url: str, calendar: Calendar) -> None:
    """A set of a past day counts as soon as the file is applied; a plan says so."""
    async with pagefold.open(asking(store_url, FIRST)) as shop:
        await say(shop, catalog("shirt"))
    calendar.day = "2027-06-01"
    async with pagefold.open(asking(store_url, FIRST, SECOND)) as shop:
        plan = (await shop.plan()).plan
        assert plan.channels["web-de"].changed == 1
        await shop.catch_up()
        assert await missing(shop) == ["gtin"]


def test_what_is_no_day_is_an_error() -> None:
    """With the place."""
    with pytest.raises(pagefold.ConfigurationError, match="valid_from"):
        asking("sqlite:///nowhere", SECOND | {"valid_from": "2027-3-1"})
