"""`pagefold epochs`: version counters that were restarted."""

from typing import Annotated

import msgspec
from cyclopts import App, Parameter

import pagefold
from pagefold.engine.command.console import print_message, printable, show_table, write_bytes
from pagefold.engine.command.dead_letters import Operator, login_name
from pagefold.engine.command.options import AsJSON, DomainName, Exit, Injected, Options, Reason
from pagefold.engine.intake.epoch_registry import Note
from pagefold.engine.intake.epoch_service import EpochNote
from pagefold.engine.runtime.event_loop import run

epochs = App(
    name="epochs",
    help="""\
List and raise epochs, and dismiss sources that look reset.

Epochs order before versions. After a source's version counter was restarted, its events are older than those in the
log: in the next epoch they count again. An epoch belongs to a source, or to one stream `sku/channel/domain/source`,
such as that of a price whose version was nonsense. It applies at once, in every running process, to events without an
epoch of their own; pages show the source's own versions as before.
""",
    help_epilogue="""\
**Examples**

```text
pagefold epochs raise erp --reason "restored from the backup of Tuesday"
pagefold epochs raise 'TSHIRT-M/*/pricing/erp' --reason "a wrong version"
pagefold epochs dismiss erp --reason "a test of theirs"
pagefold epochs list
```
""",
)


@epochs.command(name="list", help_epilogue="")
def list_epochs(*, as_json: AsJSON = False, options: Injected = Options()) -> int:  # noqa: B008  # it is immutable
    """List raised epochs and dismissed warnings, newest first: for which source, by whom, and why.

    `own` means that streams of a source have epochs of their own: the source named them, or a rebuild found recreated
    records. Their histories show them.

    Parameters
    ----------
    as_json
        Print one JSON object a line: position, what, scope, epoch, domain, operator, runId, reason, recordedAt.
    """
    return run(lambda: _list(options, as_json=as_json))


async def _list(options: Options, *, as_json: bool) -> int:
    async with pagefold.open(options.load(), create=False) as shop:
        found = await shop.epochs.list()
    if as_json:
        for note in found:
            write_bytes(msgspec.json.encode(note))
    elif found:
        show_table(("when", "what", "scope", "epoch", "by", "reason"), map(_row, found), wrapped=("scope", "reason"))
    else:
        print_message("no epoch was raised: all events are of epoch 0")
    return Exit.DONE


def _row(note: EpochNote) -> list[str]:
    when = note.recorded_at[:19].replace("T", " ")
    scope = note.scope if note.domain is None else f"{note.scope}, {note.domain}"
    epoch = str(note.epoch) if note.what == "raised" else "-"
    by = note.operator or note.run_id or "-"
    return [when, note.what, printable(scope), epoch, printable(by), printable(note.reason)]


@epochs.command(name="raise", help_epilogue="")
def raise_epoch(
    scope: Annotated[str, Parameter(name="SCOPE")],
    /,
    *,
    reason: Reason,
    epoch: Annotated[int | None, Parameter(name="--epoch")] = None,
    operator: Operator = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Raise the epoch of a source or of one stream.

    First let everything arrive that the source has sent: later events count as of the new epoch. Then
    `pagefold rebuild --source SOURCE` brings every row of its snapshot into the new epoch.

    Parameters
    ----------
    scope
        A source, or a stream `sku/channel/domain/source` as `pagefold dead-letters` and rebuilds name it.
    epoch
        Raise to this epoch instead of the next; at most 1023.
    as_json
        Print one JSON object: what, scope, epoch, operator, reason, recordedAt.
    """
    name = operator or login_name()
    return run(lambda: _raise(scope, reason, epoch, name, options, as_json=as_json))


async def _raise(scope: str, reason: str, epoch: int | None, operator: str, options: Options, *, as_json: bool) -> int:
    async with pagefold.open(options.load(), create=False) as shop:
        note = await shop.epochs.raise_epoch(scope, reason=reason, operator=operator, epoch=epoch)
    return _show(note, f"is in epoch {note.epoch} from now on", as_json=as_json)


def _show(note: Note, words: str, *, as_json: bool) -> int:
    if as_json:
        write_bytes(msgspec.json.encode(note))
    else:
        print(f"{printable(note.scope)}  {words}")
    return Exit.DONE


@epochs.command(help_epilogue="")
def dismiss(
    source: Annotated[str, Parameter(name="SOURCE")],
    /,
    *,
    reason: Reason,
    domain: Annotated[DomainName | None, Parameter(name="--domain", help="Only in this domain.")] = None,
    operator: Operator = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Dismiss the warning that a source looks reset. Exit code 1 without such a warning.

    It comes back when as many more of its events are older than those in the log.

    Parameters
    ----------
    source
        The source, as `pagefold status` names it.
    as_json
        Print one JSON object: what, scope, domain, operator, reason, recordedAt.
    """
    name = operator or login_name()
    return run(lambda: _dismiss(source, reason, domain, name, options, as_json=as_json))


async def _dismiss(
    source: str, reason: str, domain: str | None, operator: str, options: Options, *, as_json: bool
) -> int:
    async with pagefold.open(options.load(), create=False) as shop:
        note = await shop.epochs.dismiss(source, reason=reason, operator=operator, domain=domain)
    return _show(note, "dismissed", as_json=as_json)
