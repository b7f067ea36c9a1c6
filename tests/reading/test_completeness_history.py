"""The events by which pages became complete or incomplete, on both stores, against a plain model."""

import random
from collections.abc import Mapping, Sequence

import msgspec
import pytest

import pagefold
from pagefold import Config, DomainEvent, Shop
from pagefold.engine.reading.history import HistoryEntry
from tests.support.http_clients import client_of, service_of
from tests.support.small_shop import (
    Document,
    append,
    apply_file,
    document,
    event,
    price,
    say,
    withdrawn,
)

NAME: Document = {"name": "name", "requires": [{"attributes": ["name"]}]}
SIZE: Document = {"name": "size", "requires": [{"attributes": ["size"]}]}


def measuring(url: str, **more: object) -> Config:
    """The small shop, with two channels that require something else each."""
    tables = document(url, work={"poll_seconds": 0.05})
    tables["channels"]["web-de"] |= {"requirements": [NAME], "sources": {"catalog": ["pim", "pim2"]}, **more}
    tables["channels"]["outlet-de"] |= {"requirements": [SIZE]}
    return Config.parse(tables, store=url)


def product(version: int, *attributes: str, source: str = "pim", **more: object) -> DomainEvent:
    """A version of a product that has these attributes."""
    return event(
        "catalog", {"attributes": dict.fromkeys(attributes, "x"), **more}, version=version, source=source, sku="TEE"
    )


async def history(shop: Shop) -> list[HistoryEntry]:
    """The marked history, by position."""
    entries = [entry async for entry in shop.history("TEE")]
    return sorted(await shop.completeness_history.marked("TEE", entries), key=lambda each: each.position)


def marks(entries: Sequence[HistoryEntry]) -> list[tuple[list[str], list[str]]]:
    """In which channels a page became complete, and in which incomplete."""
    return [(each.became_complete, each.became_incomplete) for each in entries]


async def test_an_event_says_what_became_of_the_page(store_url: str) -> None:
    """By channel; prices say nothing, nor do events that change nothing, or after which there is no page."""
    async with pagefold.open(measuring(store_url)) as shop:
        await say(shop, product(1, "name"), price("1.00", sku="TEE"), product(2, "name", "size"), product(3, "name"))
        await say(
            shop, product(4, "name", enabled=False), product(5, "name"), withdrawn("catalog", version=6, sku="TEE")
        )
        await say(shop, product(7), product(8))
        assert marks(await history(shop)) == [
            (["web-de"], ["outlet-de"]),
            ([], []),
            (["outlet-de"], []),
            ([], ["outlet-de"]),
            ([], []),
            (["web-de"], ["outlet-de"]),
            ([], []),
            ([], ["outlet-de", "web-de"]),
            ([], []),
        ]


async def test_late_versions_and_other_sources(store_url: str) -> None:
    """What counts is the page as it was when the event came, of all sources."""
    async with pagefold.open(measuring(store_url)) as shop:
        await say(shop, product(5, "name"), product(4), product(1, "name", source="pim2"), product(6))
        await say(shop, product(2, source="pim2"))
        found = [(complete, incomplete) for complete, incomplete in marks(await history(shop))]
        assert [("web-de" in complete, "web-de" in incomplete) for complete, incomplete in found] == [
            (True, False),
            (False, False),
            (False, False),
            (False, False),
            (False, True),
        ]


@pytest.mark.parametrize("incomplete", ["hide", "keep"])
async def test_the_policy_makes_no_difference(store_url: str, incomplete: str) -> None:
    """A page that is not shown is incomplete all the same; one that a filter hides is neither."""
    filters = {"shown": {"without": {"hidden": True}}}
    async with pagefold.open(measuring(store_url, incomplete=incomplete, filters=filters)) as shop:
        await say(shop, product(1), product(2, "name"), product(3), product(4, "hidden"), product(5, "hidden", "name"))
        await say(shop, product(6, "name"))
        found = [("web-de" in complete, "web-de" in hidden) for complete, hidden in marks(await history(shop))]
        assert found == [(False, True), (True, False), (False, True), (False, False), (False, False), (True, False)]


