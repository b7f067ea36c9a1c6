"""`pagefold verify`: whether the pages are what the log says. How folding pages again is watched and shown."""

import time
from collections.abc import Collection, Iterator
from typing import Annotated

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.text import Text

import pagefold
from pagefold.engine.command.change_text import change_line
from pagefold.engine.command.console import (
    count,
    pace,
    percent,
    print_error,
    print_message,
    printable,
    results,
    write_json,
)
from pagefold.engine.command.options import DOMAIN_NAMES, AsJSON, Exit, Injected, Options, Processes
from pagefold.engine.command.progress import Meter, share_meter
from pagefold.engine.command.signals import stoppable
from pagefold.engine.errors import remedy_for
from pagefold.engine.replay.replayer import ReplayResult, SectionDrift, SectionDriftKind
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.shop import Shop
from pagefold.engine.stores.store_health import Inspection
from pagefold.projections.field_changes import FieldChange

SHOWN = 5
"""How many differences are shown; the others are counted."""

SHOWN_FIELDS = 8
"""How many fields of one are."""

LISTED = 100
"""How many differences the JSON document of `verify` names."""

_STOOD: dict[SectionDriftKind, str] = {
    "differs": "differs from the log",
    "lost": "is lost",
    "surplus": "is not in the log",
}


