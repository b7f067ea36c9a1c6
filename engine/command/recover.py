"""`pagefold recover`: folds every page from the log as it is, after the log was restored or replaced."""

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
from pagefold.engine.command.verify import MAX_SHOWN, DriftTally, print_damage, print_lines, section_count
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
    """Fold every page from the log as it is, whatever was folded before.

    For a log that is not the one that was folded: it was restored to an older state, replaced, or deleted. Until this
    command has started, nothing is appended or folded, and `pagefold status` says why. Pages without events in the log
    are removed; if you have the right log, restore it first (`pagefold restore`). If that would remove all live pages,
    or more than 5% of them (but at least 5) or 500, it prints their number, changes nothing, and exits 1, unless --yes
    is given. Readers may continue. It also folds pages again after they were lost.

    If it was interrupted, run it again; `pagefold status` says so until then.

    Parameters
    ----------
    yes
        Remove the pages without events in the log, whatever their number.
    processes
        How many processes compare the pages. By default one, or one per processor where the log has 300,000 events or
        more.
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
            advance = DriftTally(meter, samples, MAX_SHOWN).advance
            found = await shop.recover(confirmed=yes, on_progress=advance, processes=processes)
            inspection = await shop.store.inspect()
    if found is None:
        print_message("the recovery was interrupted: run `pagefold recover` again")
        return stop.exit_code
    seconds = time.monotonic() - started
    if as_json:
        write_json(msgspec.to_builtins(found) | {"seconds": seconds})
    else:
        _show(found, seconds)
    print_damage(inspection)
    return Exit.REFUSED if inspection.damage else Exit.DONE


def _show(found: RecoveryResult, seconds: float) -> None:
    changed = f"{found.changed:,} differed from the log, folded again" if found.changed else "all match the log"
    compared = f"{pace(found.sections, 'section', seconds, complete=True)}: {changed}"
    print_lines(Text(compared), Text(f"the log is accepted as it is, folded up to position {found.position:,}"))
