"""SKUs that products name, in random events in any order: the pages are those of the model; on both stores."""

from collections.abc import Collection, Mapping, Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pagefold
from pagefold import Config, DomainEvent, Shop
from tests.support.arrival_orders import NAMES, Arrivals, Pages, arrivals, fold_in_turn, in_small_steps
from tests.support.named_skus import asking, links
from tests.support.small_shop import (
    Document,
)


def payloads() -> st.SearchStrategy[Document]:
    """Products that name others, or themselves, or what is not there."""
    names = st.sampled_from([*NAMES, "é", "missing"])
    attributes = st.fixed_dictionaries(
        {},
        optional={
            "name": st.sampled_from(["n", " "]),
            "related": st.one_of(names, st.lists(names, max_size=3)),
            "sets": st.fixed_dictionaries({"parts": st.lists(names, max_size=2)}),
        },
    )
    return st.fixed_dictionaries({"attributes": attributes}, optional={"parent": names, "enabled": st.booleans()})


def stories() -> st.SearchStrategy[Arrivals]:
    """Events of a few products; some are withdrawn."""
    return arrivals(st.one_of(payloads(), payloads(), st.none()))


def prefixed(given_event: DomainEvent, prefix: str) -> DomainEvent:
    """The event about products of one example."""
    payload: Document | None = None
    if isinstance(given_event.payload, Mapping):
        payload = {**given_event.payload}
        attributes = payload["attributes"] = {**payload["attributes"]}
        if "related" in attributes:
            attributes["related"] = with_prefix(attributes["related"], prefix)
        if "sets" in attributes:
            attributes["sets"] = {"parts": with_prefix(attributes["sets"]["parts"], prefix)}
        if "parent" in payload:
            payload["parent"] = prefix + payload["parent"]
    return msgspec.structs.replace(given_event, sku=prefix + given_event.sku, payload=payload)


def with_prefix(named: str | Collection[str], prefix: str) -> str | list[str]:
    """The SKUs of one example."""
    return prefix + named if isinstance(named, str) else [prefix + each for each in named]


SETTINGS: Sequence[Document] = [
    {},
    {"inherit": {"ignore_case": True}, "channels": ["web-de", "web-us", "outlet-de"]},
    {"inherit": {"levels": 1}, "incomplete": "hide"},
]


@given(story=stories())
@settings(max_examples=8)
@pytest.mark.parametrize("chosen", SETTINGS)
async def test_pages_are_those_of_the_model_whatever_the_order(
    store_url: str, chosen: Document, story: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every moment when all is folded; links are those of any other order, in small chunks too."""
    config = asking(store_url, **chosen)
    await compare_orders(config, story, monkeypatch, config)


@given(story=stories())
@settings(max_examples=8)
async def test_pages_that_keep_a_version_are_those_of_any_other_order(
    store_url: str, story: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model keeps no versions: the pages are compared with those of the order of the versions, and with `why`."""
    config = asking(store_url, inherit={"ignore_case": True}, incomplete="keep")
    await compare_orders(config, story, monkeypatch, None)


async def compare_orders(
    config: Config, story: Arrivals, monkeypatch: pytest.MonkeyPatch, model: Config | None
) -> None:
    """Folds a story as it arrives, in small windows, and then sorted and at once."""
    arrived = await outcome_of(in_small_steps(config, monkeypatch), story, model)
    assert arrived == await outcome_of(config, story.in_order(), model)


async def outcome_of(chosen: Config, story: Arrivals, modelled: Config | None) -> str:
    """Folds the events in turn. Returns pages and links at the end."""
    async with pagefold.open(chosen) as shop:
        prefix, moments = await fold_in_turn(shop, story, prefixed, modelled)
        await compare_readers(shop, moments)
        pages = moments[-1][1]
        return str((sorted(pages.items()), await links(shop, prefix))).replace(prefix, "")


async def compare_readers(shop: Shop, moments: Sequence[tuple[int, Pages]]) -> None:
    """Whoever else folds finds the same: the pages as they were each time, and why they are so."""
    for position, pages in moments:
        view = await shop.past.view(position)
        for channel in {channel for _, channel in pages}:
            own = {sku: page for (sku, name), page in pages.items() if name == channel}
            assert await shop.past.get_many_json(list(own), channel, view, disabled=True) == own
    for sku, channel in [key for key in moments[-1][1] if key[1] == "web-de"][:2]:
        why = await shop.why(sku, channel)
        assert {each.stored for each in why.sections if each.domain == "catalog"} <= {"same"}