def verify(
    *,
    sample: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    domain: Annotated[list[str] | None, Parameter(choices=DOMAIN_NAMES)] = None,
    max_drift: Annotated[float, Parameter(validator=Number(gte=0, lte=100))] = 0.0,
    processes: Processes = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Compare the pages with the log, section by section, and change none.

    Every section is folded from the log and compared with the one that stands in the store, byte for byte. One that
    differs, is lost, or has nothing in the log to account for it has drifted: somebody has written into the store, or
    it was damaged. Sections that wait for their consumer are behind, which is no drift. Workers may go on meanwhile.

    Before that it looks, unless it takes a sample, whether every index of the store has just the rows of its table: by
    one that is damaged, pages and events are not found that are there. PostgreSQL: by its extension amcheck, or, where
    that is not installed, by comparing what is read with the index and without.

    `pagefold rebuild --from log` repairs what has drifted. Exit code 1 when more than --max-drift has, or anything is
    damaged.

    Parameters
    ----------
    sample
        Only so many SKUs, chosen at random: quick, and enough to notice damage that is widespread.
    domain
        Only this domain; may be given several times.
    max_drift
        How many percent of the sections may have drifted before the exit code is 1.
    processes
        How many processes look at the pages. Unless given: one, and as many as there are processors where the log has
        300,000 events or more.
    as_json
        Print one JSON document: sections, changed, behind, drift (in percent), differences (the first 100: sku,
        channel, domain, kind, changes), damage (what, problem), unchecked (indexes), seconds.
    """
    return run(lambda: _verify(sample, domain, max_drift, options, processes, as_json=as_json))


async def _verify(
    sample: int | None,
    domains: Collection[str] | None,
    max_drift: float,
    options: Options,
    processes: int | None,
    *,
    as_json: bool,
) -> int:
    started = time.monotonic()
    found: ReplayResult | None = None
    differences: list[SectionDrift] = []
    inspection = Inspection([], [])
    async with pagefold.open(options.load(), create=False, killable=True) as shop, stoppable() as stop:
        with stop.scope:
            inspection = await shop.store.inspect() if sample is None else inspection
            total = await section_count(shop, domains) if sample is None else None
            with share_meter("verifying", total) as meter:
                tally = DriftTally(meter, differences, LISTED)
                found = await shop.verify(
                    domains, sample=sample, on_drift=tally.tell, on_progress=tally.advance, processes=processes
                )
    if found is None:
        return stop.exit_code
    seconds = time.monotonic() - started
    if as_json:
        document = msgspec.to_builtins(found) | {"drift": found.drift}
        document |= msgspec.to_builtins(inspection)
        write_json(document | {"differences": msgspec.to_builtins(differences), "seconds": seconds})
    else:
        _show(found, differences, seconds)
    tell_damage(inspection)
    return Exit.REFUSED if found.drift > max_drift or inspection.damage else Exit.DONE


def tell_damage(inspection: Inspection) -> None:
    """Says what is damaged, and what to do about it; and what could not be looked at."""
    for damage in inspection.damage[:SHOWN]:
        print_error(f"{damage.what} is damaged: {damage.problem}")
    if len(inspection.damage) > SHOWN:
        print_error(f"and {len(inspection.damage) - SHOWN:,} more are")
    for what in dict.fromkeys(damage.what for damage in inspection.damage):
        print_message(f"{what}: {remedy_for(what)}")
    for index in inspection.unchecked:
        print_message(f"not looked at: index {index}")


def _show(found: ReplayResult, differences: list[SectionDrift], seconds: float) -> None:
    share = f"{found.changed:,} drifted, {percent(found.drift)}" if found.changed else "none has drifted"
    compared = f"{pace(found.sections, 'section', seconds, complete=True)}: "
    show_lines(Text.assemble(compared, (share, "red" if found.changed else "green"), behind(found)))
    show_lines(*drift_lines(differences, found.changed))
    if found.changed:
        print_message("`pagefold rebuild --from log` repairs them")


class DriftTally:
    """Hears of a folding: shows how far it is, and keeps the first sections that have drifted in `kept`."""

    def __init__(self, meter: Meter, kept: list[SectionDrift], most: int) -> None:
        self._meter = meter
        self._kept = kept
        self._most = most
        self._started = time.monotonic()
        self._sections = 0
        self._drifted = 0

    def tell(self, drift: SectionDrift) -> None:
        """A section has drifted."""
        self._drifted += 1
        if len(self._kept) < self._most:
            self._kept.append(drift)

    def advance(self, sections: int) -> None:
        """So many more are done."""
        self._sections += sections
        drifted = f", {self._drifted:,} drifted" if self._drifted else ""
        self._meter.update(self._sections, rate(self._sections, "section", self._started) + drifted)


def rate(number: int, noun: str, started: float) -> str:
    """How many there have been since a moment of the monotonic clock, and how fast: `12,000 rows, 6,000/s`."""
    return f"{count(number, noun)}, {number / max(time.monotonic() - started, 0.001):,.0f}/s"


async def section_count(shop: Shop, domains: Collection[str] | None) -> int:
    """How many sections there are in these domains."""
    counts = await shop.store.pages.counts()
    return sum(sections for (_, domain), (sections, _) in counts.items() if domains is None or domain in domains)


def behind(found: ReplayResult) -> str:
    """How many sections wait, if any."""
    wait = "waits for its consumer" if found.behind == 1 else "wait for their consumer"
    return f", {found.behind:,} {wait}" if found.behind else ""


def drift_lines(samples: list[SectionDrift], total: int) -> Iterator[Text]:
    """The first sections that have drifted, with their fields: what stood there, and what the log says."""
    for drift in samples[:SHOWN]:
        name = "  ".join(map(printable, (drift.sku, drift.channel, drift.domain, "")))
        yield Text.assemble("  ", (name, "bold"), _STOOD[drift.kind])
        yield from change_lines(drift.changes)
    if total > SHOWN:
        yield Text(f"  … and {total - SHOWN:,} more", style="dim")


def change_lines(changes: list[FieldChange], most: int = SHOWN_FIELDS) -> Iterator[Text]:
    """A line a field: what it was, and what it is instead."""
    yield from map(change_line, changes[:most])
    if len(changes) > most:
        yield Text(f"    … and {count(len(changes) - most, 'more field')}", style="dim")


def show_lines(*lines: Text) -> None:
    """Lines on standard output, however long."""
    for line in lines:
        results().print(line, soft_wrap=True)
