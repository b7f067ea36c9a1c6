"""`pagefold status`: key figures, checkpoints, lag, and what needs a person."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Annotated, TypeAlias

import anyio
import msgspec
from cyclopts import Parameter
from rich.text import Text

import pagefold
from pagefold.engine.command.console import (
    count,
    duration,
    print_message,
    printable,
    results,
    shortened,
    show_table,
    write_bytes,
)
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options
from pagefold.engine.command.signals import stoppable
from pagefold.engine.dead_letters.retention import NOTICE_DAYS
from pagefold.engine.delivery.target_service import OUT_OF_ORDER
from pagefold.engine.kpis.readings import KpiReading, shown
from pagefold.engine.reading.source_lag import SourceStatus
from pagefold.engine.reading.status import (
    ChannelStatus,
    DomainStatus,
    FetchStatus,
    FieldAlert,
    ResetStatus,
    Status,
    TargetSummary,
)
from pagefold.engine.reading.unknown_streams import UnknownStreams
from pagefold.engine.runtime.clock import seconds_since
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.stores.field_ledger import ALERT_WORDS, Alert
from pagefold.engine.stores.schedule_records import sync_task

MAX_SHOWN_FIELDS = 5
MAX_NAME_WIDTH = 40
WATCH_SECONDS = 2.0

Show: TypeAlias = Callable[[Status], None]


def status(
    *,
    watch: Annotated[bool, Parameter(show_default=False)] = False,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Show which limits of key figures are crossed, the lag of each domain, and what needs a person.

    First what is wrong, and the value and the limit of each key figure. For each domain: its checkpoint in the log; its
    lag, as the number of events not folded yet and the age of the oldest; the events up to the checkpoint by result
    (applied, stale or dead); dead letters and conflicts; the last worker. For each channel: its sections, and how many
    are ready. For each source that is asked, by a delta or on a schedule: since when it is in sync, how far back the
    next delta begins, and for how long it is overdue. For each target: its state, and what waits for it. Then what
    needs a person.

    The exit code is 1 if a key figure is above its limit, a check of /readyz fails, or a recovery is unfinished.

    Parameters
    ----------
    watch
        Show it again every two seconds, until Ctrl-C.
    as_json
        Print one JSON document: store, domains, channels, looksReset, references, deliveries, waiting, checks,
        recovering, fieldAlerts, sources, fetches, configuration, unknown, targets, kpis, verdict.
    """
    show = _print_json if as_json else _show
    if watch:
        return run(lambda: _watch(options, show))
    return run(lambda: _status(options, show))


async def _status(options: Options, show: Show) -> int:
    async with pagefold.open(options.load(), create=False) as shop:
        found = await shop.status()
    show(found)
    return Exit.DONE if found.is_well else Exit.REFUSED


async def _watch(options: Options, show: Show) -> int:
    """Shows it until a signal: on a terminal in place, else one after the other."""
    async with pagefold.open(options.load(), create=False) as shop, stoppable() as stop:
        with stop.scope:
            while True:
                found = await shop.status()
                results().clear()
                show(found)
                await anyio.sleep(WATCH_SECONDS)
    return stop.exit_code


def _print_json(found: Status) -> None:
    write_bytes(msgspec.json.encode(found))


def _show(found: Status) -> None:
    end = max((domain.log_end for domain in found.domains), default=0)
    results().print(Text.assemble(found.store, "  ", (f"log end {end:,}", "bold")), soft_wrap=True)
    results().print(Text(printable(found.verdict), style="green" if found.is_well else "red"), soft_wrap=True)
    results().print()
    show_table(("key figure", "", "value", "limit"), map(_kpi_row, shown_kpis(found.kpis)), numbers=("value", "limit"))
    results().print()
    names = [domain.domain for domain in found.domains]
    facts = [_facts(domain) for domain in found.domains]
    rows = ([name, *(each[name] for each in facts)] for name in facts[0])
    show_table(("", *names), rows, numbers=names, wrapped=names)
    results().print()
    channels = (_channel_row(channel, names) for channel in found.channels)
    show_table(("ready/all", "pages", *names), channels, numbers=("pages", *names))
    if found.sources:
        results().print()
        columns = ("synced", "behind", "overdue")
        show_table(("source", *columns), map(_source_row, found.sources), numbers=columns)
    if found.targets:
        results().print()
        figures = ("waiting", "oldest", "dead")
        show_table(("target", "state", *figures), map(_target_row, found.targets), numbers=figures)
    _hint(found)


