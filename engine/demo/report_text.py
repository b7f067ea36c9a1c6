"""Prints the report: a page, its history, the outcomes of all lines, throughput, the rebuild, and the result."""

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
from pagefold.engine.demo.report_data import FaultReport, HotProduct, RebuildReport, RepairedStream, Report
from pagefold.engine.reading.history import HistoryEntry
from pagefold.projections.field_changes import FieldChange

MAX_LIST_ITEMS = 2
MAX_TEXT_LENGTH = 48
"""Maximum items of a list, and characters of a text, in a printed page."""

MAX_CHANGES = 4

FAULT_LABELS = {
    None: "in order",
    "late": "late, after up to 2,000 newer events",
    "reordered": "out of order",
    "duplicated": "repeated with another formatting",
    "stale": "an old version repeated",
    "conflicting": "other content at the same version",
    "withdrawn": "a withdrawal",
}


LOSS_LABELS: dict[Loss, str] = {
    "first": "the first event of a stream",
    "newer": "a newer version",
    "withdrawn": "a withdrawal",
    "older": "a version older than the head",
    "copy": "a copy of one of these",
    "garbled": "arrived, but garbled",
}

DRIFT_LABELS: dict[Drift, str] = {
    "missing": "not in the log: appended",
    "newer": "an older version in the log: appended",
    "changed": "other content in the log: corrected",
    "orphan": "no longer in the snapshot: withdrawn",
}


def print_report(report: Report, console: Console) -> None:
    """Prints the whole report."""
    _print_page(report.product, console)
    _print_history(report.product, console)
    _print_faults(report, console)
    _print_throughput(report, console)
    if report.rebuild is not None:
        _print_rebuild(report.rebuild, console)
    _print_verdict(report, console)


def _heading(console: Console, text: str, remark: str = "") -> None:
    console.print()
    console.print(Text.assemble((text, "bold"), (f"  {remark}" if remark else "", "dim")))
    console.print()


def _indented(console: Console, text: Text) -> None:
    console.print(Padding(text, (0, 2)))


def _print_table(table: Table, console: Console) -> None:
    """Prints a table. If it is too wide, the last column is cut."""
    table.columns[-1].no_wrap = False
    console.print(Padding(table, (0, 2), expand=False))


