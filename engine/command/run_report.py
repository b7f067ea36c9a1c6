"""How the run of a rebuild is shown, to people and as JSON."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

import msgspec
import orjson
from rich.text import Text

from pagefold.domains.domain import JSON
from pagefold.engine.command.console import JSONList, count, duration, printable, shortened
from pagefold.engine.command.verify import SHOWN_FIELDS, change_lines
from pagefold.engine.rebuild.rebuild_service import RebuildService, ReportedRunState, RunReport
from pagefold.engine.rebuild.run_observer import Finding
from pagefold.engine.stores.event_state import DriftKind
from pagefold.projections.field_changes import FieldChange

SHOWN_ORPHANS = 10
"""How many orphans are named to people when they are to decide about them."""


WIDEST_VALUE = 72
"""Characters of a value that somebody is asked about."""


MOST_NAMED = 20
"""How many others of a kind are named."""


ALL = 1_000
"""More than a run keeps of anything."""


STATE_STYLES: "Mapping[ReportedRunState, str]" = {
    "running": "cyan",
    "interrupted": "yellow",
    "held": "yellow",
    "completed": "green",
    "failed": "red",
}


_ALARMING = {"refused", "unreadable"}


_LABELS = {"elsewhere": "of no channel here", "uncovered": "not covered"}


def moment_text(text: str) -> str:
    """A moment as tables show it: to the second."""
    return text[:19].replace("T", " ")


def run_facts(report: "RunReport") -> Iterator[Text]:
    """What a run was about, which whoever has just started it knows."""
    facts = {
        "started": f"{moment_text(report.started_at)}Z, lasted {duration(report.lasted)}",
        "domains": ", ".join(report.domains),
        "SKUs": f"those that begin with {printable(report.prefix)}" if report.prefix else "all",
        "snapshot": "complete" if report.complete else report.reason or "not compared to its end",
        "in the log": f"{count(report.live, 'stream')} of {report.source}",
    }
    yield from (Text.assemble((f"  {name:<12}", "dim"), fact) for name, fact in facts.items())


def run_lines(report: "RunReport", rows: str, orphans: list[str], *, shown: int) -> Iterator[Text]:
    """What a run has found: its state, its counts, what needs a look, and samples.

    `rows` says how many there were, and how fast; at most `shown` samples, and as many refusals, are given.
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
        yield from change_lines(changes, ALL if shown == ALL else SHOWN_FIELDS)
    if shown and report.samples:
        yield from _more("  ", report.drifted - len(report.samples[:shown]), f"; {_naming(report)}")
    limit = shown if shown != ALL else MOST_NAMED
    yield from _named("made again, in the next epoch of the stream:", report.recreated[:limit], report.counts.recreated)
    yield from _named("older, although the snapshot is newer:", report.older[:limit], report.counts.reset)
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


def warnings(report: "RunReport") -> Iterator[str]:
    """What needs somebody to look at it."""
    counts = report.counts
    if report.state == "failed":
        yield f"failed: {printable(report.reason)}"
    if report.looks_reset:
        yield reset_warning(report)
    if report.state == "completed" and not report.complete:
        yield f"the snapshot is incomplete ({printable(report.reason)}): nothing is withdrawn"
    if counts.unreadable:
        whose = "its" if counts.unreadable == 1 else "their"
        rows = count(counts.unreadable, "row")
        yield f"{rows} could not be read as far as {whose} stream: nothing is withdrawn"
    if report.state == "held":
        yield from _held(report)


