"""`pagefold plan` and `pagefold apply`: what a changed configuration does to pages, and letting it count."""

import re
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from cyclopts import Parameter

import pagefold
from pagefold.engine.applied.applied_log import Applied
from pagefold.engine.command.console import count, print_error, print_message, printable, write_json
from pagefold.engine.command.dead_letters import Operator, login_name
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options, Processes, Reason, UsageError
from pagefold.engine.command.page_differences import comparison_meter, show_counts, show_samples
from pagefold.engine.command.signals import stoppable
from pagefold.engine.command.verify import section_count
from pagefold.engine.errors import PlanOutdated
from pagefold.engine.intake.operators import check_reason
from pagefold.engine.plans.plan import Plan
from pagefold.engine.plans.saved_plan import SavedPlan
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.shop import Shop

_plan_id = re.compile(r"[0-9a-f]{8}", re.ASCII)


def plan(
    *,
    save: Annotated[Path | None, Parameter(name="--save")] = None,
    keep: Annotated[bool, Parameter(show_default=False, negative=())] = False,
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
    keep
        Keep the plan in the store, for `pagefold plans` and `pagefold apply --plan`. The newest 20 are kept.
    processes
        How many processes fold. By default one, or one per processor where the log has 300,000 events or more.
    as_json
        Print one JSON document: logId, number, position, fingerprints, plannedAt, settings, plan (skus, channels: live,
        changed, taken, effects, domains, fields, skus; samples), excess (channels), seconds, and with --keep its id.
    """
    return run(lambda: _plan(options, save, processes, keeps=keep, as_json=as_json))


async def _plan(options: Options, save: Path | None, processes: int | None, *, keeps: bool, as_json: bool) -> int:
    if save is not None and not save.parent.is_dir():
        raise UsageError("--save", f"there is no folder {printable(str(save.parent))!r}")
    started = time.monotonic()
    found: SavedPlan | None = None
    kept: dict[str, str] = {}
    async with pagefold.open(options.load(), create=False, killable=True) as shop, stoppable() as stop:
        with stop.scope:
            found = await _planned(shop, processes)
        if found is not None and keeps:
            kept = {"id": (await shop.plans.keep(found, login_name())).plan}
    if found is None:
        return stop.exit_code
    if save is not None:
        found.save(save)
    seconds = time.monotonic() - started
    if as_json:
        write_json(msgspec.to_builtins(found) | {"excess": found.plan.excess, "seconds": seconds} | kept)
    else:
        show_plan(found, seconds)
        for plan_id in kept.values():
            print_message(f"kept as {plan_id}: `pagefold apply --plan {plan_id} --reason …` applies it")
    return Exit.REFUSED if found.plan.excess else Exit.DONE


def apply(  # noqa: PLR0913  # each is an option
    *,
    plan: Annotated[str | None, Parameter(name="--plan", metavar="PATH|ID")] = None,
    reason: Reason,
    operator: Operator = None,
    yes: Annotated[bool, Parameter(show_default=False)] = False,
    take_away: Annotated[int | None, Parameter(metavar="N")] = None,
    processes: Processes = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Let the channels and sources of a configuration count from now on.

    They are appended to the log, whole, with your name and the reason. Running workers and servers take them without a
    restart, and fold every page again that depends on what changed.

    Makes a plan before, and shows it. If more live pages lose something than a start would apply by itself, it changes
    nothing and exits 1, unless --yes or --take-away is given. With --plan, what is in that plan is applied; it is
    refused if something else counts by now, if it was made by another release, or if by now more pages would lose
    something than it says.

    Parameters
    ----------
    plan
        Apply this plan in place of the configuration: the id of one that is kept, such as 7f3a2001, or a file that
        `pagefold plan --save` has written.
    yes
        Apply it, whatever it takes away.
    take_away
        Apply it if it takes something from exactly this many live pages, else exit 1.
    processes
        How many processes fold, as for `pagefold plan`.
    as_json
        Print one JSON object: number, position, by, reason, recordedAt.
    """
    check_reason(reason)
    name = operator or login_name()
    wanted = _Wanted(plan, name, reason, take_away, yes)
    return run(lambda: _apply(options, wanted, processes, as_json=as_json))


class _Wanted(NamedTuple):
    """What is to be applied, by whom and why, and what it may take away."""

    plan: str | None
    by: str
    reason: str
    take_away: int | None
    yes: bool


async def _apply(options: Options, wanted: _Wanted, processes: int | None, *, as_json: bool) -> int:
    applied: Applied | None = None
    started = time.monotonic()
    async with pagefold.open(options.load(), create=False, killable=True) as shop, stoppable() as stop:
        with stop.scope:
            saved = await _saved(shop, wanted.plan)
            chosen = saved or await _planned(shop, processes)
            if saved is not None:
                await _check(shop, saved, processes)
            elif chosen.plan.excess and not wanted.yes and wanted.take_away is None:
                show_plan(chosen, time.monotonic() - started)
                return Exit.REFUSED
            applied = await shop.apply(chosen, by=wanted.by, reason=wanted.reason, expected=wanted.take_away)
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


async def _saved(shop: Shop, plan: str | None) -> SavedPlan | None:
    """The plan in a file, or that is kept by this id. Raises `UnreadablePlan` and `UnknownPlan`."""
    if plan is None:
        return None
    return (await shop.plans.get(plan)).saved if _plan_id.fullmatch(plan) else SavedPlan.load(plan)


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


def show_plan(found: SavedPlan, seconds: float | None) -> None:
    """Shows what a plan found, and which channels lose too much. `seconds` is how long it took, if that is known."""
    plan = found.plan
    show_counts(plan, seconds, "change", "nothing changes")
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
