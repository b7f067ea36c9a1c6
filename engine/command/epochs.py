"""`pagefold epochs`: counters that began anew."""

from typing import Annotated

import msgspec
from cyclopts import App, Parameter

import pagefold
from pagefold.engine.command.console import print_message, printable, show_table, write_bytes
from pagefold.engine.command.dead_letters import Operator, login_name
from pagefold.engine.command.options import AsJSON, DomainName, Exit, Injected, Options
from pagefold.engine.intake.epoch_registry import Note
from pagefold.engine.intake.epoch_service import EpochNote
from pagefold.engine.runtime.event_loop import run

Reason = Annotated[str, Parameter(name="--reason", help="Why, for whoever asks later.")]

epochs = App(
    name="epochs",
    help="""\
List and raise epochs, and dismiss sources that look reset.

An epoch orders before the versions of a source. When a source's counter was restarted, everything that it says is
older than what stands: in the next epoch, its versions begin anew. An epoch is of a source, or of one stream
`sku/channel/domain/source`, such as that of a price whose version was nonsense. It counts at once, in every process
that runs, for whatever comes without an epoch of its own; pages show the source's own versions as before.
""",
    help_epilogue="""\
**Examples**

```text
pagefold epochs raise erp --reason "restored from the backup of Tuesday"
pagefold epochs raise 'TSHIRT-M/*/pricing/erp' --reason "version 9007199254740991"
pagefold epochs dismiss erp --reason "a test of theirs"
pagefold epochs list
```
""",
)


@epochs.command(name="list", help_epilogue="")
def list_epochs(*, as_json: AsJSON = False, options: Injected = Options()) -> int:  # noqa: B008  # it is immutable
    """List what was raised and dismissed, the newest first: of whom, by whom, and why.

    `own` tells that there are streams of a source with epochs of their own: the source has named them, or a rebuild has
    found records that were made again. Their histories show them.

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
        print_message("no epoch was raised so far: all events are of epoch 0")
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

    Before that, let run dry what the source had sent before: whatever comes later counts as of the new epoch. Of what
    the source has by now, `pagefold rebuild --source SOURCE` brings the new epoch every row.

    Parameters
    ----------
    scope
        A source, or a stream `sku/channel/domain/source` as `pagefold dead-letters` and rebuilds name it.
    epoch
        This one, instead of the next; 1023 is the last.
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
    """Say that a source which looks reset is not. Exit code 1 when it does not look so.

    When as many of its events are older than what stands once more, it looks reset again.

    Parameters
    ----------
    source
        As `pagefold status` names it.
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
