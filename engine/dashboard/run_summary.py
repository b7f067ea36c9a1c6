"""What the runs of a shop say to people: rebuilds, syncs and scheduled tasks."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import orjson

from pagefold.engine.dashboard.formats import plural
from pagefold.engine.dashboard.screen import State
from pagefold.engine.rebuild.rebuild_service import RebuildService, ReportedRunState, RunReport
from pagefold.engine.rebuild.run_orphans import first_orphans
from pagefold.engine.shop import Shop
from pagefold.engine.stores.schedule_records import RunState, ScheduledRun
from pagefold.projections.field_changes import FieldChange
from pagefold.projections.streams import parse_stream_id

ORPHANS_SHOWN = 8
ORPHANS_SAMPLED = 100
"""Orphans whose pages are looked at, for what they have in common."""

MOSTLY = 0.9
"""The share of sampled orphans that must have something in common before it is said."""

STATES: Mapping[ReportedRunState, tuple[State, str]] = {
    "running": ("move", "Running"),
    "interrupted": ("warn", "Interrupted"),
    "held": ("held", "Held"),
    "approved": ("move", "Approved"),
    "refused": ("wait", "Refused"),
    "completed": ("ok", "Completed"),
    "failed": ("bad", "Failed"),
}

SCHEDULED_STATES: Mapping[RunState, tuple[State, str]] = {
    "requested": ("wait", "Waits for a worker"),
    "running": ("move", "Running"),
    "done": ("ok", "Done"),
    "attention": ("warn", "Needs attention"),
    "failed": ("bad", "Failed"),
    "stopped": ("wait", "Stopped"),
}


RUNBOOKS: Mapping[ReportedRunState, str] = {"held": "held-runs", "failed": "failed-rebuilds"}
"""By state of a rebuild, the section of the runbooks about it."""


class Orphan(NamedTuple):
    """A product that a snapshot lacks: its first category, its live pages, and what is in stock."""

    sku: str
    category: str
    live_pages: int
    available: int | None


class HeldRun(NamedTuple):
    """A rebuild that waits for a decision. `common` says what its orphans have in common, if anything."""

    report: RunReport
    title: str
    orphans: list[Orphan]
    common: str
    losses: list[tuple[str, int]]


class Sample(NamedTuple):
    """A stream that differed, how, and its fields."""

    stream: str
    drift: str
    changes: list[FieldChange]


async def held_runs(shop: Shop, service: RebuildService) -> list[RunReport]:
    """The runs that wait for a decision, newest first."""
    found = [await service.report(each.run) for each in await shop.source_lag.runs.held()]
    return [report for report in found if report.state == "held"]


def held_title(report: RunReport) -> str:
    """What a held run would do."""
    streams = plural(report.live, "stream")
    if report.losses:
        return f"{report.source} would withdraw or empty {report.removals:,} of {streams}"
    return f"{report.source} would withdraw {report.removals:,} of {streams}"


async def held_run(shop: Shop, service: RebuildService, report: RunReport) -> HeldRun:
    """A held run, with some of its orphans and what they have in common."""
    skus = await first_orphans(service, report, ORPHANS_SAMPLED, lambda stream: parse_stream_id(stream).sku)
    sampled = [await _orphan(shop, sku) for sku in skus[:ORPHANS_SHOWN]]
    categories = await _categories(shop, skus)
    losses = [(str(path) or "all values", int(number)) for path, number, _ in cast("list[list[Any]]", report.losses)]
    return HeldRun(report, held_title(report), sampled, common_text(categories), losses)


async def _orphan(shop: Shop, sku: str) -> Orphan:
    pages = [await shop.pages.get_json(sku, channel) for channel in shop.applied.config.channels]
    documents = [orjson.loads(page) for page in pages if page is not None]
    first: dict[str, Any] = documents[0] if documents else {}
    inventory = first.get("inventory") or {}
    return Orphan(sku, category_of(first), len(documents), inventory.get("available"))


async def _categories(shop: Shop, skus: Sequence[str]) -> list[str]:
    channel = next(iter(shop.applied.config.channels), "")
    pages = await shop.pages.get_many_json(skus, channel) if skus else {}
    return [category_of(orjson.loads(page)) for page in pages.values()]


def category_of(page: Mapping[str, Any]) -> str:
    """The first category of a page; empty if it has none."""
    categories = (page.get("catalog") or {}).get("categories") or []
    return str(categories[0]) if categories else ""


def common_text(categories: Sequence[str]) -> str:
    """What the categories of some products have in common; empty if that is nothing, or if they are too few."""
    if len(categories) < 5:  # noqa: PLR2004  # so few have something in common by chance
        return ""
    trunk, number = Counter(each.partition("/")[0] for each in categories).most_common(1)[0]
    if not trunk or number < MOSTLY * len(categories):
        return ""
    return f"{number:,} of {len(categories):,} sampled products are in {trunk}: the export may lack a part of the tree"


def samples_of(report: RunReport) -> list[Sample]:
    """The samples of a run."""
    return [
        Sample(str(stream), str(drift), [FieldChange(*change) for change in changes])
        for stream, drift, changes in cast("list[list[Any]]", report.samples)
    ]


def run_words(report: RunReport) -> str:
    """One sentence about a run."""
    counts = report.counts
    drifted = f"{plural(report.drifted, 'stream')} differed" if report.drifted else "nothing differed"
    words: Mapping[ReportedRunState, str] = {
        "held": f"{held_title(report)}, and waits for a decision",
        "approved": f"{report.decided_by} has approved it: a worker resumes it within ten seconds",
        "refused": f"{report.decided_by} has refused it, and nothing was withdrawn",
        "failed": f"It failed: {report.reason}",
        "interrupted": "Its process is gone: it can be resumed",
        "running": f"It is running, and has compared {plural(counts.rows, 'row')}",
        "completed": f"It compared {plural(counts.rows, 'row')}: {drifted}, {counts.withdrawn:,} withdrawn",
    }
    return words[report.state]


def count_rows(report: RunReport) -> list[tuple[str, int]]:
    """Everything that a run has counted, without zeros."""
    return [(name.replace("_", " "), number) for name, number in report.counts.as_dict().items()]


def runbook_of(run: ScheduledRun, work: Mapping[str, str]) -> str:
    """The section of the runbooks about a run that went wrong; empty otherwise. `work` is what each task does."""
    if run.state not in ("attention", "failed"):
        return ""
    kind = work.get(run.task) or run.task.partition(" ")[0]
    if kind == "verify":
        return "drift"
    if kind == "verify-targets":
        return "outbound-drift"
    if run.state == "failed":
        return "source-overdue" if kind == "sync" else "failed-rebuilds"
    return "held-runs" if "held" in run.detail else ""


def command_of(run: ScheduledRun) -> list[str]:
    """The command that does the same as a scheduled run."""
    kind, _, source = run.task.partition(" ")
    return ["sync", source] if kind == "sync" and source else ["schedule", "run", run.task]
