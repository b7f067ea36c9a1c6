"""What the demo has to report, as figures. `rendering` tells it to people, `--json` gives it as it is."""

import msgspec

from engine.demo.delivering import Ledger, Surprise
from engine.demo.faults import Expected
from engine.demo.verify import Verdict
from engine.events import Outcome
from engine.history import HistoryEntry
from engine.shop import Shop
from engine.status import DomainStatus

LATEST = 8
"""How many entries of a history are shown."""


class _Figures(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of the report."""


class FaultReport(_Figures, frozen=True):
    """What became of all lines with one fault, or, when they are broken, of one `kind`. `reason` is an example."""

    fault: str | None
    kind: str | None
    sent: int
    expected: Expected
    outcomes: dict[Outcome, int]
    reason: str | None


class HotProduct(_Figures, frozen=True):
    """The product of which most was said: its page in one channel, and the latest events of its history.

    There are `said` events in all; the latest are those that occurred last.
    """

    sku: str
    channel: str
    page: msgspec.Raw
    said: int
    latest: list[HistoryEntry]


class Throughput(_Figures, frozen=True):
    """Rates a second, in one process that also made the lines, kept the model, read pages and drew the screen.

    `lines` went through the door, `folded` is events from the first line until every page was up to date; `reads` is of
    one reader, afterwards.
    """

    lines: float
    folded: float
    reads: float


class Report(_Figures, frozen=True):
    """The whole demo. `problems` are sentences; without them the demo has kept its word."""

    seed: int
    skus: int
    changes: int
    store: str
    seconds: float
    lines: int
    outcomes: dict[Outcome, int]
    faults: list[FaultReport]
    surprised: int
    surprises: list[Surprise]
    domains: list[DomainStatus]
    sections_written: dict[str, int]
    pages: Verdict
    throughput: Throughput
    product: HotProduct
    problems: list[str]

    @property
    def ok(self) -> bool:
        """Whether everything is as it must be."""
        return not self.problems


def problems_of(ledger: Ledger, verdict: Verdict, counters: list[str]) -> list[str]:
    """Everything that is not as it must be, in sentences."""
    problems = []
    if verdict.differing:
        problems.append(f"{verdict.differing:,} of {verdict.pages:,} pages are not what the model says")
    if ledger.surprised:
        problems.append(f"{ledger.surprised:,} of {ledger.lines:,} lines did not become what they had to")
    return problems + counters


def fault_reports(ledger: Ledger) -> list[FaultReport]:
    """What became of every fault."""
    return [
        FaultReport(
            fault=account.fault,
            kind=account.kind,
            sent=account.sent,
            expected=account.expected,
            outcomes=dict(account.outcomes),
            reason=account.reason,
        )
        for account in ledger.accounts()
    ]


async def hot_product(shop: Shop, sku: str) -> HotProduct:
    """A product's page and history. The page is of the first channel that shows it, else what operators see."""
    channel, page = next(iter(shop.config.channels)), None
    for name in shop.config.channels:
        page = await shop.pages.get_json(sku, name)
        if page is not None:
            channel = name
            break
    if page is None:
        page = await shop.pages.get_json(sku, channel, disabled=True)
    entries = [entry async for entry in shop.history(sku)]
    entries.sort(key=lambda entry: (entry.occurred_at, entry.position))
    return HotProduct(
        sku=sku,
        channel=channel,
        page=msgspec.Raw(page or b"null"),
        said=len(entries),
        latest=entries[-LATEST:],
    )
