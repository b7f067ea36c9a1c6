"""Events of a few products in any order of arrival, and what must hold of pages whatever the order."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import msgspec
import pytest
from hypothesis import strategies as st

from pagefold import Config, DomainEvent, Shop
from pagefold.engine.folding import folder
from pagefold.engine.folding.folder import Folder
from pagefold.engine.replay import section_verifier
from pagefold.engine.stores.log_records import StoredEvent
from tests.support.small_shop import (
    Document,
    a_model,
    as_document,
    event,
    keys_of,
    pages_in,
    pages_of,
    say,
)

NAMES = ["A", "B", "C", "D", "a", "É", "e"]

Pages: TypeAlias = Mapping[tuple[str, str], bytes | None]
Prefixed: TypeAlias = Callable[[DomainEvent, str], DomainEvent]
"""An event about products whose SKUs have a prefix, as have the SKUs that they name."""


class Arrivals(NamedTuple):
    """Events in the order in which they arrive, and where the log is folded between them."""

    events: Sequence[DomainEvent]
    cuts: Sequence[int]

    def in_order(self) -> "Arrivals":
        """The same events sorted, and folded at once."""
        return Arrivals(sorted(self.events, key=str), [0, len(self.events)])


def arrivals(payloads: st.SearchStrategy[Document | None]) -> st.SearchStrategy[Arrivals]:
    """Random events of the catalog, in any order; several versions of each stream."""
    streams = st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(["*", "*", "web-de"]),
        st.sampled_from(["pim", "pim", "pim2"]),
        st.integers(1, 3),
    )
    said = st.dictionaries(streams, payloads, min_size=2, max_size=16)
    events = said.flatmap(lambda found: st.permutations(sorted(found.items(), key=lambda item: item[0])))

    def arrived(given_events: Sequence[tuple[tuple[str, str, str, int], Document | None]], cuts: set[int]) -> Arrivals:
        made = [
            event("catalog", payload, sku=sku, channel=channel, source=source, version=version)
            for (sku, channel, source, version), payload in given_events
        ]
        return Arrivals(made, [0, *sorted(cut for cut in cuts if cut < len(made)), len(made)])

    return st.builds(arrived, events, st.sets(st.integers(1, 15), max_size=4))


def in_small_steps(config: Config, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Folds and verifies in small chunks from now on, and returns the configuration with small windows."""
    monkeypatch.setattr(folder, "CHUNK_SKUS", 2)
    monkeypatch.setattr(section_verifier, "STEP_STREAMS", 4)
    return with_small_windows(config)


def with_small_windows(config: Config) -> Config:
    """The configuration of consumers that read two events at a time."""
    return msgspec.structs.replace(config, work=msgspec.structs.replace(config.work, batch=2))


async def fold_in_turn(
    shop: Shop, arrived: Arrivals, prefixed: Prefixed, modelled: Config | None
) -> tuple[str, list[tuple[int, Pages]]]:
    """Folds the events up to each cut, and compares the pages with those of the model of a configuration, if any.

    Returns the prefix of this example's SKUs, and its pages at each cut, with the position of the log.
    """
    prefix = f"{await shop.store.log.end():09}-"
    model = None if modelled is None else a_model(modelled)
    moments: list[tuple[int, Pages]] = []
    for start, stop in pairwise(arrived.cuts):
        part = [prefixed(each, prefix) for each in arrived.events[start:stop]]
        await say(shop, *part)
        moments.append((await shop.store.log.end(), await _own_pages(shop, prefix)))
        if model is not None:
            for each in part:
                model.submit(as_document(each))
            assert moments[-1][1] == pages_in(model)
    assert (await shop.replay(prefix=prefix)).changed == 0
    return prefix, moments


async def _own_pages(shop: Shop, prefix: str) -> Pages:
    """The pages of one example."""
    keys = [key for key in await keys_of(shop.store) if key[0].startswith(prefix)]
    return {key: await shop.pages.get_json(*key, disabled=True) for key in keys}


async def apply(shop: Shop, config: Config, events: Sequence[DomainEvent]) -> int:
    """Plans, applies and folds a configuration. Returns how many pages it has changed, as the plan says.

    The pages are then those of the model, and `verify` agrees.
    """
    before = await pages_of(shop)
    plan = await shop.plan(config)
    await shop.apply(plan, by="ada", reason="a test")
    await shop.catch_up()
    after = await pages_of(shop)
    model = a_model(config)
    for each in events:
        model.submit(as_document(each))
    assert after == pages_in(model)
    changed = sum(before[key] != after[key] for key in before)
    assert plan.plan.changed == changed
    assert (await shop.verify()).changed == 0
    return changed


def count_heads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of how many SKUs heads are read each time from now on, in chunks of 50 at most."""
    sizes: list[int] = []
    read = Folder.heads

    async def counted(self: Folder, skus: Sequence[str], *rest: object) -> list[StoredEvent]:
        sizes.append(len(skus))
        return await read(self, skus, *rest)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(folder, "CHUNK_SKUS", 50)
    monkeypatch.setattr(Folder, "heads", counted)
    return sizes