def _cut(text: str, style: str = "") -> Text:
    """A text on one line, cut at the table's width."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _print_page(product: HotProduct, console: Console) -> None:
    _heading(
        console, f"The page of {product.sku} in {product.channel}", f"{len(bytes(product.page)):,} bytes, one read"
    )
    page = format_json(shorten_json(orjson.loads(bytes(product.page))), console.width - 4)
    indented = "\n".join("  " + line for line in page.splitlines())
    console.print(JSONHighlighter()(indented), soft_wrap=True)


def shorten_json(value: JSON) -> JSON:
    """The document with long lists and texts cut, and marked as cut."""
    if isinstance(value, dict):
        return {name: shorten_json(item) for name, item in value.items()}
    if isinstance(value, list):
        rest = len(value) - MAX_LIST_ITEMS
        return [shorten_json(item) for item in value[:MAX_LIST_ITEMS]] + ([f"… {rest} more"] if rest > 0 else [])
    if isinstance(value, str) and len(value) > MAX_TEXT_LENGTH:
        return value[:MAX_TEXT_LENGTH] + "…"
    return value


def format_json(value: JSON, width: int, indent: int = 0, label: str = "") -> str:
    """Formats JSON; what fits on one line stays on it. `label` precedes the value on its first line."""
    line = label + orjson.dumps(value).decode().replace('":', '": ').replace(',"', ', "')
    if not isinstance(value, dict | list) or not value or (indent and len(line) + indent < width):
        return line
    if isinstance(value, dict):
        items = [format_json(item, width, indent + 2, f'"{name}": ') for name, item in value.items()]
        opening, closing = "{}"
    else:
        items = [format_json(item, width, indent + 2) for item in value]
        opening, closing = "[]"
    inner = ",\n".join(" " * (indent + 2) + item for item in items)
    return f"{label}{opening}\n{inner}\n{' ' * indent}{closing}"


def _print_history(product: HotProduct, console: Console) -> None:
    _heading(console, f"History of {product.sku}", f"the latest {len(product.latest)} of {product.events:,} events")
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
    _print_table(table, console)


def changes_of(entry: HistoryEntry) -> str:
    """A summary of the fields that an event changed."""
    if entry.withdrawn:
        return "withdrawn"
    changes = [_change(change) for change in entry.changes[:MAX_CHANGES]]
    more = len(entry.changes) - len(changes)
    return ", ".join(changes + ([f"… {more} more"] if more > 0 else [])) or "no changes"


def _change(change: FieldChange) -> str:
    if change.after is None:
        return f"no {change.path}"
    if change.before is None:
        return f"{change.path} {change.after}"
    return f"{change.path} {change.before} → {change.after}"


def _print_faults(report: Report, console: Console) -> None:
    _heading(console, f"Outcomes of all {report.lines:,} lines")
    table = table_of("line", "lines", "expected", "outcome", "reason")
    table.columns[1].justify = "right"
    kinds: list[FaultReport] = [fault for fault in report.faults if fault.kind is not None]
    for fault in report.faults:
        if kinds and fault is kinds[0]:
            table.add_section()
        table.add_row(
            fault.kind or FAULT_LABELS[fault.fault],
            f"{fault.sent:,}",
            Text(fault.expected, style=OUTCOME_STYLES[fault.expected]),
            _outcomes_of(fault),
            _cut(fault.reason or "", style="dim"),
        )
    _print_table(table, console)
    for unexpected in report.unexpected:
        model = f", by the model {unexpected.model}" if unexpected.model else ""
        outcome = f"{unexpected.outcome} ({unexpected.reason})" if unexpected.reason else unexpected.outcome
        _indented(
            console, Text(f"✘ {unexpected.line}: expected {unexpected.expected}{model}, was {outcome}", style="red")
        )


def _outcomes_of(fault: FaultReport) -> Text:
    """A tick if all outcomes are as expected, else the number of each."""
    if fault.outcomes == {fault.expected: fault.sent}:
        return Text("✔ all", style="green")
    return Text(", ".join(f"{count:,} {outcome}" for outcome, count in fault.outcomes.items()), style="bold red")


def _print_throughput(report: Report, console: Console) -> None:
    _heading(console, "Throughput", "of one process, which also ran the sources, the model and the storefront")
    rates = report.throughput
    written = sum(report.sections_written.values())
    table = table_of("", "a second", "", numbers=0)
    table.show_header = False
    table.columns[1].justify = "right"
    table.add_row("lines answered", f"{rates.lines:,.0f}/s", Text(f"{report.lines:,} lines", style="dim"))
    folded = sum(domain.applied + domain.stale + domain.dead for domain in report.domains)
    remark = f"{folded:,} events; {written:,} sections written"
    table.add_row("events folded", f"{rates.folded:,.0f}/s", Text(remark, style="dim"))
    table.add_row("pages read", f"{rates.reads:,.0f}/s", Text("one reader, one page at a time", style="dim"))
    _print_table(table, console)


def _print_rebuild(rebuild: RebuildReport, console: Console) -> None:
    lost = sum(rebuild.losses.values()) - rebuild.losses.get("garbled", 0)
    pages = f"{rebuild.pages_differing:,} pages were wrong"
    _heading(console, "Losses and rebuild", f"{lost:,} lines lost, {rebuild.gone} removed: {pages}")
    losses = [(text, f"{rebuild.losses[kind]:,}") for kind, text in LOSS_LABELS.items() if kind in rebuild.losses]
    drifts = [(text, f"{rebuild.found[kind]:,}") for kind, text in DRIFT_LABELS.items() if kind in rebuild.found]
    drifts.append(("sections corrupted by hand", f"{rebuild.repaired:,}"))
    _print_counts(console, ("lost in transit", "lines"), losses)
    console.print()
    _print_counts(console, ("found by the rebuild", "found"), drifts)
    console.print()
    rows = f"{rebuild.rows:,} rows of snapshots compared in {rebuild.seconds:.1f} s, {rebuild.rows_per_second:,.0f}/s"
    sections = f"{rebuild.sections:,} sections replayed in {rebuild.folding_seconds:.1f} s"
    _indented(console, Text(f"{rows}; {sections}."))
    _print_stream(rebuild.stream, console)


def _print_counts(console: Console, columns: tuple[str, str], rows: list[tuple[str, str]]) -> None:
    table = table_of(*columns, "")
    table.columns[1].justify = "right"
    for text, number in rows:
        table.add_row(text, number, "")
    _print_table(table, console)


def _print_stream(stream: RepairedStream, console: Console) -> None:
    where = "every channel" if stream.channel == "*" else stream.channel
    name = f"{stream.domain} of {stream.sku} for {where}"
    _heading(console, f"Repair of {name}", f"the latest {len(stream.latest)} of {stream.events:,} events")
    table = table_of("occurred", "version", "", "source", "what changed")
    table.columns[1].justify = "right"
    for entry in stream.latest:
        table.add_row(
            entry.occurred_at[11:19],
            f"{entry.version:,}",
            Text("head" if entry.head else "", style="green"),
            Text(entry.source if entry.run_id is None else f"by rebuild {entry.run_id}", style=_by(entry)),
            _cut(changes_of(entry)),
        )
    _print_table(table, console)


def _by(entry: HistoryEntry) -> str:
    return "" if entry.run_id is None else "magenta"


def _print_verdict(report: Report, console: Console) -> None:
    console.print()
    for difference in report.pages.differences:
        _print_difference(difference, console)
    if not report.ok:
        for problem in report.problems:
            console.print(Text(f"✘ {problem}", style="bold red"))
        return
    pages, ready = report.pages, sum(report.pages.ready.values())
    text = f"✔ All {pages.pages:,} pages equal an independent model, byte for byte"
    console.print(Text(f"{text}: {ready:,} ready, {pages.disabled:,} disabled.", style="bold green"))
    events = sum(domain.applied + domain.stale + domain.dead for domain in report.domains)
    counts = (
        f"Every line had the expected outcome, and each of {events:,} events was counted once; {report.seconds:.1f} s."
    )
    console.print(Text(f"✔ {counts}", style="bold green"))
    if report.views is not None:
        views = report.views
        named = f"{views.diff:,} that are different since, and {views.plan:,} that another configuration would change"
        text = f"{views.as_of:,} pages as they were, {named}, are those of the model"
        console.print(Text(f"✔ {text}.", style="bold green"))
    if report.rebuild is not None:
        found = f"all {report.rebuild.events:,} drifted streams, and no others"
        wrong = f"{report.rebuild.pages_differing:,} wrong pages were repaired"
        console.print(Text(f"✔ A rebuild found {found}: {wrong}.", style="bold green"))


def _print_difference(difference: Difference, console: Console) -> None:
    page = f"{difference.sku} in {difference.channel}, as read by a {difference.reader}"
    console.print(Text(f"✘ {page}, differs from byte {difference.offset:,}", style="bold red"))
    _indented(console, Text.assemble(("store  ", "bold"), difference.store or "no page"))
    _indented(console, Text.assemble(("model  ", "bold"), difference.model or "no page"))
