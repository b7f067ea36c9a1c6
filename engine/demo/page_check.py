"""The verdict: every page of the store against the model, byte for byte, and every count against what it must be."""

import random
import time
from collections.abc import Callable, Mapping

import msgspec
from anyio.lowlevel import checkpoint

from pagefold.engine.demo.observers import READY
from pagefold.engine.demo.reference_model import Model
from pagefold.engine.reading.status import Status
from pagefold.engine.shop import Shop

SHOWN = 5
"""How many differences are kept to be shown; all are counted."""

AROUND = 60
"""Of two pages that differ, so many bytes on either side of the place are shown."""

BREATH = 50
"""After so many pages, others have a turn."""

READS = 20_000
READ_SECONDS = 1.5
DISABLED = b'","status":"disabled","ready":'


class Difference(msgspec.Struct, frozen=True):
    """A page that is not what it must be: `offset` is the first byte that differs, both texts are from around there.

    `reader` is who reads it: a storefront finds nothing where a page is disabled, an operator sees it all the same. A
    side that has no page is None.
    """

    sku: str
    channel: str
    reader: str
    offset: int
    store: str | None
    model: str | None


class Verdict(msgspec.Struct):
    """What comparing every page has shown. `pages` counts those of either side, `ready` and `disabled` the model's."""

    pages: int = 0
    disabled: int = 0
    ready: dict[str, int] = {}
    differing: int = 0
    differences: list[Difference] = []


async def compare_pages(shop: Shop, model: Model, progress: Callable[[int], None] = lambda _pages: None) -> Verdict:
    """Every page that the model or the store has, as a storefront and as an operator read it."""
    keys = set(model.pages())
    async for key in shop.store.pages.keys():
        keys.add(key)
    verdict = Verdict(ready=dict.fromkeys(shop.config.channels, 0))
    for sku, channel in sorted(keys):
        verdict.pages += 1
        differs = False
        for reader, disabled in (("storefront", False), ("operator", True)):
            expected = model.page(sku, channel, disabled=disabled)
            found = await shop.pages.get_json(sku, channel, disabled=disabled)
            if found != expected:
                differs = True
                if len(verdict.differences) < SHOWN:
                    verdict.differences.append(_difference(sku, channel, reader, found, expected))
        verdict.differing += differs
        verdict.disabled += expected is not None and DISABLED in expected
        verdict.ready[channel] += expected is not None and READY in expected
        progress(1)
        if verdict.pages % BREATH == 0:
            await checkpoint()
    return verdict


def check_counters(status: Status, events: Mapping[str, int], conflicts: Mapping[str, int]) -> list[str]:
    """What does not add up, in sentences: `events` must be in each domain, and it was sent so many `conflicts`."""
    wrong = []
    for domain in status.domains:
        folded = domain.applied + domain.stale + domain.dead
        counts = {
            "events applied, stale or dead": (folded, events[domain.domain]),
            "events behind": (domain.lag_events, 0),
            "events that could not be folded": (domain.dead, 0),
            "contradictions in dead letters": (domain.conflicts, conflicts.get(domain.domain, 0)),
        }
        wrong += [
            f"{domain.domain} has {found:,} {what}; it must be {expected:,}"
            for what, (found, expected) in counts.items()
            if found != expected
        ]
    return wrong


async def reads_a_second(shop: Shop, model: Model) -> float:
    """How many pages a second one reader reads, one after the other, in no order."""
    keys = list(model.pages())
    luck = random.Random(0)
    chosen = luck.choices(keys, k=READS) if keys else []
    started = time.perf_counter()
    reads, seconds = 0, 0.0
    for sku, channel in chosen:
        await shop.pages.get_json(sku, channel)
        reads += 1
        seconds = time.perf_counter() - started
        if seconds > READ_SECONDS:
            break
    return reads / seconds if seconds else 0.0


def _difference(sku: str, channel: str, reader: str, found: bytes | None, expected: bytes | None) -> Difference:
    pairs = zip(found or b"", expected or b"", strict=False)
    shorter = min(len(found or b""), len(expected or b""))
    offset = next((index for index, (one, other) in enumerate(pairs) if one != other), shorter)
    return Difference(sku, channel, reader, offset, _around(found, offset), _around(expected, offset))


def _around(page: bytes | None, offset: int) -> str | None:
    """The bytes around a place, as text. Half a character at either end is marked as such."""
    if page is None:
        return None
    begin, end = max(offset - AROUND, 0), min(offset + AROUND, len(page))
    before, after = "…" if begin else "", "…" if end < len(page) else ""
    return before + page[begin:end].decode(errors="replace") + after