def shown_kpis(readings: Sequence[KpiReading]) -> list[KpiReading]:
    """Of each key figure the labels that are crossed; if none is, the one with the highest value."""
    found: list[KpiReading] = []
    for _, group in groupby(readings, key=lambda reading: reading.kpi):
        of_one = list(group)
        highest = max(of_one, key=lambda reading: reading.value or 0)
        found += [reading for reading in of_one if reading.crossed] or [highest]
    return found


def _kpi_row(reading: KpiReading) -> list[str | Text]:
    value = Text(shown(reading.value, reading.unit), style="red" if reading.crossed else "")
    label = printable(reading.label) if reading.value else ""
    return [reading.title, label, value, reading.limit]


def _facts(domain: DomainStatus) -> dict[str, str | Text]:
    behind = "yellow" if domain.lag_events else "green"
    return {
        "checkpoint": f"{domain.checkpoint:,}",
        "lag, events": Text(f"{domain.lag_events:,}", style=behind),
        "lag, time": Text(duration(domain.lag_seconds) if domain.lag_events else "-", style=behind),
        "applied": f"{domain.applied:,}",
        "stale": f"{domain.stale:,}",
        "dead": _alarming(domain.dead),
        "dead letters": _alarming(domain.dead_letters),
        "conflicts": _alarming(domain.conflicts),
        "last worker": domain.holder or "-",
    }


def _alarming(number: int) -> Text:
    return Text(f"{number:,}", style="red" if number else "")


def _channel_row(channel: ChannelStatus, names: list[str]) -> list[str | Text]:
    pages = f"{channel.pages_ready:,}/{channel.pages:,}"
    return [channel.channel, pages, *(f"{channel.ready[name]:,}/{channel.sections[name]:,}" for name in names)]


def _source_row(source: SourceStatus) -> list[str | Text]:
    synced = "never" if source.synced_at is None else f"{duration(seconds_since(source.synced_at))} ago"
    behind = "-" if source.behind_seconds is None else duration(source.behind_seconds)
    overdue = Text(duration(source.overdue_seconds), style="red") if source.overdue else "-"
    return [source.source, synced, behind, overdue]


def _target_row(target: TargetSummary) -> list[str | Text]:
    style = "red" if target.state in OUT_OF_ORDER else "yellow" if target.state == "paused" else ""
    oldest = "-" if target.waits_seconds is None else duration(target.waits_seconds)
    return [
        printable(target.name),
        Text(target.state, style=style),
        f"{target.waiting:,}",
        oldest,
        _alarming(target.dead),
    ]


def _hint(found: Status) -> None:
    for check in found.checks:
        if not check.ok:
            concerned = f"not ready for {' and '.join(check.purposes)}: " if check.purposes else ""
            print_message(Text(f"{concerned}{check.name}: {check.problem}", style="red"))
    if found.recovering:
        print_message(Text("a recovery is unfinished: if no `pagefold recover` is running, run it again", style="red"))
    changed = [domain.domain for domain in found.domains if domain.configuration_changed]
    if changed:
        names = ", ".join(changed)
        print_message(
            f"configuration changed, or the release, since {names} was folded: `pagefold work` folds all pages again"
        )
    for reset in found.looks_reset:
        print_message(Text(reset_warning(reset), style="red"))
    for source in found.sources:
        if source.held:
            print_message(Text(_held_warning(source), style="red"))
        if source.overdue:
            print_message(Text(_overdue_warning(source), style="red"))
    _hint_of_targets(found)
    for line in (*map(_unknown_text, found.unknown), *field_remarks(found.field_alerts)):
        print_message(line)
    _hint_of_fetches(found)
    _hint_of_references(found)
    _hint_at_dead_letters(found)


def _hint_of_targets(found: Status) -> None:
    for target in found.targets:
        if target.state in OUT_OF_ORDER or target.state == "paused":
            print_message(Text(printable(_target_warning(target)), style="" if target.state == "paused" else "red"))


def _target_warning(target: TargetSummary) -> str:
    since = "" if target.since is None else f" since {target.since[:16].replace('T', ' ')} UTC"
    by = "" if target.by is None else f" by {target.by}"
    return f"the target {target.name} is {target.state}{since}{by}: {target.reason}"