async def test_without_requirements_nothing_is_marked(store_url: str) -> None:
    """A changed configuration marks what it would have been."""
    async with pagefold.open(Config.parse(document(store_url), store=store_url)) as shop:
        await say(shop, product(1), product(2, "name"))
        assert marks(await history(shop)) == [([], []), ([], [])]
    async with pagefold.open(measuring(store_url)) as shop:
        await apply_file(shop)
        assert [complete for complete, _ in marks(await history(shop))] == [[], ["web-de"]]


async def test_pages_of_the_history_over_http(store_url: str) -> None:
    """Each chunk has the marks of its own events, whatever its size."""
    async with pagefold.open(measuring(store_url)) as shop:
        await say(shop, *(product(version, *(["name"] if version % 3 else [])) for version in range(1, 8)))
        async with client_of(service_of(shop), "reader") as client:
            items: list[Document] = []
            cursor: str | None = ""
            while cursor is not None:
                after = f"&after={cursor}" if cursor else ""
                answer = (await client.get(f"/v1/skus/TEE/history?limit=2{after}")).json()
                items, cursor = items + answer["items"], answer["next"]
        assert items == msgspec.to_builtins(await history(shop))
        web = [("web-de" in each["becameComplete"], "web-de" in each["becameIncomplete"]) for each in items]
        assert web == [
            (True, False),
            (False, False),
            (False, True),
            (True, False),
            (False, False),
            (False, True),
            (True, False),
        ]


async def test_what_a_variant_inherits_counts(store_url: str) -> None:
    """As it was when the event came: the parent's own events are in the parent's history."""
    tables = msgspec.to_builtins(measuring(store_url))
    tables["sources"]["pim"]["inherit"] = {}
    async with pagefold.open(Config.parse(tables, store=store_url)) as shop:
        parent = event("catalog", {"attributes": {"name": "x"}}, sku="MODEL")
        await say(shop, product(1, parent="MODEL"), parent, product(2, parent="MODEL"), product(3))
        assert ["web-de" in each.became_incomplete for each in await history(shop)] == [True, False, True]
        assert ["web-de" in each.became_complete for each in await history(shop)] == [False, False, False]
        await say(shop, product(4, parent="MODEL"))
        assert "web-de" in (await history(shop))[-1].became_complete


# --- against a model ------------------------------------------------------------------------------

RANKED = {"web-de": (["pim", "pim2"], "name"), "outlet-de": (["pim"], "size")}
Kind = tuple[str, int, frozenset[str] | None]
"""The source, the version and the attributes of an event; None if it withdraws."""


def states(arrived: Sequence[Kind]) -> Mapping[str, bool]:
    """The model: whether pages are complete once these events have come."""
    found: dict[str, bool] = {}
    for channel, (sources, needed) in RANKED.items():
        heads = [
            max((each for each in arrived if each[0] == source), key=lambda each: each[1], default=None)
            for source in sources
        ]
        shown = [head[2] for head in heads if head is not None and head[2] is not None]
        if shown:
            found[channel] = any(needed in attributes for attributes in shown)
    return found


@pytest.mark.parametrize("seed", range(3))
async def test_the_marks_are_those_of_the_model(store_url: str, seed: int) -> None:
    """In any order of arrival."""
    luck = random.Random(seed)
    arrived: list[Kind] = []
    for source in ("pim", "pim2"):
        for version in range(1, 15):
            sent = frozenset(luck.sample(["name", "size"], luck.randrange(3)))
            arrived.append((source, version, sent if luck.random() < 0.85 else None))
    luck.shuffle(arrived)
    async with pagefold.open(measuring(store_url)) as shop:
        for source, version, attributes in arrived:
            if attributes is None:
                await append(shop, withdrawn("catalog", version=version, sku="TEE", source=source))
            else:
                await append(shop, product(version, *sorted(attributes), source=source))
        found = marks(await history(shop))
    expected = []
    for number in range(len(arrived)):
        before, after = states(arrived[:number]), states(arrived[: number + 1])
        changed = sorted(channel for channel, state in after.items() if before.get(channel) is not state)
        complete = [channel for channel in changed if after[channel]]
        expected.append((complete, [channel for channel in changed if not after[channel]]))
    assert found == expected
