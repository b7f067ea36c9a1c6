"""`pagefold verify`: compares the pages with the log. Also how drift is counted and shown."""

import time
from collections.abc import Collection, Iterator
from typing import Annotated

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.text import Text

import pagefold
from pagefold.domains import DOMAINS
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

MAX_SHOWN = 5
"""Drifted sections that are shown; the others are counted."""

MAX_SHOWN_FIELDS = 8
"""Fields that are shown of a drifted section."""

MAX_LISTED = 100
"""Differences in the JSON document of `verify`."""

_KINDS: dict[SectionDriftKind, str] = {
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
    """Compare the pages with the log, section by section, and change nothing.

    Folds every section from the log and compares it with the stored one, byte for byte. A section has drifted if it
    differs, is missing, or has no event in the log: somebody has written into the store, or it was damaged. Sections
    that wait for their consumer are behind, which is not drift. Workers may continue.

    Without --sample, it first checks that every index of the store has exactly the rows of its table: through a damaged
    one, existing pages and events are not found. PostgreSQL: by the extension amcheck, or, if that is not installed, by
    comparing reads with and without the index.

    `pagefold rebuild --from log` repairs drift. Exit code 1 if the drift is above --max-drift, or anything is damaged.

    Parameters
    ----------
    sample
        Compare only this many SKUs, chosen at random: quick, and enough to find widespread damage.
    domain
        Only this domain; may be given several times.
    max_drift
        The percentage of sections that may have drifted without exit code 1.
    processes
        How many processes compare the pages. By default one, or one per processor where the log has 300,000 events or
        more.
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
                tally = DriftTally(meter, differences, MAX_LISTED)
                found = await shop.verify(
                    domains, sample=sample, on_drift=tally.add, on_progress=tally.advance, processes=processes
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
    print_damage(inspection)
    return Exit.REFUSED if found.drift > max_drift or inspection.damage else Exit.DONE


def print_damage(inspection: Inspection) -> None:
    """Prints what is damaged and what to do about it, and which indexes could not be checked."""
    for damage in inspection.damage[:MAX_SHOWN]:
        print_error(f"{damage.what} is damaged: {damage.problem}")
    if len(inspection.damage) > MAX_SHOWN:
        print_error(f"and {len(inspection.damage) - MAX_SHOWN:,} more are damaged")
    for what in dict.fromkeys(damage.what for damage in inspection.damage):
        print_message(f"{what}: {remedy_for(what)}")
    for index in inspection.unchecked:
        print_message(f"not checked: index {index}")


def _show(found: ReplayResult, differences: list[SectionDrift], seconds: float) -> None:
    share = f"{found.changed:,} drifted, {percent(found.drift)}" if found.changed else "none has drifted"
    compared = f"{pace(found.sections, 'section', seconds, complete=True)}: "
    print_lines(Text.assemble(compared, (share, "red" if found.changed else "green"), behind_text(found)))
    print_lines(*drift_lines(differences, found.changed))
    if found.changed:
        print_message("`pagefold rebuild --from log` repairs them")


class DriftTally:
    """Counts compared and drifted sections: shows the progress, and adds the first drifted sections to `kept`."""

    def __init__(self, meter: Meter, kept: list[SectionDrift], max_kept: int) -> None:
        self._meter = meter
        self._kept = kept
        self._max_kept = max_kept
        self._started = time.monotonic()
        self._sections = 0
        self._drifted = 0

    def add(self, drift: SectionDrift) -> None:
        """Counts a drifted section."""
        self._drifted += 1
        if len(self._kept) < self._max_kept:
            self._kept.append(drift)

    def advance(self, sections: int) -> None:
        """Counts sections that were compared."""
        self._sections += sections
        drifted = f", {self._drifted:,} drifted" if self._drifted else ""
        self._meter.update(self._sections, rate(self._sections, "section", self._started) + drifted)


def rate(number: int, noun: str, started: float) -> str:
    """A number of items and their rate, since a time of the monotonic clock: `12,000 rows, 6,000/s`."""
    return f"{count(number, noun)}, {number / max(time.monotonic() - started, 0.001):,.0f}/s"


async def section_count(shop: Shop, domains: Collection[str] | None) -> int:
    """The number of sections in these domains, or in all."""
    names = [domain.name for domain in DOMAINS if domains is None or domain.name in domains]
    return sum([await shop.store.pages.count(name) for name in names])


def behind_text(found: ReplayResult) -> str:
    """How many sections wait for their consumer; "" if none does."""
    wait = "waits for its consumer" if found.behind == 1 else "wait for their consumer"
    return f", {found.behind:,} {wait}" if found.behind else ""


def drift_lines(samples: list[SectionDrift], total: int) -> Iterator[Text]:
    """The first drifted sections, with the stored value of each field and the log's."""
    for drift in samples[:MAX_SHOWN]:
        name = "  ".join(map(printable, (drift.sku, drift.channel, drift.domain, "")))
        yield Text.assemble("  ", (name, "bold"), _KINDS[drift.kind])
        yield from change_lines(drift.changes)
    if total > MAX_SHOWN:
        yield Text(f"  … and {total - MAX_SHOWN:,} more", style="dim")


def change_lines(changes: list[FieldChange], limit: int = MAX_SHOWN_FIELDS) -> Iterator[Text]:
    """One line per field: its value before and after. Above the limit, the others are counted."""
    yield from map(change_line, changes[:limit])
    if len(changes) > limit:
        yield Text(f"    … and {count(len(changes) - limit, 'more field')}", style="dim")


def print_lines(*lines: Text) -> None:
    """Prints lines on standard output, without wrapping them."""
    for line in lines:
        results().print(line, soft_wrap=True)
