"""The demo's report as data. `report_text` prints it, `--json` encodes it."""

import msgspec

from pagefold.engine.demo import rebuild_check
from pagefold.engine.demo.event_loss import Loss
from pagefold.engine.demo.faults import Expected
from pagefold.engine.demo.loss_scenario import LossResult
from pagefold.engine.demo.page_check import Verdict
from pagefold.engine.demo.reference_model import Drift, Stream
from pagefold.engine.demo.source_feeds import Ledger, UnexpectedOutcome
from pagefold.engine.demo.views_check import ViewsVerdict
from pagefold.engine.events import Outcome
from pagefold.engine.reading.history import HistoryEntry
from pagefold.engine.reading.status import DomainStatus
from pagefold.engine.shop import Shop

MAX_ENTRIES = 8
MAX_REPAIRED_ENTRIES = 4
"""Maximum history entries of a product, and of a repaired stream."""


class _Figures(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of the report."""


class FaultReport(_Figures, frozen=True):
    """The outcomes of all lines with one fault; broken lines by `kind`. `reason` is an example."""

    fault: str | None
    kind: str | None
    sent: int
    expected: Expected
    outcomes: dict[Outcome, int]
    reason: str | None


class HotProduct(_Figures, frozen=True):
    """The product with the most events: its page in one channel, and its latest events by time of occurrence.

    `events` is their total number.
    """

    sku: str
    channel: str
    page: msgspec.Raw
    events: int = msgspec.field(name="said")
    latest: list[HistoryEntry]


class RepairedStream(_Figures, frozen=True):
    """A stream that the rebuild has repaired, with the latest of its events. Repairs name their run."""

    sku: str
    channel: str
    domain: str
    source: str
    events: int = msgspec.field(name="said")
    latest: list[HistoryEntry]


class RebuildReport(_Figures, frozen=True):
    """The losses, and what the rebuild found.

    `losses` counts lines by kind; `gone` is the SKU that was removed from all sources. `pages_differing` pages differed
    from the model before. `rows` were compared with the log in `seconds`, `sections` in `folding_seconds`. `found`
    counts drifted streams by kind; `events` repaired them. `damaged` sections were corrupted, `repaired` ones replaced.
    `runs` are the ids of the sources' runs.
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
    stream: RepairedStream


class Throughput(_Figures, frozen=True):
    """Rates per second of one process that also made the lines, updated the model, read pages and drew the screen.

    `lines` is the rate of lines answered, `folded` of events until every page was up to date; `reads` is the rate of
    one reader afterwards.
    """

    lines: float
    folded: float
    reads: float


class Report(_Figures, frozen=True):
    """The whole demo. `problems` are sentences; the demo succeeded if there are none.

    `views` and `rebuild` are None if a page was wrong before.
    """

    seed: int
    skus: int
    changes: int
    store: str
    seconds: float
    lines: int
    outcomes: dict[Outcome, int]
    faults: list[FaultReport]
    unexpected_count: int = msgspec.field(name="surprised")
    unexpected: list[UnexpectedOutcome] = msgspec.field(name="surprises")
    domains: list[DomainStatus]
    sections_written: dict[str, int]
    pages: Verdict
    views: ViewsVerdict | None
    throughput: Throughput
    rebuild: RebuildReport | None
    product: HotProduct
    problems: list[str]

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.problems


def problems_of(
    ledger: Ledger, verdict: Verdict, views: ViewsVerdict | None, loss_result: LossResult | None
) -> list[str]:
    """Returns everything that is wrong, as sentences."""
    problems = [] if views is None else [*views.problems]
    if verdict.differing:
        problems.append(f"{verdict.differing:,} of {verdict.pages:,} pages differ from the model")
    if ledger.unexpected_count:
        problems.append(f"{ledger.unexpected_count:,} of {ledger.lines:,} lines did not have the expected outcome")
    if loss_result is not None:
        if not loss_result.before.differing:
            problems.append("lines were lost, but before the rebuild no page differed from the model")
        problems += rebuild_check.problems_of(loss_result.dry_run_findings, loss_result.expected, "a dry run")
        problems += rebuild_check.problems_of(loss_result.rebuild_findings, loss_result.expected, "the rebuild")
    return problems


def fault_reports(ledger: Ledger) -> list[FaultReport]:
    """The outcomes of every fault."""
    return [
        FaultReport(
            fault=tally.fault,
            kind=tally.kind,
            sent=tally.sent,
            expected=tally.expected,
            outcomes=dict(tally.outcomes),
            reason=tally.reason,
        )
        for tally in ledger.tallies()
    ]


async def hot_product(shop: Shop, sku: str) -> HotProduct:
    """A product's page and history. The page is of the first channel where it is live, else the disabled one."""
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
        events=len(entries),
        latest=entries[-MAX_ENTRIES:],
    )


async def rebuild_report(shop: Shop, loss_result: LossResult) -> RebuildReport:
    """The losses and findings as data."""
    rebuild_findings = loss_result.rebuild_findings
    return RebuildReport(
        losses=dict(loss_result.losses),
        gone=loss_result.gone,
        pages_differing=loss_result.before.differing,
        rows=rebuild_findings.rows,
        seconds=rebuild_findings.seconds,
        rows_per_second=rebuild_findings.rows / rebuild_findings.seconds,
        sections=rebuild_findings.pages.sections,
        folding_seconds=rebuild_findings.folding_seconds,
        found=dict(rebuild_findings.by_kind()),
        events=rebuild_findings.events,
        damaged=loss_result.expected.sections,
        repaired=rebuild_findings.pages.changed,
        runs=[run.run for run in rebuild_findings.runs if run.run is not None],
        stream=await repaired_stream(shop, loss_result.example),
    )


async def repaired_stream(shop: Shop, stream: Stream) -> RepairedStream:
    """A stream with its latest events, including the rebuild's."""
    history = shop.history(stream.sku, channel=stream.channel, domain=stream.domain)
    entries = [entry async for entry in history if entry.source == stream.source]
    return RepairedStream(
        sku=stream.sku,
        channel=stream.channel,
        domain=stream.domain,
        source=stream.source,
        events=len(entries),
        latest=entries[-MAX_REPAIRED_ENTRIES:],
    )
