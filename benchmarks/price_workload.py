"""The workload of rebuilds: a source's snapshot with the price of every SKU, and events with the same content.

A row has some 300 bytes, with unsorted keys. SKUs are numbered, so that an export by number is in the order of the
streams. Everything is derived from a row's number and version.
"""

import random
from collections.abc import Iterator
from pathlib import Path

from pagefold import DomainEvent
from pagefold.engine.intake.event_parser import parse_event
from pagefold.engine.rebuild.rebuild_service import RebuildRequest
from pagefold.engine.rebuild.run_observer import RunObserver

SOURCE = "erp"
FIRST = 1
"""The version of every event in a new log."""

REQUEST = RebuildRequest()


class RestartCounter(RunObserver):
    """Counts how often a run starts over."""

    def __init__(self) -> None:
        self.restarts = 0

    def start_over(self) -> None:
        """Counts it."""
        self.restarts += 1


def line(number: int, version: int) -> bytes:
    """The row of one SKU at one version."""
    cents = 500 + (number * 7_919 + version * 104_729) % 40_000
    amount, tier, trade, staff = (f"{cents * share / 10_000:.2f}" for share in (100, 95, 80, 60))
    envelope = f'"type":"pricing","sku":"SKU-{number:08d}","channel":"*","source":"{SOURCE}","sourceVersion":{version}'
    price = f'"currency":"EUR","amount":"{amount}","taxIncluded":true,"taxClass":"standard"'
    rest = f'"tiers":[{{"minQuantity":10,"amount":"{tier}"}}],"customerGroups":{{"trade":"{trade}","staff":"{staff}"}}'
    return f'{{{envelope},"occurredAt":"2026-01-12T06:00:00Z","payload":{{{price},{rest}}}}}\n'.encode()


def export(file: Path, rows: int, version: int = FIRST, *, shuffled: bool = False) -> None:
    """Writes a complete snapshot, with its rows in the order of their streams or shuffled."""
    numbers = range(1, rows + 1)
    with file.open("wb") as out:
        for number in random.Random(7).sample(numbers, rows) if shuffled else numbers:
            out.write(line(number, version))
        out.write(b'{"snapshot":"end","count":%d}\n' % rows)


def events(rows: int, version: int = FIRST) -> Iterator[DomainEvent]:
    """The same rows as events, in the order of their streams."""
    for number in range(1, rows + 1):
        yield parse_event(line(number, version))
