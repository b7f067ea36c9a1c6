"""`pagefold plan` and `pagefold apply`: what a changed configuration does to pages, and letting it count."""

import time
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.text import Text

import pagefold
from pagefold.engine.applied.applied_log import Applied
from pagefold.engine.command.console import count, print_error, print_message, printable, write_json
from pagefold.engine.command.dead_letters import Operator, login_name
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options, Processes, Reason
from pagefold.engine.command.page_differences import comparison_meter, show_counts, show_samples
from pagefold.engine.command.signals import stoppable
from pagefold.engine.command.verify import print_lines, section_count
from pagefold.engine.errors import PlanOutdated
from pagefold.engine.plans.plan import Plan
from pagefold.engine.plans.saved_plan import SavedPlan
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.shop import Shop


def plan(
    *,
    save: Annotated[Path | None, Parameter(name="--save")] = None,
    processes: Processes = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Show what the channels and sources of a configuration would change, and change nothing.

    Folds every page from the log under the configuration that counts, which is the one that was applied last, and under
    the file's (`--config NEW` names another one), and compares them. Shows by channel how many pages change, appear,
    go, are disabled, become ready or not, lose all values of a field, or lose a source; by field, how many differ; and
    some samples. Workers may continue.

    Exit code 1 if more live pages lose something than a start applies by itself: in a channel or in all, more than 5%
    of them (but at least 5) or 500.

    Parameters
    ----------
    save
        Write the plan to this file, for `pagefold apply --plan`.
    processes
        How many processes fold. By default one, or one per processor where the log has 300,000 events or more.
    as_json
        Print one JSON document: logId, number, position, fingerprints, plannedAt, settings, plan (skus, channels: live,
        changed, taken, effects, domains, fields; samples), excess (channels), seconds.
    """
    return run(lambda: _plan(options, save, processes, as_json=as_json))


async def _plan(options: Options, save: Path | None, processes: int | None, *, as_json: bool) -> int:
    started = time.monotonic()
    found: SavedPlan | None = None
    async with pagefold.open(options.load(), create=False, killable=True) as shop, stoppable() as stop:
        with stop.scope:
            found = await _planned(shop, processes)
    if found is None:
        return stop.exit_code
    if save is not None:
        found.save(save)
    seconds = time.monotonic() - started
    if as_json:
        write_json(msgspec.to_builtins(found) | {"excess": found.plan.excess, "seconds": seconds})
    else:
        _show(found, seconds)
    return Exit.REFUSED if found.plan.excess else Exit.DONE


def apply(  # noqa: PLR0913  # each is an option
    *,
    plan: Annotated[Path | None, Parameter(name="--plan")] = None,
    reason: Reason,
    operator: Operator = None,
    yes: Annotated[bool, Parameter(show_default=False)] = False,
    processes: Processes = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Let the channels and sources of a configuration count from now on.

    They are appended to the log, whole, with your name and the reason. Running workers and servers take them without a
    restart, and fold every page again that depends on what changed.

    Makes a plan before, and shows it. If more live pages lose something than a start would apply by itself, it changes
    nothing and exits 1, unless --yes is given. With --plan, what is in that plan is applied; it is refused if something
    else counts by now, if it was made by another release, or if by now more pages would lose something than it says.

    Parameters
    ----------
    plan
        Apply what is in this file, which `pagefold plan --save` has written, in place of the configuration.
    yes
        Apply it, whatever it takes away.
    processes
        How many processes fold, as for `pagefold plan`.
    as_json
        Print one JSON object: number, position, by, reason, recordedAt.
    """
    name = operator or login_name()
    saved = None if plan is None else SavedPlan.load(plan)
    return run(lambda: _apply(options, saved, name, reason, processes, yes=yes, as_json=as_json))


async def _apply(  # noqa: PLR0913  # what the command was asked for
    options: Options,
    saved: SavedPlan | None,
    operator: str,
    reason: str,
    processes: int | None,
    *,
    yes: bool,
    as_json: bool,
) -> int:
    applied: Applied | None = None
    started = time.monotonic()
    async with pagefold.open(options.load(), create=False, killable=True) as shop, stoppable() as stop:
        with stop.scope:
            chosen = saved or await _planned(shop, processes)
            if saved is not None:
                await _check(shop, saved, processes)
            elif chosen.plan.excess and not yes:
                _show(chosen, time.monotonic() - started)
                return Exit.REFUSED
            applied = await shop.apply(chosen, by=operator, reason=reason)
    if applied is None:
        return stop.exit_code
    if as_json:
        write_json(applied.summary)
    else:
        pages = count(chosen.plan.changed, "page")
        print_message(
            f"configuration {applied.number} counts from now on; {pages} change as soon as workers have folded them"
        )
    return Exit.DONE


async def _check(shop: Shop, saved: SavedPlan, processes: int | None) -> None:
    """Raises `PlanOutdated` if more pages would lose something by now than a plan says, and too many."""
    saved.check(await shop.store.proof.log_id(), shop.applied.number, shop.applied.config)
    if await shop.store.log.end() == saved.position:
        return
    config = shop.applied.config.under(saved.settings)
    now = (await _planned(shop, processes, config)).plan
    if now.excess and now.taken > saved.plan.taken:
        reason = f"{now.taken:,} live pages would lose something by now, {saved.plan.taken:,} when it was made"
        raise PlanOutdated(reason)


async def _planned(shop: Shop, processes: int | None, config: pagefold.Config | None = None) -> SavedPlan:
    """A plan, made with a progress bar."""
    with comparison_meter("planning", await section_count(shop, None), "change") as advance:
        return await shop.plan(config, on_planned=advance, processes=processes)


def _show(found: SavedPlan, seconds: float) -> None:
    plan = found.plan
    show_counts(plan, seconds, "change", "nothing changes")
    if plan.changed:
        print_lines(Text())
        show_samples(plan)
    for channel in plan.excess:
        print_error(_excess_text(channel, plan))


def _excess_text(channel: str, plan: Plan) -> str:
    part = plan if channel == "*" else plan.channels[channel]
    where = "" if channel == "*" else f" of {printable(channel)}"
    return (
        f"{part.taken:,} of {count(part.live, 'live page')}{where} lose something: a start does not apply it; "
        "`pagefold apply --yes --reason …` does"
    )
