"""What operators do with deliveries that were given up: beside other dead letters, in the same way, on both stores."""

import msgspec
import orjson
import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.engine.configuration.target_config import FilesTargetConfig, TargetConfig
from pagefold.engine.delivery import circuit
from pagefold.engine.errors import CountChanged, DeadLetterResolved, Rejected, UnknownDeadLetter
from pagefold.engine.stores.dead_letter_records import DeadLetterFilter
from tests.delivery.test_delivery_work import delivering_to, eventually, holds_the_pages, working
from tests.support.given_up import BROKEN, give_up, with_target
from tests.support.hostile_target import hostile_target
from tests.support.small_shop import CHANNELS, catalog, price, say, withdrawn

DELIVERIES = DeadLetterFilter("delivery")


async def states(shop: Shop, sku: str = "A") -> set[str]:
    """The states of the deliveries of a SKU."""
    return {row.state for row in await shop.store.deliveries.receipts([sku])}


async def test_they_are_listed_beside_the_others(config: Config) -> None:
    """In one order, in chunks that neither repeat nor leave out; a filter of a kind has its own."""
    async with pagefold.open(with_target(config)) as shop:
        await say(shop, price("1.00", sku="A"), price("1.00", sku="B"))
        await shop.append([price("2.00", sku="A")])
        await give_up(shop, "A")
        await shop.append([price("2.00", sku="B")])
        await give_up(shop, "B")
        names: list[str] = []
        after: str | None = None
        while True:
            chunk = await shop.dead_letters.page(after=after, limit=1)
            names += [each.id for each in chunk.dead_letters]
            if (after := chunk.next) is None:
                break
        assert names == ["delivery-2", "ingest-2", "delivery-1", "ingest-1"]
        assert await shop.dead_letters.count() == 4
        assert await shop.dead_letters.count(DELIVERIES) == 2
        assert [each.id for each in (await shop.dead_letters.page(DELIVERIES)).dead_letters] == [
            "delivery-2",
            "delivery-1",
        ]
        causes = {each.kind: (each.letters, each.source) for each in await shop.dead_letters.causes()}
        assert causes == {"delivery": (2, "shop"), "ingest": (2, "erp")}
        with pytest.raises(UnknownDeadLetter):
            await shop.dead_letters.get("delivery-7")


async def test_one_is_shown_with_the_document(config: Config) -> None:
    """That a retry sends: the fields that the target gets, of the page as it is now; of a withdrawal, nothing."""
    table = TargetConfig(files=FilesTargetConfig(folder="out"), fields=["catalog.attributes.code"])
    async with pagefold.open(msgspec.structs.replace(config, targets={"shop": table})) as shop:
        await say(shop, catalog("shirt", sku="A"))
        await give_up(shop, "A")
        detail = await shop.dead_letters.describe(await shop.dead_letters.get("delivery-1"))
        assert detail.event == {
            "sku": "A",
            "channel": "web-de",
            "catalog": {"attributes": {"code": "shirt"}},
        }
        assert (detail.source, detail.sku, detail.channel, detail.version) == ("shop", "A", "web-de", None)
        assert (detail.error, detail.headers["tries"], detail.base64) == (BROKEN.format("A"), "1", None)
        await say(shop, withdrawn("catalog", sku="A", version=2))
        assert (await shop.dead_letters.describe(await shop.dead_letters.get("delivery-1"))).event is None


async def test_many_are_retried_and_discarded(config: Config) -> None:
    """As many as were counted, those of one cause; deliveries are queued, and each decision is in the audit."""
    async with pagefold.open(with_target(config)) as shop:
        await say(shop, price("1.00", sku="A"))
        await shop.append([price("2.00", sku="A")])
        await give_up(shop, *(f"S{number}" for number in range(45)))
        cause = next(each for each in await shop.dead_letters.causes() if each.kind == "delivery")
        chosen = DeadLetterFilter(cause=cause.key)
        with pytest.raises(CountChanged):
            _ = [each async for each in shop.dead_letters.retry_all(chosen, by="ada", expect=44)]
        tried = [each async for each in shop.dead_letters.retry_all(chosen, by="ada", reason="repaired", expect=45)]
        assert [name for name, _ in tried] == [f"delivery-{number}" for number in range(1, 46)]
        assert {result for _, result in tried} == {"queued"}
        assert await shop.dead_letters.count() == 1
        await give_up(shop, "S1", "S2", "S3")
        done = [each async for each in shop.dead_letters.discard_all(DeadLetterFilter(), "a test", "ada", expect=4)]
        assert {result for _, result in done} == {"discarded"}
        assert {name.partition("-")[0] for name, _ in done} == {"ingest", "delivery"}
        letter = await shop.dead_letters.get("delivery-2")
        assert (letter.resolution, letter.resolved_by, letter.reason) == ("discarded", "ada", "a test")
        entries = (await shop.audit.page()).entries
        assert [each.action for each in entries if each.action.startswith("dead-letters")][:2] == [
            "dead-letters discard",
            "dead-letters retry",
        ]