def _held(report: "RunReport") -> Iterator[str]:
    """What a held run would take away, and what it has not done therefore."""
    streams = f"the {count(report.live, 'stream')} of {report.source} in the log"
    if not report.losses:
        yield (
            f"held: the snapshot does not have {report.counts.orphans:,} of {streams}; {report.held_limit:,} may be "
            "withdrawn unasked, so nothing is withdrawn"
        )
        return
    yield f"held: of {streams}, no more than {report.held_limit:,} may lose something unasked, so nothing is taken away"
    if proves_orphans(report) and report.counts.orphans:
        yield f"the snapshot does not have {report.counts.orphans:,} of them"
    for path, number, samples in cast("list[Any]", report.losses):
        what = f"have no {printable(path)} any more" if path else "say nothing any more"
        yield f"{number:,} would {what}"
        yield from (f"  {printable(stream)}: {_shown(value)}" for stream, value in samples)


def _shown(value: JSON) -> str:
    return shortened(printable(orjson.dumps(value).decode()), WIDEST_VALUE)


def reset_warning(report: "RunReport") -> str:
    """What is wrong with a source, and what to do."""
    reset, source = report.counts.reset, report.source
    if reset:
        rows = f"{count(reset, 'row')} of the snapshot of {source}"
        what = f"{rows}, which was taken later, {_are(reset)} older than the log"
    else:
        what = f"everything that the snapshot of {source} says is older than the log"
    return (
        f"source looks reset: {what}; has its counter been restarted? If the snapshot is right, `pagefold rebuild "
        f"--source {source} --new-epoch` begins a new epoch; if not, `pagefold epochs dismiss {source} --reason …`"
    )


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def needs_attention(report: "RunReport") -> bool:
    """Whether a run is done, and yet somebody should look at it; a dry run also when anything has drifted."""
    drifted = report.run is None and bool(report.drifted or report.counts.orphans)
    return drifted or bool(report.counts.refused) or any(warnings(report))


def next_step(report: "RunReport") -> str | None:
    """What to do about a run that is not completed."""
    if report.state == "held" and report.run is None:
        return f"`pagefold rebuild --source {report.source} --yes` {_consents_to(report)}"
    if report.state == "held":
        return f"`pagefold rebuild --resume {report.run} --yes` {_consents_to(report)}"
    if report.state == "interrupted" or (report.state == "failed" and not report.superseded_by):
        return f"`pagefold rebuild --resume {report.run}` goes on where it was"
    return None


def _consents_to(report: "RunReport") -> str:
    return "takes all of that away" if report.losses else "withdraws them"


def _sample(sample: JSON) -> tuple[str, DriftKind, list[FieldChange]]:
    stream, drift, changes = cast("list[Any]", sample)
    return stream, drift, [FieldChange(*change) for change in changes]


def _naming(report: "RunReport") -> str:
    where = "--json" if report.run is None else f"`pagefold rebuilds show {report.run} --json`"
    return f"{where} names all of them"


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


def proves_orphans(report: "RunReport") -> bool:
    """Whether what the snapshot does not have is known: it is complete, and each row could be read."""
    return report.complete and not report.counts.unreadable


async def first_orphans(service: "RebuildService", report: "RunReport") -> list[str]:
    """The first orphans of a run that is recorded, when they are some."""
    found: list[str] = []
    if report.run is not None and report.counts.orphans and proves_orphans(report):
        async for streams in service.runs.orphans(report.run):
            found += streams[: SHOWN_ORPHANS - len(found)]
            if len(found) >= SHOWN_ORPHANS:
                break
    return found


def run_document(report: "RunReport") -> dict[str, object]:
    """A run as JSON has it."""
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
    """The same with every drifted stream, as JSON in pieces."""
    yield orjson.dumps(run_document(report))[:-1]
    yield b',"drift":'
    yield from drift.pieces()
    yield b"}"


async def list_drift(service: "RebuildService", report: "RunReport", into: JSONList) -> None:
    """Lists every stream that a recorded run found drifted."""
    if report.run is not None:
        async for stream, drift in service.drifted(report.run):
            into.add(drift_item(stream, drift))


def drift_item(stream: str, drift: "Finding") -> bytes:
    """A drifted stream as JSON."""
    return orjson.dumps({"stream": stream, "drift": drift})
