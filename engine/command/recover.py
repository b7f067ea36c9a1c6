"""`pagefold recover`: every page again from the log as it is, after it was put back or replaced."""

import time
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.text import Text

import pagefold
from pagefold.engine.command.console import pace, print_message, write_json
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options, Processes
from pagefold.engine.command.progress import share_meter
from pagefold.engine.command.signals import stoppable
from pagefold.engine.command.verify import SHOWN, DriftTally, section_count, show_lines, tell_damage
from pagefold.engine.replay.recovery import RecoveryResult
from pagefold.engine.replay.replayer import SectionDrift
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.stores.store_health import Inspection


def recover(
    *,
    yes: Annotated[bool, Parameter(show_default=False)] = False,
    processes: Processes = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Fold every page again from the log as it is, whatever was folded before.

    For a log that is not the one that was folded: one that was put back to an older state, swapped, or deleted. Until
    then nothing is appended to it or folded, and `pagefold status` says why. What the log does not have goes from the
    pages, so put the right log back first, where there is one: `pagefold restore`. Where pages are shown of which the
    log has nothing, all or more than 5% or 500 and never fewer than 5, it says how many, changes nothing, and exits 1,
    unless it is told --yes. Readers go on meanwhile,
    and from the beginning of it changes are taken again. It is also what folds pages anew that were lost.

    Ended before its time, it has to be run again; `pagefold status` says so until then.

    Parameters
    ----------
    yes
        Take away the pages of which the log has nothing, however many they are.
    processes
        How many processes look at the pages. Unless given: one, and as many as there are processors where the log has
        300,000 events or more.
    as_json
        Print one JSON document: logId, position, sections, changed, seconds.
    """
    return run(lambda: _recover(options, processes, yes=yes, as_json=as_json))


async def _recover(options: Options, processes: int | None, *, yes: bool, as_json: bool) -> int:
    started = time.monotonic()
    found: RecoveryResult | None = None
    inspection = Inspection([], [])
    samples: list[SectionDrift] = []
    async with pagefold.open(options.load(), create=False, killable=True) as shop, stoppable() as stop:
        with stop.scope, share_meter("recovering", await section_count(shop, None)) as meter:
            advance = DriftTally(meter, samples, SHOWN).advance
            found = await shop.recover(confirmed=yes, on_progress=advance, processes=processes)
            inspection = await shop.store.inspect()
    if found is None:
        print_message("the recovery has not come to its end: run `pagefold recover` again")
        return stop.exit_code
    seconds = time.monotonic() - started
    if as_json:
        write_json(msgspec.to_builtins(found) | {"seconds": seconds})
    else:
        _show(found, seconds)
    tell_damage(inspection)
    return Exit.REFUSED if inspection.damage else Exit.DONE


def _show(found: RecoveryResult, seconds: float) -> None:
    changed = f"{found.changed:,} were not what the log says, folded again" if found.changed else "all are what it says"
    compared = f"{pace(found.sections, 'section', seconds, complete=True)}: {changed}"
    show_lines(Text(compared), Text(f"the log counts as it is, folded up to position {found.position:,}"))
