"""Compares every page of the store with the model, byte for byte, and every counter with its expected value."""

import random
import time
from collections.abc import Callable, Mapping

import msgspec
from anyio.lowlevel import checkpoint

from pagefold.engine.demo.observers import READY
from pagefold.engine.demo.reference_model import Model
from pagefold.engine.reading.status import Status
from pagefold.engine.shop import Shop

MAX_DIFFERENCES = 5
"""Maximum differences that are reported; all are counted."""

CONTEXT_BYTES = 60
"""Bytes that are shown before and after the first difference."""

PAGES_PER_YIELD = 50
"""Pages that are compared before other tasks may run."""

MAX_READS = 20_000
MAX_READ_SECONDS = 1.5
DISABLED = b'","status":"disabled","ready":'


class Difference(msgspec.Struct, frozen=True):
    """A page that differs from the model. `offset` is the first different byte; the texts are excerpts around it.

    `reader` is "storefront" or "operator": only operators see disabled pages. A text is None if that side has no page.
    """

    sku: str
    channel: str
    reader: str
    offset: int
    store: str | None
    model: str | None


class Verdict(msgspec.Struct):
    """The result of comparing pages. `pages` counts those of either side, `ready` and `disabled` the model's."""

    pages: int = 0
    disabled: int = 0
    ready: dict[str, int] = {}
    differing: int = 0
    differences: list[Difference] = []


async def compare_pages(shop: Shop, model: Model, progress: Callable[[int], None] = lambda _pages: None) -> Verdict:
    """Compares every page of the model and the store, as a storefront and as an operator read it."""
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
                if len(verdict.differences) < MAX_DIFFERENCES:
                    verdict.differences.append(_difference(sku, channel, reader, found, expected))
        verdict.differing += differs
        verdict.disabled += expected is not None and DISABLED in expected
        verdict.ready[channel] += expected is not None and READY in expected
        progress(1)
        if verdict.pages % PAGES_PER_YIELD == 0:
            await checkpoint()
    return verdict


def check_counters(status: Status, events: Mapping[str, int], conflicts: Mapping[str, int]) -> list[str]:
    """Checks each domain's counters against its expected `events` and `conflicts`. Returns problems as sentences."""
    wrong = []
    for domain in status.domains:
        folded = domain.applied + domain.stale + domain.dead
        counts = {
            "events applied, stale or dead": (folded, events[domain.domain]),
            "events behind": (domain.lag_events, 0),
            "events that could not be folded": (domain.dead, 0),
            "conflicts in dead letters": (domain.conflicts, conflicts.get(domain.domain, 0)),
        }
        wrong += [
            f"{domain.domain} has {found:,} {what}; expected {expected:,}"
            for what, (found, expected) in counts.items()
            if found != expected
        ]
    return wrong


async def reads_a_second(shop: Shop, model: Model) -> float:
    """Pages per second of one reader that reads one random page at a time."""
    keys = list(model.pages())
    rng = random.Random(0)
    chosen = rng.choices(keys, k=MAX_READS) if keys else []
    started = time.perf_counter()
    reads, seconds = 0, 0.0
    for sku, channel in chosen:
        await shop.pages.get_json(sku, channel)
        reads += 1
        seconds = time.perf_counter() - started
        if seconds > MAX_READ_SECONDS:
            break
    return reads / seconds if seconds else 0.0


def _difference(sku: str, channel: str, reader: str, found: bytes | None, expected: bytes | None) -> Difference:
    pairs = zip(found or b"", expected or b"", strict=False)
    shorter = min(len(found or b""), len(expected or b""))
    offset = next((index for index, (one, other) in enumerate(pairs) if one != other), shorter)
    return Difference(sku, channel, reader, offset, _context_of(found, offset), _context_of(expected, offset))


def _context_of(page: bytes | None, offset: int) -> str | None:
    """The bytes around an offset, as text. A character cut at either end is marked as such."""
    if page is None:
        return None
    begin, end = max(offset - CONTEXT_BYTES, 0), min(offset + CONTEXT_BYTES, len(page))
    before, after = "…" if begin else "", "…" if end < len(page) else ""
    return before + page[begin:end].decode(errors="replace") + after