def _hint_of_fetches(found: Status) -> None:
    for fetches in found.fetches:
        if fetches.failing:
            print_message(Text(_fetch_warning(fetches), style="red"))


def _fetch_warning(fetches: FetchStatus) -> str:
    return (
        f"{count(fetches.failing, 'record')} of {fetches.source} could not be fetched yet: "
        f"`pagefold fetches list --source {fetches.source}` says why"
    )


def _unknown_text(unknown: UnknownStreams) -> str:
    named = (("source", unknown.source), ("channel", unknown.channel))
    parts = " and ".join(f"{what} {printable(name)!r}" for what, name in named if name is not None)
    streams = f"{unknown.streams:,} of {count(unknown.sampled, 'sampled stream')}"
    return f"{streams} are of {parts}, which the configuration does not know: they count nowhere"


def _hint_at_dead_letters(found: Status) -> None:
    if found.deliveries:
        print_message(f"{count(found.deliveries, 'request')} could not be turned into events")
    _hint_of_retention(found)
    if found.deliveries or any(domain.dead_letters or domain.conflicts for domain in found.domains):
        print_message("`pagefold dead-letters list` shows what could not be folded or appended")


def _hint_of_references(found: Status) -> None:
    ambiguous = sum(each.ambiguous for each in found.references)
    if ambiguous:
        problem = f"{count(ambiguous, 'reference')} {'is' if ambiguous == 1 else 'are'} of several SKUs, and nothing is"
        print_message(Text(f"{problem} taken under them: `pagefold references --ambiguous` lists them", style="red"))
    if found.waiting:
        print_message(
            f"{count(found.waiting, 'dead letter')} waiting for a reference, or their turn: "
            "see `pagefold dead-letters list`"
        )


def _hint_of_retention(found: Status) -> None:
    if found.expiring:
        print_message(Text(f"{count(found.expiring, 'open dead letter')} {_expiry(found.expiring)}", style="red"))
    if found.purged:
        print_message(
            Text(
                f"{count(found.purged, 'open dead letter')} lost {_bodies(found.purged)}, and there is no other copy",
                style="red",
            )
        )


def field_remarks(alerts: Sequence[FieldAlert]) -> Iterator[str]:
    """What an operator should know of the fields of records, a line for each source and kind of alert."""
    for (source, alert), found in groupby(sorted(alerts, key=_kind_of_alert), key=_kind_of_alert):
        names = list(dict.fromkeys(each.field for each in found))
        shown = ", ".join(shortened(printable(name), MAX_NAME_WIDTH) for name in names[:MAX_SHOWN_FIELDS])
        more = f" and {len(names) - MAX_SHOWN_FIELDS:,} more" if len(names) > MAX_SHOWN_FIELDS else ""
        are = "is" if len(names) == 1 else "are"
        what = f"{shown}{more} {are} {ALERT_WORDS[alert]}"
        yield f"records of {source}: {what}; `pagefold contracts fields {source} --alerts`"


def _kind_of_alert(alert: FieldAlert) -> tuple[str, Alert]:
    return alert.source, alert.alert


def _expiry(number: int) -> str:
    days = f"{NOTICE_DAYS:.0f} days"
    return f"will lose {_bodies(number)} within {days}, and there is no other copy: retry, correct or discard"


def _bodies(number: int) -> str:
    return "its body" if number == 1 else "their bodies"


def _overdue_warning(source: SourceStatus) -> str:
    where = [f'"{sync_task(source.source)}"' if each == "sync" else each for each in source.overdue]
    return (
        f"{source.source} is overdue: `pagefold schedule runs {where[0]}` lists its runs; is `pagefold work` running?"
    )


def _held_warning(source: SourceStatus) -> str:
    return f"the sync of {source.source} is held: {source.held}: `pagefold sync {source.source} --yes` appends it"


def reset_warning(reset: ResetStatus) -> str:
    """What is wrong with a source, and what to do."""
    return (
        f"source looks reset: {count(reset.stale, 'event')} of {reset.source} about {reset.domain} had versions older "
        "than the stored ones, and changed no page. Was its counter restarted? "
        f"`pagefold epochs raise {reset.source} --reason …` starts a new epoch for its next events; "
        f"`pagefold epochs dismiss {reset.source} --reason …` dismisses this warning"
    )
