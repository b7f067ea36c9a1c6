"""What the demo has to report, as figures. `rendering` tells it to people, `--json` gives it as it is."""

import msgspec

from pagefold.engine.demo import rebuild_check
from pagefold.engine.demo.event_loss import Loss
from pagefold.engine.demo.faults import Expected
from pagefold.engine.demo.loss_scenario import Rebuilt
from pagefold.engine.demo.page_check import Verdict
from pagefold.engine.demo.reference_model import Drift, Stream
from pagefold.engine.demo.source_feeds import Ledger, Surprise
from pagefold.engine.events import Outcome
from pagefold.engine.reading.history import HistoryEntry
from pagefold.engine.reading.status import DomainStatus
from pagefold.engine.shop import Shop

LATEST = 8
MENDED_LATEST = 4
"""How many entries of a history are shown, of a product and of a stream that was mended."""


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


class MendedStream(_Figures, frozen=True):
    """A stream that the rebuild has mended, with the latest of its `said` events. The rebuild's have its run."""

    sku: str
    channel: str
    domain: str
    source: str
    said: int
    latest: list[HistoryEntry]


class RebuildReport(_Figures, frozen=True):
    """What was lost, and how it was found.

    `losses` are lines by kind; `gone` is the SKU that no source has any more. `pages_differing` were not what the model
    says, before. `rows` were compared with the log in the `seconds` that the sources took, `sections` with the log in
    `folding_seconds`. `found` are streams that had drifted, and `events` so many mended them; `damaged` sections were
    corrupted, and `repaired` found so. The runs are those of the sources, by id.
    """

    losses: dict[Loss, int]
    gone: str
    pages_differing: int
    rows: int
    seconds: float
    rows_per_second: float
    sections: int
    folding_seconds: float
    found: dict[Drift, int]
    events: int
    damaged: int
    repaired: int
    runs: list[str]
    stream: MendedStream


class Throughput(_Figures, frozen=True):
    """Rates a second, in one process that also made the lines, kept the model, read pages and drew the screen.

    `lines` were answered, `folded` is events from the first line until every page was up to date; `reads` is of
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
    rebuild: RebuildReport | None
    product: HotProduct
    problems: list[str]

    @property
    def ok(self) -> bool:
        """Whether everything is as it must be."""
        return not self.problems


def problems_of(ledger: Ledger, verdict: Verdict, rebuilt: Rebuilt | None) -> list[str]:
    """Everything that is not as it must be, in sentences."""
    problems = []
    if verdict.differing:
        problems.append(f"{verdict.differing:,} of {verdict.pages:,} pages are not what the model says")
    if ledger.surprised:
        problems.append(f"{ledger.surprised:,} of {ledger.lines:,} lines did not become what they had to")
    if rebuilt is not None:
        if not rebuilt.before.differing:
            problems.append("lines were lost, and before the rebuild every page was what the model says all the same")
        problems += rebuild_check.problems_of(rebuilt.looked, rebuilt.expected, "a dry run")
        problems += rebuild_check.problems_of(rebuilt.mended, rebuilt.expected, "the rebuild")
    return problems


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


async def rebuild_report(shop: Shop, rebuilt: Rebuilt) -> RebuildReport:
    """What the rebuild has found, as figures."""
    mended = rebuilt.mended
    return RebuildReport(
        losses=dict(rebuilt.losses),
        gone=rebuilt.gone,
        pages_differing=rebuilt.before.differing,
        rows=mended.rows,
        seconds=mended.seconds,
        rows_per_second=mended.rows / mended.seconds,
        sections=mended.pages.sections,
        folding_seconds=mended.folding_seconds,
        found=dict(mended.by_kind()),
        events=mended.events,
        damaged=rebuilt.expected.sections,
        repaired=mended.pages.changed,
        runs=[run.run for run in mended.runs if run.run is not None],
        stream=await mended_stream(shop, rebuilt.example),
    )


async def mended_stream(shop: Shop, stream: Stream) -> MendedStream:
    """One stream with its latest events, those of the rebuild among them."""
    history = shop.history(stream.sku, channel=stream.channel, domain=stream.domain)
    entries = [entry async for entry in history if entry.source == stream.source]
    return MendedStream(
        sku=stream.sku,
        channel=stream.channel,
        domain=stream.domain,
        source=stream.source,
        said=len(entries),
        latest=entries[-MENDED_LATEST:],
    )
