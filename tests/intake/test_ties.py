"""Sources whose versions are not exact may replace what they said at one version; on both stores."""

from collections.abc import Sequence

import msgspec
import pytest

from pagefold import DomainEvent, Shop
from pagefold.engine.events import Tie
from tests.support.small_shop import SKU, say, section, stock


def at_one_version(tie: Tie, *pieces: int) -> list[DomainEvent]:
    """Statements of one version with different stock."""
    events = [msgspec.structs.replace(stock(1), tie=tie, id=f"event-{number}") for number in range(len(pieces))]
    return [
        msgspec.structs.replace(event, payload={"available": count})
        for event, count in zip(events, pieces, strict=True)
    ]


async def said(shop: Shop, events: Sequence[DomainEvent]) -> list[str]:
    """The outcomes of events that are appended one by one."""
    return [each.outcome for event in events for each in await shop.append([event])]


async def available(shop: Shop) -> int:
    """The stock on the page."""
    await shop.catch_up()
    found = await section(shop, "inventory")
    assert found is not None
    pieces: int = found["available"]
    return pieces


async def test_the_first_stands_unless_the_source_may_replace_it(shop: Shop) -> None:
    """Without a tie rule, another content at one version is a conflict."""
    assert await said(shop, at_one_version("keep", 1, 2)) == ["appended", "conflict"]
    assert await available(shop) == 1


async def test_the_later_replaces_the_earlier(shop: Shop) -> None:
    """With `replace`, the later content counts, as the next revision, and nothing is reported."""
    assert await said(shop, at_one_version("replace", 1, 2)) == ["appended", "appended"]
    assert await available(shop) == 2
    history = [each async for each in shop.history(SKU)]
    assert [(each.version, each.revision) for each in history] == [(1, 0), (1, 1)]
    assert await shop.dead_letters.count() == 0


async def test_a_repetition_of_what_was_replaced_is_a_duplicate(shop: Shop) -> None:
    """With `replace`, a delayed repetition of the first content does not win over the second."""
    assert await said(shop, at_one_version("replace", 1, 2, 1, 2)) == ["appended", "appended", "duplicate", "duplicate"]
    assert await available(shop) == 2


async def test_without_a_version_only_the_newest_content_is_a_duplicate(shop: Shop) -> None:
    """With `content`, a value that comes back is a change; the same again is none."""
    assert await said(shop, at_one_version("content", 1, 2, 2, 1)) == ["appended", "appended", "duplicate", "appended"]
    assert await available(shop) == 1


@pytest.mark.parametrize(
    ("tie", "outcomes", "pieces"),
    [
        ("replace", ["appended", "duplicate", "appended", "duplicate"], 2),
        ("content", ["appended", "duplicate", "appended", "appended"], 1),
    ],
)
async def test_in_one_call_the_order_of_the_events_counts(
    shop: Shop, tie: Tie, outcomes: Sequence[str], pieces: int
) -> None:
    """Several statements of one version in one transaction have the result that they would have one by one."""
    results = await shop.append(at_one_version(tie, 1, 1, 2, 1))
    assert [each.outcome for each in results] == list(outcomes)
    assert await available(shop) == pieces


async def test_a_withdrawal_is_replaced_and_replaces(shop: Shop) -> None:
    """What a source without versions withdraws comes back when it says it again."""
    event = at_one_version("content", 4)[0]
    gone = msgspec.structs.replace(event, payload=None, id="gone")
    again = msgspec.structs.replace(event, id="again")
    assert await said(shop, [event, gone, again]) == ["appended", "appended", "appended"]
    assert await available(shop) == 4


async def test_ties_of_many_streams_in_one_call(shop: Shop) -> None:
    """Each stream has its own revisions, however many are in a call."""
    first, second = at_one_version("replace", 1, 2)
    skus = [f"SKU-{number}" for number in range(300)]
    for event in (first, second):
        await say(shop, *[msgspec.structs.replace(event, sku=sku, id=f"{event.id}-{sku}") for sku in skus])
    results = await shop.append([msgspec.structs.replace(second, sku=sku) for sku in skus])
    assert {each.outcome for each in results} == {"duplicate"}
