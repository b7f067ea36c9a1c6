"""Meilisearch, OpenSearch, Typesense and Algolia as targets, against servers with their documented interfaces."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pagefold.engine.configuration.target_config import AlgoliaTargetConfig, SearchTargetConfig, TargetConfig
from pagefold.engine.delivery.kind_table import open_kind
from pagefold.engine.delivery.outside import Outside
from pagefold.engine.delivery.target_errors import TargetUnreadable
from pagefold.engine.delivery.target_kind import PageKey, Refused, Taken, TargetKind, Unavailable
from tests.support.fake_endpoint import Reply, serving
from tests.support.search_engines import ENGINES, KEY, Engine, reply
from tests.support.target_items import hostile_skus, page_item, pages, withdrawal

pytestmark = pytest.mark.parametrize("kind", ENGINES)
INDEX = "products-web-de"


@asynccontextmanager
async def engine_of(kind: str, *, key: str = KEY, seconds: float = 5.0) -> AsyncIterator[tuple[Engine, TargetKind]]:
    """An engine with an empty index, and the target."""
    engine = ENGINES[kind]()
    engine.index(INDEX)
    async with serving(engine) as server:
        table = SearchTargetConfig if kind != "algolia" else AlgoliaTargetConfig
        more: dict[str, Any] = {"application": "A1"} if kind == "algolia" else {}
        config = table(url=server.url, networks=["127.0.0.0/8"], index="products-{channel}", key_variable="KEY", **more)
        target = TargetConfig(**{kind: config}, timeout_seconds=seconds)  # type: ignore[arg-type]  # the kind's table
        async with open_kind("search", target, Outside({"KEY": key})) as opened:
            yield engine, opened


async def test_pages_and_withdrawals(kind: str) -> None:
    """A batch has an answer for each page, after it was applied; what an engine holds is read by its tags."""
    items = pages(3)
    async with engine_of(kind) as (engine, target):
        engine.looks = 2
        assert all(isinstance(each, Taken) for each in (await target.deliver(items)).items)
        held = engine.index(INDEX)
        assert set(held) == {"web-de-S0", "web-de-S1", "web-de-S2"}
        document = held["web-de-S1"]
        assert (document["pagefold_tag"], document["pagefold_position"], document["sku"]) == (items[1].tag, 42, "S1")
        keys = [each.page for each in items]
        assert await target.read(keys) == {each.page: each.tag for each in items}
        mixed = [withdrawal("S1"), page_item("S2", b"{}", 44), withdrawal("never")]
        assert all(isinstance(each, Taken) for each in (await target.deliver(mixed)).items)
        assert await target.read(keys) == {items[0].page: items[0].tag, items[2].page: mixed[1].tag}
        held.clear()
        assert await target.read(keys) == {}


async def test_each_channel_has_its_index(kind: str) -> None:
    """One delivery may have pages of several. A withdrawal from an index that is not there is done."""
    async with engine_of(kind) as (engine, target):
        engine.index("products-web_2eb_32b".replace("_32b", "-2"))
        items = [page_item("A"), page_item("A", channel="web.b-2"), withdrawal("A", channel="not-there")]
        assert all(isinstance(each, Taken) for each in (await target.deliver(items)).items)
        assert set(engine.index("products-web_2eb-2")) == {"web_2eb-2-A"}


async def test_a_page_that_goes_back(kind: str) -> None:
    """A, then B, then A: it holds A."""
    versions = [
        page_item("A", body, position) for body, position in ((b'{"v":1}', 1), (b'{"v":2}', 2), (b'{"v":1}', 3))
    ]
    async with engine_of(kind) as (engine, target):
        for version in versions:
            await target.deliver([version])
        assert await target.read([versions[0].page]) == {versions[0].page: versions[2].tag}
        assert engine.index(INDEX)["web-de-A"]["pagefold_position"] == 3


async def test_hostile_skus_and_documents(kind: str) -> None:
    """Each SKU has an id of its own that the engines take; a page's own `id` does not become the document's."""
    items = [page_item(sku) for sku in hostile_skus()][::4]
    strange = [
        page_item("s1", b'{\r\n "id": "x", "objectID": 1, "a": "b\\nc"\n}'),
        page_item("s2", b'{ "pagefold_tag": "x" }'),
    ]
    async with engine_of(kind) as (engine, target):
        for start in range(0, len(items), 50):
            answers = (await target.deliver(items[start : start + 50])).items
            assert all(isinstance(each, Taken) for each in answers)
        assert all(isinstance(each, Taken) for each in (await target.deliver(strange)).items)
        assert len(engine.index(INDEX)) == len(items) + 2
        some = [*items[::10], *strange]
        assert await target.read([each.page for each in some]) == {each.page: each.tag for each in some}
        assert engine.index(INDEX)["web-de-s1"]["a"] == "b\nc"


async def test_a_document_that_is_refused(kind: str) -> None:
    """It alone where the engine says which; else any of the batch may be it, and one by one they are known."""
    items = [
        page_item("S0"),
        page_item("wrong", b'{"price":"1,50"}'),
        page_item("large", b'{"x":"%b"}' % (b"x" * 11_000)),
    ]
    async with engine_of(kind) as (_, target):
        answers = (await target.deliver(items)).items
        if kind in {"opensearch", "typesense"}:
            assert isinstance(answers[0], Taken)
            assert [isinstance(each, Refused) and each.alone for each in answers[1:]] == [True, True]
        else:
            assert [isinstance(each, Refused) and not each.alone for each in answers] == [True] * 3
        for item, expected in zip(items, (Taken, Refused, Refused), strict=True):
            [answer] = (await target.deliver([item])).items
            assert isinstance(answer, expected)
            assert not isinstance(answer, Refused) or answer.alone


async def test_a_batch_that_is_too_large(kind: str) -> None:
    """It is refused as a whole: smaller ones may be taken."""
    items = [page_item(f"S{each}", b'{"x":"%b"}' % (b"x" * 9_000)) for each in range(8)]
    async with engine_of(kind) as (_, target):
        answers = (await target.deliver(items)).items
        assert [isinstance(each, Refused) and not each.alone for each in answers] == [True] * 8
        assert all(isinstance(each, Taken) for each in (await target.deliver(items[:4])).items)


async def test_a_wrong_key(kind: str) -> None:
    """The target's fault, without the key."""
    async with engine_of(kind, key="wrong-key") as (_, target):
        [answer] = (await target.deliver([page_item()])).items
        assert isinstance(answer, Unavailable)
        assert "wrong-key" not in answer.text
        with pytest.raises(TargetUnreadable, match="target search: it answers 403"):
            await target.read([PageKey("A", "web-de")])


