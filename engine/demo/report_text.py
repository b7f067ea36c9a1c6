"""The report as people read it: one page, its history, what became of every line, how fast, and the verdict."""

import orjson
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pagefold.domains.domain import JSON
from pagefold.engine.demo.display import OUTCOME_STYLES, table_of
from pagefold.engine.demo.event_loss import Loss
from pagefold.engine.demo.page_check import Difference
from pagefold.engine.demo.reference_model import Drift
from pagefold.engine.demo.report_data import FaultReport, HotProduct, MendedStream, RebuildReport, Report
from pagefold.engine.reading.history import HistoryEntry
from pagefold.projections.field_changes import FieldChange

LONGEST_LIST = 2
LONGEST_TEXT = 48
"""What of lists and texts is shown of a page."""

CHANGES_SHOWN = 4

STORIES = {
    None: "in order",
    "late": "late, overtaken by thousands",
    "reordered": "out of order",
    "duplicated": "twice, spelt otherwise",
    "stale": "an old version again",
    "conflicting": "contradicts its own version",
    "withdrawn": "takes the source's word back",
}


LOSSES: dict[Loss, str] = {
    "first": "the first event of a stream",
    "newer": "a newer version",
    "withdrawn": "a source's word taken back",
    "older": "a version that others had overtaken",
    "copy": "a copy of one of these",
    "garbled": "not lost, but garbled",
}

DRIFTS: dict[Drift, str] = {
    "missing": "the log had no such stream: appended",
    "newer": "the log had an older version: appended",
    "changed": "the log had another content: corrected",
    "orphan": "no source has it any more: withdrawn",
}


def tell(report: Report, console: Console) -> None:
    """Prints the whole report."""
    _tell_page(report.product, console)
    _tell_history(report.product, console)
    _tell_faults(report, console)
    _tell_throughput(report, console)
    if report.rebuild is not None:
        _tell_rebuild(report.rebuild, console)
    _tell_verdict(report, console)


def _heading(console: Console, text: str, remark: str = "") -> None:
    console.print()
    console.print(Text.assemble((text, "bold"), (f"  {remark}" if remark else "", "dim")))
    console.print()


def _indented(console: Console, text: Text) -> None:
    console.print(Padding(text, (0, 2)))


def _show(table: Table, console: Console) -> None:
    """What does not fit is cut from the last column."""
    table.columns[-1].no_wrap = False
    console.print(Padding(table, (0, 2), expand=False))


