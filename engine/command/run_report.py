"""Shows the run of a rebuild, as text and as JSON."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

import msgspec
import orjson
from rich.text import Text

from pagefold.domains.domain import JSON
from pagefold.engine.command.console import JSONList, count, duration, printable, shortened
from pagefold.engine.command.verify import MAX_SHOWN_FIELDS, change_lines
from pagefold.engine.rebuild.rebuild_service import RebuildService, ReportedRunState, RunReport
from pagefold.engine.rebuild.run_observer import Finding
from pagefold.engine.rebuild.run_orphans import proves_orphans
from pagefold.engine.stores.event_state import DriftKind
from pagefold.projections.field_changes import FieldChange

MAX_SHOWN_ORPHANS = 10
"""Orphans that are listed when they need a confirmation."""

MAX_VALUE_CHARACTERS = 72
"""Characters that are shown of a value whose removal needs a confirmation."""

MAX_NAMED = 20
"""Recreated or older streams that are listed."""

UNLIMITED = 1_000
"""As a limit: more samples than a run keeps."""

STATE_STYLES: "Mapping[ReportedRunState, str]" = {
    "running": "cyan",
    "interrupted": "yellow",
    "held": "yellow",
    "approved": "cyan",
    "refused": "yellow",
    "completed": "green",
    "failed": "red",
}

_ALARMING = {"refused", "unreadable"}
_LABELS = {
    "elsewhere": "of no channel here",
    "uncovered": "not covered",
    "left_out": "left out",
    "deferred": "left to a complete run",
}


def timestamp_text(text: str) -> str:
    """A timestamp as tables show it: to the second."""
    return text[:19].replace("T", " ")


def run_facts(report: "RunReport") -> Iterator[Text]:
    """What was rebuilt, and when: details that `rebuilds show` adds."""
    facts = {
        "started": f"{timestamp_text(report.started_at)}Z, lasted {duration(report.lasted)}",
        "domains": ", ".join(report.domains),
        "SKUs": f"those with the prefix {printable(report.prefix)}" if report.prefix else "all",
        "repairs": f"only {printable(report.first)}" if report.first else "all",
        **_decision(report),
        "snapshot": "complete" if report.complete else report.reason or "not compared completely",
        "in the log": f"{count(report.live, 'stream')} of {report.source}",
    }
    yield from (Text.assemble((f"  {name:<12}", "dim"), fact) for name, fact in facts.items())


def run_lines(report: "RunReport", rows: str, orphans: list[str], *, shown: int) -> Iterator[Text]:
    """A run's state, counts, warnings and samples.

    `rows` is the text about its rows. `shown` limits samples and refusals.
    """
    name = "dry run" if report.run is None else report.run
    state = (report.state, STATE_STYLES[report.state])
    yield Text.assemble((report.source, "bold"), "  ", state, "  ", name)
    yield Text(f"  {printable(report.snapshot)}: {rows}")
    yield _counts(report)
    yield from (Text(f"  {line}", style="red") for line in warnings(report))
    for sample in report.samples[:shown]:
        stream, drift, changes = _sample(sample)
        yield Text.assemble("  ", (printable(stream), "bold"), f"  {drift}")
        yield from change_lines(changes, UNLIMITED if shown == UNLIMITED else MAX_SHOWN_FIELDS)
    if shown and report.samples:
        yield from _more("  ", report.drifted - len(report.samples[:shown]), f"; {_naming(report)}")
    limit = shown if shown != UNLIMITED else MAX_NAMED
    yield from _named("recreated, in the next epoch of the stream:", report.recreated[:limit], report.counts.recreated)
    yield from _named("older than the log, in a snapshot taken later:", report.older[:limit], report.counts.reset)
    if orphans:
        yield from _orphans(report, orphans)
    yield from _refusals(report, shown)


def _more(indent: str, number: int, where: str = "") -> Iterator[Text]:
    if number > 0:
        yield Text(f"{indent}… and {number:,} more{where}", style="dim")


def _counts(report: "RunReport") -> Text:
    numbers = {"equal": report.counts.equal} | report.counts.as_dict()
    numbers.pop("rows", None)
    if numbers.get("orphans") == 1:
        numbers = {"orphan" if name == "orphans" else name: number for name, number in numbers.items()}
    parts = [
        Text(f"{number:,} {_LABELS.get(name, name)}", style="red" if name in _ALARMING else "")
        for name, number in numbers.items()
    ]
    return Text("  ") + Text(", ").join(parts)


def _decision(report: "RunReport") -> dict[str, str]:
    """Who approved or refused a run that was held, and why."""
    if not report.decided_by:
        return {}
    word = "refused" if report.state == "refused" else "approved"
    return {word: f"by {printable(report.decided_by)}: {printable(report.decided_because)}"}


def warnings(report: "RunReport") -> Iterator[str]:
    """What needs a person."""
    counts = report.counts
    if report.state == "failed":
        yield f"failed: {printable(report.reason)}"
    if report.looks_reset:
        yield reset_warning(report)
    if report.state == "completed" and not report.complete:
        yield f"the snapshot is incomplete ({printable(report.reason)}): nothing is withdrawn"
    if counts.unreadable:
        streams = "stream" if counts.unreadable == 1 else "streams"
        yield f"the {streams} of {count(counts.unreadable, 'row')} could not be read: nothing is withdrawn"
    if report.state == "held":
        yield from _held(report)


def _held(report: "RunReport") -> Iterator[str]:
    """What a held run would withdraw or remove, and has not."""
    streams = f"the {count(report.live, 'stream')} of {report.source} in the log"
    if not report.losses:
        yield (
            f"held: the snapshot lacks {report.counts.orphans:,} of {streams}; at most {report.held_limit:,} may be "
            "withdrawn without --yes, so nothing is withdrawn"
        )
        return
    yield (
        f"held: of {streams}, at most {report.held_limit:,} may lose values without --yes, so nothing is removed or "
        "withdrawn"
    )
    if proves_orphans(report) and report.counts.orphans:
        yield f"the snapshot lacks {report.counts.orphans:,} of them"
    for path, number, samples in cast("list[Any]", report.losses):
        what = f"lose {printable(path)}" if path else "lose all values"
        yield f"{number:,} would {what}"
        yield from (f"  {printable(stream)}: {_shown(value)}" for stream, value in samples)


def _shown(value: JSON) -> str:
    return shortened(printable(orjson.dumps(value).decode()), MAX_VALUE_CHARACTERS)


def reset_warning(report: "RunReport") -> str:
    """What is wrong with a source, and what to do."""
    reset, source = report.counts.reset, report.source
    if reset:
        rows = f"{count(reset, 'row')} of the snapshot of {source}"
        what = f"{rows}, which was taken later, {_are(reset)} older than the log"
    else:
        what = f"everything in the snapshot of {source} is older than the log"
    return (
        f"source looks reset: {what}. Was its counter restarted? If so, `pagefold rebuild --source {source} "
        f"--new-epoch` starts a new epoch; if not, `pagefold epochs dismiss {source} --reason …` dismisses this warning"
    )


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def needs_attention(report: "RunReport") -> bool:
    """Whether a run that is over needs a person; a dry run also does if anything has drifted."""
    drifted = report.run is None and bool(report.drifted or report.counts.orphans)
    return drifted or bool(report.counts.refused) or any(warnings(report))


def next_step(report: "RunReport") -> str | None:
    """How to continue a run that is not completed."""
    if report.state == "held" and report.run is None:
        return f"`pagefold rebuild --source {report.source} --yes` {_consents_to(report)}"
    if report.state == "held":
        run = report.run
        return (
            f"`pagefold rebuild --resume {run} --yes` {_consents_to(report)}; `pagefold rebuilds approve {run} "
            f"--reason …` lets a worker do it, and `pagefold rebuilds refuse {run} --reason …` ends the run"
        )
    if report.state == "approved":
        return f"a worker resumes it; without one, `pagefold rebuild --resume {report.run}` does"
    if report.state == "interrupted" or (report.state == "failed" and not report.superseded_by):
        return f"`pagefold rebuild --resume {report.run}` resumes it"
    return None


def _consents_to(report: "RunReport") -> str:
    return "removes and withdraws all of that" if report.losses else "withdraws them"


def _sample(sample: JSON) -> tuple[str, DriftKind, list[FieldChange]]:
    stream, drift, changes = cast("list[Any]", sample)
    return stream, drift, [FieldChange(*change) for change in changes]


def _naming(report: "RunReport") -> str:
    where = "--json" if report.run is None else f"`pagefold rebuilds show {report.run} --json`"
    return f"{where} lists all of them"


def _named(title: str, streams: list[str], number: int) -> Iterator[Text]:
    if streams:
        yield Text(f"  {title}")
        yield from (Text(f"    {printable(stream)}") for stream in streams)
        yield from _more("    ", number - len(streams))


def _orphans(report: "RunReport", orphans: list[str]) -> Iterator[Text]:
    yield Text("  not in the snapshot:")
    yield from (Text(f"    {printable(stream)}") for stream in orphans)
    yield from _more("    ", report.counts.orphans - len(orphans), f"; {_naming(report)}")


def _refusals(report: "RunReport", shown: int) -> Iterator[Text]:
    refusals = cast("list[list[Any]]", report.refusals[:shown])
    for row, path, reason in refusals:
        yield Text.assemble("  ", (f"row {row}: ", "red"), printable(f"{path}: {reason}" if path else reason))
    if refusals:
        yield from _more("  ", report.counts.refused - len(refusals))


def run_document(report: "RunReport") -> dict[str, object]:
    """The JSON document of a run."""
    document: dict[str, object] = msgspec.to_builtins(report)
    document["samples"] = [_sample_document(*_sample(each)) for each in report.samples]
    refusals = cast("list[list[Any]]", report.refusals)
    losses = cast("list[list[Any]]", report.losses)
    document["losses"] = [
        {"path": path, "streams": number, "samples": [{"stream": stream, "log": value} for stream, value in samples]}
        for path, number, samples in losses
    ]
    document["refusals"] = [{"row": row, "path": path, "reason": reason} for row, path, reason in refusals]
    return document


def _sample_document(stream: str, drift: DriftKind, changes: list[FieldChange]) -> dict[str, object]:
    fields = [{"path": each.path, "log": each.before, "snapshot": each.after} for each in changes]
    return {"stream": stream, "drift": drift, "changes": fields}


def run_pieces(report: "RunReport", drift: JSONList) -> Iterator[bytes]:
    """The JSON document of a run with every drifted stream, in pieces."""
    yield orjson.dumps(run_document(report))[:-1]
    yield b',"drift":'
    yield from drift.pieces()
    yield b"}"


async def list_drift(service: "RebuildService", report: "RunReport", into: JSONList) -> None:
    """Adds every drifted stream of a recorded run to a list."""
    if report.run is not None:
        async for stream, drift in service.drifted(report.run):
            into.add(drift_item(stream, drift))


def drift_item(stream: str, drift: "Finding") -> bytes:
    """The JSON of a drifted stream."""
    return orjson.dumps({"stream": stream, "drift": drift})
