"""SKUs that products name, in random events in any order: the pages are those of the model; on both stores."""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pagefold
from pagefold import Config, DomainEvent, Shop
from pagefold.engine.folding import folder
from pagefold.engine.replay import section_verifier
from tests.support.named_skus import asking, links
from tests.support.small_shop import (
    Document,
    a_model,
    as_document,
    event,
    keys_of,
    pages_in,
    say,
)

NAMES = ["A", "B", "C", "D", "a", "É", "e"]


Pages: TypeAlias = Mapping[tuple[str, str], bytes | None]


class Story(NamedTuple):
    """Events in the order in which they arrive, and where the log is folded between them."""

    events: Sequence[DomainEvent]
    cuts: Sequence[int]


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


def stories() -> st.SearchStrategy[Story]:
    """Random events of few products, in any order; several versions of each stream."""
    streams = st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(["*", "*", "web-de"]),
        st.sampled_from(["pim", "pim", "pim2"]),
        st.integers(1, 3),
    )
    said = st.dictionaries(streams, st.one_of(payloads(), payloads(), st.none()), min_size=2, max_size=16)
    events = said.flatmap(lambda found: st.permutations(sorted(found.items(), key=lambda item: item[0])))

    def story(given_events: Sequence[tuple[tuple[str, str, str, int], Document | None]], cuts: set[int]) -> Story:
        made = [
            event("catalog", payload, sku=sku, channel=channel, source=source, version=version)
            for (sku, channel, source, version), payload in given_events
        ]
        return Story(made, [0, *sorted(cut for cut in cuts if cut < len(made)), len(made)])

    return st.builds(story, events, st.sets(st.integers(1, 15), max_size=4))


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
    store_url: str, chosen: Document, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every moment when all is folded; links are those of any other order, in small chunks too."""
    config = asking(store_url, **chosen)
    await compare_orders(config, story, monkeypatch, is_modelled=True)


@given(story=stories())
@settings(max_examples=8)
async def test_pages_that_keep_a_version_are_those_of_any_other_order(
    store_url: str, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model keeps no versions: the pages are compared with those of the order of the versions, and with `why`."""
    config = asking(store_url, inherit={"ignore_case": True}, incomplete="keep")
    await compare_orders(config, story, monkeypatch, is_modelled=False)


async def compare_orders(config: Config, story: Story, monkeypatch: pytest.MonkeyPatch, *, is_modelled: bool) -> None:
    """Folds a story as it arrives, in small windows, and then sorted and at once."""
    monkeypatch.setattr(folder, "CHUNK_SKUS", 2)
    monkeypatch.setattr(section_verifier, "STEP_STREAMS", 4)
    small = msgspec.structs.replace(config, work=msgspec.structs.replace(config.work, batch=2))
    in_order = Story(sorted(story.events, key=str), [0, len(story.events)])
    model = config if is_modelled else None
    arrived = await outcome_of(small, story, model)
    assert arrived == await outcome_of(config, in_order, model)


async def outcome_of(chosen: Config, story: Story, modelled: Config | None) -> str:
    """Folds the events up to each cut, and compares the pages. Returns pages and links at the end."""
    async with pagefold.open(chosen) as shop:
        prefix = f"{await shop.store.log.end():09}-"
        model = None if modelled is None else a_model(modelled)
        moments: list[tuple[int, Pages]] = []
        for start, stop in pairwise(story.cuts):
            part = [prefixed(each, prefix) for each in story.events[start:stop]]
            await say(shop, *part)
            moments.append((await shop.store.log.end(), await own_pages(shop, prefix)))
            for each in part:
                if model is not None:
                    model.submit(as_document(each))
            if model is not None:
                assert moments[-1][1] == pages_in(model)
        await compare_readers(shop, prefix, moments)
        pages = moments[-1][1]
        return str((sorted(pages.items()), await links(shop, prefix))).replace(prefix, "")


async def compare_readers(shop: Shop, prefix: str, moments: Sequence[tuple[int, Pages]]) -> None:
    """Whoever else folds finds the same: a replay, the pages as they were each time, and why they are so."""
    assert (await shop.replay(prefix=prefix)).changed == 0
    for position, pages in moments:
        view = await shop.past.view(position)
        for channel in {channel for _, channel in pages}:
            own = {sku: page for (sku, name), page in pages.items() if name == channel}
            assert await shop.past.get_many_json(list(own), channel, view, disabled=True) == own
    for sku, channel in [key for key in moments[-1][1] if key[1] == "web-de"][:2]:
        why = await shop.why(sku, channel)
        assert {each.stored for each in why.sections if each.domain == "catalog"} <= {"same"}


async def own_pages(shop: Shop, prefix: str) -> dict[tuple[str, str], bytes | None]:
    """The pages of one example."""
    keys = [key for key in await keys_of(shop.store) if key[0].startswith(prefix)]
    return {key: await shop.pages.get_json(*key, disabled=True) for key in keys}