def _cut(text: str, style: str = "") -> Text:
    """A text that stays on its line, cut where the table ends."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _tell_page(product: HotProduct, console: Console) -> None:
    _heading(
        console, f"The page of {product.sku} in {product.channel}", f"{len(bytes(product.page)):,} bytes, one read"
    )
    page = pretty(shortened(orjson.loads(bytes(product.page))), console.width - 4)
    indented = "\n".join("  " + line for line in page.splitlines())
    console.print(JSONHighlighter()(indented), soft_wrap=True)


def shortened(value: JSON) -> JSON:
    """The same document with long lists and texts cut, and said so."""
    if isinstance(value, dict):
        return {name: shortened(item) for name, item in value.items()}
    if isinstance(value, list):
        rest = len(value) - LONGEST_LIST
        return [shortened(item) for item in value[:LONGEST_LIST]] + ([f"… {rest} more"] if rest > 0 else [])
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return value[:LONGEST_TEXT] + "…"
    return value


def pretty(value: JSON, width: int, indent: int = 0, label: str = "") -> str:
    """JSON in which whatever fits on a line stays on it. `label` stands before the value, on its first line."""
    line = label + orjson.dumps(value).decode().replace('":', '": ').replace(',"', ', "')
    if not isinstance(value, dict | list) or not value or (indent and len(line) + indent < width):
        return line
    if isinstance(value, dict):
        items = [pretty(item, width, indent + 2, f'"{name}": ') for name, item in value.items()]
        opening, closing = "{}"
    else:
        items = [pretty(item, width, indent + 2) for item in value]
        opening, closing = "[]"
    inner = ",\n".join(" " * (indent + 2) + item for item in items)
    return f"{label}{opening}\n{inner}\n{' ' * indent}{closing}"


def _tell_history(product: HotProduct, console: Console) -> None:
    _heading(console, f"What was said of {product.sku}", f"the latest {len(product.latest)} of {product.said:,} events")
    table = table_of("occurred", "source", "channel", "version", "", "what changed")
    table.columns[3].justify = "right"
    for entry in product.latest:
        table.add_row(
            entry.occurred_at[11:19],
            entry.source,
            entry.channel,
            f"{entry.version:,}",
            Text("head" if entry.head else "", style="green"),
            _cut(changes_of(entry)),
        )
    _show(table, console)


def changes_of(entry: HistoryEntry) -> str:
    """What an event changed, in a few words."""
    if entry.withdrawn:
        return "takes its word back"
    words = [_change(change) for change in entry.changes[:CHANGES_SHOWN]]
    more = len(entry.changes) - len(words)
    return ", ".join(words + ([f"… {more} more"] if more > 0 else [])) or "the same again"


def _change(change: FieldChange) -> str:
    if change.after is None:
        return f"no {change.path}"
    if change.before is None:
        return f"{change.path} {change.after}"
    return f"{change.path} {change.before} → {change.after}"


def _tell_faults(report: Report, console: Console) -> None:
    _heading(console, f"What became of all {report.lines:,} lines")
    table = table_of("what came", "lines", "must be", "were", "reason given")
    table.columns[1].justify = "right"
    kinds: list[FaultReport] = [fault for fault in report.faults if fault.kind is not None]
    for fault in report.faults:
        if kinds and fault is kinds[0]:
            table.add_section()
        table.add_row(
            fault.kind or STORIES[fault.fault],
            f"{fault.sent:,}",
            Text(fault.expected, style=OUTCOME_STYLES[fault.expected]),
            _became(fault),
            _cut(fault.reason or "", style="dim"),
        )
    _show(table, console)
    for surprise in report.surprises:
        model = f", by the model {surprise.model}" if surprise.model else ""
        outcome = f"{surprise.outcome} ({surprise.reason})" if surprise.reason else surprise.outcome
        _indented(console, Text(f"✘ {surprise.line}: expected {surprise.expected}{model}, was {outcome}", style="red"))


def _became(fault: FaultReport) -> Text:
    """The outcomes: a tick where all are as they must be, the figures where they are not."""
    if fault.outcomes == {fault.expected: fault.sent}:
        return Text("✔ all", style="green")
    return Text(", ".join(f"{count:,} {outcome}" for outcome, count in fault.outcomes.items()), style="bold red")


def _tell_throughput(report: Report, console: Console) -> None:
    _heading(console, "How fast", "in one process, together with all that is shown here")
    rates = report.throughput
    written = sum(report.sections_written.values())
    table = table_of("", "a second", "", numbers=0)
    table.show_header = False
    table.columns[1].justify = "right"
    table.add_row("lines answered", f"{rates.lines:,.0f}/s", Text(f"{report.lines:,} lines", style="dim"))
    folded = sum(domain.applied + domain.stale + domain.dead for domain in report.domains)
    remark = f"{folded:,} events into {written:,} writes of sections"
    table.add_row("events folded", f"{rates.folded:,.0f}/s", Text(remark, style="dim"))
    table.add_row("pages read", f"{rates.reads:,.0f}/s", Text("one reader, one page at a time", style="dim"))
    _show(table, console)


def _tell_rebuild(rebuild: RebuildReport, console: Console) -> None:
    lost = sum(rebuild.losses.values()) - rebuild.losses.get("garbled", 0)
    pages = f"{rebuild.pages_differing:,} pages were wrong"
    _heading(console, "What was lost, and found again", f"{lost:,} lines lost, {rebuild.gone} gone: {pages}")
    losses = [(text, f"{rebuild.losses[kind]:,}") for kind, text in LOSSES.items() if kind in rebuild.losses]
    drifts = [(text, f"{rebuild.found[kind]:,}") for kind, text in DRIFTS.items() if kind in rebuild.found]
    drifts.append(("sections corrupted by hand", f"{rebuild.repaired:,}"))
    _show_counts(console, ("what did not arrive", "lines"), losses)
    console.print()
    _show_counts(console, ("what the rebuild found", "found"), drifts)
    console.print()
    compared = f"{rebuild.rows:,} rows of snapshots beside the log in {rebuild.seconds:.1f} s"
    folded = f"{rebuild.sections:,} sections folded again in {rebuild.folding_seconds:.1f} s"
    _indented(console, Text(f"{compared}, {rebuild.rows_per_second:,.0f}/s; {folded}."))
    _tell_stream(rebuild.stream, console)


def _show_counts(console: Console, columns: tuple[str, str], rows: list[tuple[str, str]]) -> None:
    table = table_of(*columns, "")
    table.columns[1].justify = "right"
    for text, number in rows:
        table.add_row(text, number, "")
    _show(table, console)


def _tell_stream(stream: MendedStream, console: Console) -> None:
    where = "every channel" if stream.channel == "*" else stream.channel
    name = f"{stream.domain} of {stream.sku} for {where}"
    _heading(console, f"How {name} was mended", f"the latest {len(stream.latest)} of {stream.said:,} events")
    table = table_of("occurred", "version", "", "said by", "what changed")
    table.columns[1].justify = "right"
    for entry in stream.latest:
        table.add_row(
            entry.occurred_at[11:19],
            f"{entry.version:,}",
            Text("head" if entry.head else "", style="green"),
            Text(entry.source if entry.run_id is None else f"by rebuild {entry.run_id}", style=_by(entry)),
            _cut(changes_of(entry)),
        )
    _show(table, console)


def _by(entry: HistoryEntry) -> str:
    return "" if entry.run_id is None else "magenta"


def _tell_verdict(report: Report, console: Console) -> None:
    console.print()
    for difference in report.pages.differences:
        _tell_difference(difference, console)
    if not report.ok:
        for problem in report.problems:
            console.print(Text(f"✘ {problem}", style="bold red"))
        return
    pages, ready = report.pages, sum(report.pages.ready.values())
    text = f"✔ All {pages.pages:,} pages are, byte for byte, what an independent model says"
    console.print(Text(f"{text}: {ready:,} ready, {pages.disabled:,} disabled.", style="bold green"))
    events = sum(domain.applied + domain.stale + domain.dead for domain in report.domains)
    counts = (
        f"Every line became what it had to, and each of {events:,} events was counted once; {report.seconds:.1f} s."
    )
    console.print(Text(f"✔ {counts}", style="bold green"))
    if report.rebuild is not None:
        found = f"all {report.rebuild.events:,} streams that had drifted, and no other"
        wrong = f"{report.rebuild.pages_differing:,} wrong pages are right again"
        console.print(Text(f"✔ A rebuild found {found}: {wrong}.", style="bold green"))


def _tell_difference(difference: Difference, console: Console) -> None:
    place = f"{difference.sku} in {difference.channel}, as its {difference.reader} reads it"
    console.print(Text(f"✘ {place}, differs from byte {difference.offset:,} on", style="bold red"))
    _indented(console, Text.assemble(("store  ", "bold"), difference.store or "no page"))
    _indented(console, Text.assemble(("model  ", "bold"), difference.model or "no page"))