@pytest.mark.parametrize(
    "answer",
    [
        Reply(b"<html>"), Reply(b"{}"), Reply(b"[]"), Reply(b'{"items":[]}'), Reply(b'{"taskUid":null}', 202),
        Reply(b"\xff"),
        reply(500), reply(503), Reply(b"x" * 50, cut=10), Reply(status=429),
    ],
)  # fmt: skip
async def test_an_engine_that_is_away_and_comes_back(kind: str, answer: Reply) -> None:
    """No answer, or one that is not that of the engine: the target's fault; nothing has to be done when it is back."""
    async with engine_of(kind) as (engine, target):
        engine.down = answer
        found = await target.deliver([*pages(2), withdrawal("A")])
        documents = found.items[:2]
        assert [isinstance(each, Unavailable) for each in documents] == [True, True]
        assert found.limits.throttled == (answer.status == 429)
        engine.down = None
        assert all(isinstance(each, Taken) for each in (await target.deliver(pages(2))).items)


async def test_a_task_that_takes_too_long(kind: str) -> None:
    """It is not taken within the timeout, though it may be applied later. Engines without tasks have applied it."""
    async with engine_of(kind, seconds=0.2) as (engine, target):
        engine.looks = 10**6
        late = [Unavailable("not applied within 0.2 s")] * 2
        assert ((await target.deliver(pages(2))).items == late) == (kind in {"meilisearch", "algolia"})


async def test_an_engine_without_room(kind: str) -> None:
    """Failed tasks, items with 429, no memory: the target's fault, also where the status is that of a document's."""
    async with engine_of(kind) as (engine, target):
        if kind == "typesense":
            engine.down = reply(422, message="Rejecting write: running out of resource type: OUT_OF_MEMORY")
        elif kind == "algolia":
            engine.down = reply(402, message="quota exceeded")
        else:
            engine.failure = {
                "code": "no_space_left_on_device",
                "message": "no space",
                "type": "rejected",
            }
        found = await target.deliver(pages(2))
        assert [isinstance(each, Unavailable) for each in found.items] == [True, True]
        assert found.limits.throttled == (kind == "opensearch")
