"""`pagefold plans`: lists, shows and refuses the plans that are kept."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from cyclopts import App, Parameter
from rich.text import Text

import pagefold
from pagefold.engine.command.console import print_message, printable, show_table, write_json
from pagefold.engine.command.dead_letters import Operator, login_name
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options, Reason
from pagefold.engine.command.plan import show_plan
from pagefold.engine.command.run_report import timestamp_text
from pagefold.engine.plans.kept_plans import KeptPlan
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.stores.plan_records import KEPT_PLANS, PlanRecord, PlanState

plans = App(
    name="plans",
    help="""\
List and show plans that are kept, and refuse one.

`pagefold plan --keep` keeps a plan. So does a process whose configuration is not applied by itself, because that would
take something from too many live pages: the plan waits for a decision. `pagefold apply --plan ID` applies it.
""",
    help_epilogue="",
)

PlanId = Annotated[str, Parameter(name="ID")]

_STYLES: Mapping[PlanState, str] = {"open": "yellow", "applied": "green", "refused": "red"}


@plans.command(name="list")
def list_plans(
    *,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """List the plans that are kept, newest first.

    Changed: pages that differ. Taken: live pages that lose something.

    Parameters
    ----------
    as_json
        Print one JSON object a line: id, plannedAt, digest, number, position, changed, taken, by, state, decidedBy,
        reason, decidedAt.
    """
    return run(lambda: _list(options, as_json=as_json))


async def _list(options: Options, *, as_json: bool) -> int:
    async with pagefold.open(options.load(), create=False) as shop:
        found = await shop.plans.newest(KEPT_PLANS)
    if as_json:
        for record in found:
            write_json(_document(record))
    elif found:
        numbers = ("changed", "taken")
        show_table(("plan", "state", "planned", "from", "by", *numbers), map(_row, found), numbers=numbers)
    else:
        print_message("no plans are kept: `pagefold plan --keep` keeps one")
    return Exit.DONE


def _document(record: PlanRecord) -> dict[str, object]:
    renamed = {"plan": "id", "planned_at": "plannedAt", "decided_by": "decidedBy", "decided_at": "decidedAt"}
    return {renamed.get(name, name): value for name, value in record._asdict().items()}


def _row(record: PlanRecord) -> list[str | Text]:
    state = Text(record.state, style=_STYLES[record.state])
    counts = (f"{record.changed:,}", f"{record.taken:,}")
    planned_at = timestamp_text(record.planned_at)
    return [record.plan, state, planned_at, str(record.number), printable(record.by), *counts]


@plans.command
def show(
    identifier: PlanId,
    /,
    *,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Show a plan: what would change by channel and field, samples, and what was decided. Exit code 1 if it is unknown.

    Parameters
    ----------
    as_json
        Print one JSON document: the fields of `pagefold plans list --json`, and those of `pagefold plan --json`.
    """
    return run(lambda: _show(identifier, options, as_json=as_json))


async def _show(identifier: str, options: Options, *, as_json: bool) -> int:
    async with pagefold.open(options.load(), create=False) as shop:
        found = await shop.plans.get(identifier)
    if as_json:
        write_json(msgspec.to_builtins(found.saved) | _document(found.record))
        return Exit.DONE
    show_plan(found.saved, None)
    print_message(_decision(found))
    return Exit.DONE


def _decision(found: KeptPlan) -> str:
    record = found.record
    if record.state == "open":
        decide = f"`pagefold apply --plan {record.plan} --take-away {record.taken} --reason …` applies it"
        return f"nobody has decided yet: {decide}, `pagefold plans refuse {record.plan} --reason …` refuses it"
    at = timestamp_text(record.decided_at)
    return f"{record.state} by {printable(record.decided_by)} at {at}Z: {printable(record.reason)}"


@plans.command
def refuse(
    identifier: PlanId,
    /,
    *,
    reason: Reason,
    operator: Operator = None,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Refuse a plan: what counts stays, and processes with that configuration no longer plan it at each start.

    Exit code 1 if the plan is unknown, or decided already.
    """
    return run(lambda: _refuse(identifier, operator or login_name(), reason, options))


async def _refuse(identifier: str, by: str, reason: str, options: Options) -> int:
    async with pagefold.open(options.load(), create=False) as shop:
        await shop.plans.refuse(identifier, by=by, reason=reason)
    print_message(f"the plan {identifier} is refused")
    return Exit.DONE