async def test_a_source_of_the_same_name_is_another_thing(config: Config) -> None:
    """A decision about events of a source is none about pages for a target that is named like it."""
    async with pagefold.open(with_target(config, "erp")) as shop:
        await say(shop, price("1.00", sku="A"))
        await shop.append([price("2.00", sku="A")])
        await give_up(shop, "A", target="erp")
        done = [each async for each in shop.dead_letters.discard_all(DeadLetterFilter(source="erp"), "a test", "ada")]
        assert done == [("ingest-1", "discarded")]
        assert await shop.dead_letters.count(DeadLetterFilter("delivery", source="erp")) == 1


async def test_what_is_no_longer_open_is_left_alone(config: Config) -> None:
    """A page that changed is delivered anyway: nothing is decided about its earlier delivery."""
    async with pagefold.open(with_target(config)) as shop:
        await say(shop, catalog("shirt", sku="A"))
        await give_up(shop, "A")
        letter = await shop.dead_letters.get("delivery-1")
        with pytest.raises(Rejected, match="a JSON object"):
            await shop.dead_letters.edit(letter, b"[]", "ada")
        with pytest.raises(Rejected, match="is not JSON"):
            await shop.dead_letters.edit(letter, b"{", "ada")
        result = await shop.dead_letters.correct(letter, b"{}", "ada")
        assert (result.outcome, result.reason) == ("rejected", "a delivery has no event: edit its document")
        await shop.dead_letters.edit(letter, b'{"sku":"A"}', "ada", reason="no price yet")
        assert (await shop.dead_letters.describe(await shop.dead_letters.get("delivery-1"))).event == {"sku": "A"}
        assert await shop.dead_letters.retry(letter, by="ada") == "gone"
        for decide in (
            shop.dead_letters.edit(letter, b"{}", "ada"),
            shop.dead_letters.discard(letter, "a test", "ada"),
        ):
            with pytest.raises(DeadLetterResolved):
                await decide
        await give_up(shop, "W", tag="")
        [withdrawal] = await shop.dead_letters.newest(kind="delivery")
        with pytest.raises(Rejected, match="withdrawal"):
            await shop.dead_letters.edit(withdrawal, b"{}", "ada")


async def test_a_real_target_gets_what_was_decided(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused, given up, grouped; edited once, retried, and after a discard delivered when the page changes."""
    monkeypatch.setattr(circuit, "FIRST_PROBE_SECONDS", 0.01)
    async with hostile_target() as target, working(delivering_to(config, target, tries=2)) as shop:
        target.refuses = lambda page: isinstance(page, dict) and page["sku"] == "A" and "note" not in page
        await say(shop, catalog("shirt", sku="A"), catalog("shirt", sku="B"))
        await eventually(shop, "A", "dead")
        [cause] = await shop.dead_letters.causes()
        assert (cause.kind, cause.letters, cause.text) == (
            "delivery",
            len(CHANNELS),
            "status 422 Unprocessable Entity:",
        )
        letters = (await shop.dead_letters.page(DELIVERIES)).dead_letters
        edited, *others = letters
        document = {"sku": "A", "note": "by hand"}
        await shop.dead_letters.edit(edited, orjson.dumps(document), "ada")
        await eventually(shop, "A", "current")
        assert document in list(target.held.values())
        assert {await shop.dead_letters.retry(each, by="ada") for each in others} == {"queued"}
        await eventually(shop, "A", "dead")
        for each in others:
            await shop.dead_letters.discard(each, "never", "ada")
        assert await states(shop) == {"current", "discarded"}
        target.refuses = lambda _: False
        await say(shop, catalog("blouse", sku="A", version=2))
        await holds_the_pages(shop, target)
        assert await shop.dead_letters.count() == 0
