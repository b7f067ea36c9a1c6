"""`pagefold sync`: asks sources for what changed since the last time."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

import pagefold
from pagefold.engine.command.console import print_error, print_message, write_json
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options, UsageError, unknown_source
from pagefold.engine.command.signals import stoppable
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import StoreError
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.runtime.extras import needs_extra
from pagefold.engine.runtime.origin import acting, current_origin
from pagefold.engine.shop import Shop

if TYPE_CHECKING:
    from pagefold.engine.sync.removal_brake import HeldDecision


def sync(  # noqa: PLR0913  # as many as the command has
    source: Annotated[list[str] | None, Parameter(name="SOURCE", consume_multiple=True)] = None,
    /,
    *,
    yes: Annotated[bool, Parameter(negative="")] = False,
    leave_out: Annotated[bool, Parameter(negative="")] = False,
    expect: Annotated[int | None, Parameter(validator=Number(gte=0))] = None,
    reason: str | None = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Ask sources for what changed since the last time, and append it.

    Asks those that have `[sources.X.delta]`, or the given ones. Workers do the same every so often. Changes prove
    nothing about the rest: what a source deletes, a rebuild finds. An interrupted run is repeated by the next one. What
    would withdraw more streams than `max_orphans`, or empty a field in most changes, is held: it is not appended.
    Exit code 1 if something is held or could not be taken, 3 if a source or the store failed.

    Parameters
    ----------
    source
        Only these sources.
    yes
        Append what is held, too. The sources must be named.
    leave_out
        Leave out what is held: it is not removed, and not asked for again. The sources must be named.
    expect
        With --yes or --leave-out: hold it again if something is removed from more streams than this.
    reason
        Why, for the audit.
    as_json
        Print one JSON object per source and line: source, state, detail.
    """
    decision = _decision(leave_out, expect) if yes or leave_out else None
    if yes and leave_out:
        raise UsageError("--yes", "cannot be combined with --leave-out")
    if decision is None and (expect is not None or reason is not None):
        raise UsageError("--expect" if reason is None else "--reason", "goes with --yes or --leave-out")
    if decision is not None and not source:
        raise UsageError(decision.option, f"name the sources: `pagefold sync SOURCE {decision.option}`")
    with acting(current_origin()._replace(reason=reason)):
        return run(lambda: _sync(source or (), options, decision, as_json=as_json))


def _decision(leaves_out: bool, expected: int | None) -> "HeldDecision":  # noqa: FBT001  # an option of the command
    with needs_extra("pagefold sync", "rebuild"):
        from pagefold.engine.sync.removal_brake import HeldDecision  # noqa: PLC0415  # most commands do not need it

    return HeldDecision(leaves_out, expected)


async def _sync(names: Collection[str], options: Options, decision: "HeldDecision | None", *, as_json: bool) -> int:
    config = options.load()
    chosen = names or [name for name, source in config.sources.items() if source.delta is not None]
    _check_names(chosen, config)
    async with pagefold.open(config, create=False, killable=True) as shop, stoppable() as stop:
        code = int(Exit.DONE)
        with stop.scope:
            for name in chosen:
                code = max(code, await _sync_one(shop, name, decision, as_json=as_json))
            return code
    return stop.exit_code


async def _sync_one(shop: Shop, source: str, decision: "HeldDecision | None", *, as_json: bool) -> int:
    with needs_extra("pagefold sync", "rebuild"):
        from pagefold.engine.schedule.scheduler import Scheduler  # noqa: PLC0415  # as most commands do not need it

    try:
        outcome = await Scheduler(shop).sync_now(source, decision)
    except StoreError as error:
        print_error(str(error))
        return Exit.FAILED
    if as_json:
        write_json({"source": source, "state": outcome.state, "detail": outcome.detail})
    elif outcome.state == "failed":
        print_error(outcome.detail)
    else:
        print_message(f"{source}: {outcome.detail}")
    return {"done": Exit.DONE, "failed": Exit.FAILED}.get(outcome.state, Exit.REFUSED)


def _check_names(names: Collection[str], config: Config) -> None:
    for name in names:
        if name not in config.sources:
            raise UsageError("SOURCE", unknown_source(name, config))
        if config.sources[name].delta is None:
            raise config.error(f"sources.{name}.delta", "is required: configure where the source's changes are")
    if not names:
        raise UsageError("SOURCE", "no source has changes to ask for: [sources.X.delta] in the configuration")
