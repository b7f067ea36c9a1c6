"""The command `pagefold`: registers every command, and turns their errors into messages and exit codes."""

import logging
import os
import shlex
import sys
import traceback
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from io import TextIOWrapper
from signal import SIGINT
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

import pagefold.engine.demo
from pagefold.engine.command.arguments import parse_command
from pagefold.engine.command.audit import audit
from pagefold.engine.command.backups import backup, restore
from pagefold.engine.command.changes import changes
from pagefold.engine.command.check import check
from pagefold.engine.command.completeness import completeness
from pagefold.engine.command.console import print_error
from pagefold.engine.command.contract_drafts import diff as contract_diff
from pagefold.engine.command.contract_drafts import generate, suggest
from pagefold.engine.command.contract_fields import fields
from pagefold.engine.command.contracts import contracts
from pagefold.engine.command.dead_letter_decisions import correct, discard, purge, retry
from pagefold.engine.command.dead_letters import dead_letters, known_name
from pagefold.engine.command.diff import diff
from pagefold.engine.command.epochs import epochs
from pagefold.engine.command.fetches import fetches
from pagefold.engine.command.get import get
from pagefold.engine.command.history import history
from pagefold.engine.command.ingest import ingest
from pagefold.engine.command.init import init
from pagefold.engine.command.options import Exit, Options, UsageError
from pagefold.engine.command.pages import pages
from pagefold.engine.command.plan import apply, plan
from pagefold.engine.command.plans import plans
from pagefold.engine.command.rebuild import rebuild
from pagefold.engine.command.rebuilds import rebuilds
from pagefold.engine.command.recover import recover
from pagefold.engine.command.references import references
from pagefold.engine.command.releases import releases
from pagefold.engine.command.requirements import requirements
from pagefold.engine.command.sagas import sagas
from pagefold.engine.command.schedule import schedule
from pagefold.engine.command.schema import schema
from pagefold.engine.command.status import status
from pagefold.engine.command.sync import sync
from pagefold.engine.command.targets import receipts, targets
from pagefold.engine.command.tokens import tokens
from pagefold.engine.command.verify import verify
from pagefold.engine.command.why import why
from pagefold.engine.command.work import work
from pagefold.engine.delivery.target_errors import TargetNotStopped, UnknownTarget
from pagefold.engine.errors import (
    ConfigurationError,
    CountChanged,
    DeadLetterResolved,
    ExtraMissing,
    InvalidTokenRequest,
    PagefoldError,
    PagesWouldGo,
    PlanDecided,
    PlanOutdated,
    RecoveryUnderWay,
    Rejected,
    RequestConflict,
    RunStateError,
    RunTakenOver,
    UnknownDeadLetter,
    UnknownPlan,
    UnknownRequest,
    UnknownRun,
    UnknownToken,
    UnreadablePlan,
)
from pagefold.engine.runtime.extras import missing_extra
from pagefold.engine.runtime.origin import Origin, acting
from pagefold.engine.runtime.redaction import redact_secrets
from pagefold.engine.sagas.saga_errors import SagaStateError, SagaTakenOver, UnknownSaga

HELP = """\
One ready-made page document per SKU and channel, folded from a log of every change.

Results go to standard output; progress, errors and logs to standard error. Exit codes: 0 done; 1 done, but some items
were refused, need a person or were not found; 2 bad usage or configuration; 3 the store or a source failed; 130 or 143
stopped by Ctrl-C or SIGTERM.
"""

SERVE = """\
Serve HTTP: storefront reads, change ingest, operations. With --work, a whole shop in one command.

Ctrl-C and SIGTERM stop accepting connections, finish the requests and the batch in progress, and exit. Without tokens
it listens on this machine only, and everything is allowed; `pagefold tokens create` creates one. GET /openapi.json
describes the API.
"""

EXAMPLES = """\
**Examples**

```text
pagefold demo                           # watch a whole shop at work
pagefold init                           # write pagefold.toml, make its store
pagefold check                          # find everything that is wrong in it
pagefold contracts check prices.csv …   # what a contract makes of an export
pagefold plan --config new.toml         # what another file would change
pagefold apply --reason …               # let the file count from now on
pagefold releases publish summer …      # let what was prepared count
pagefold ingest prices.ndjson stock.gz  # append the events in two files
erp-export | pagefold ingest -          # append what a program writes
pagefold work                           # fold new events, until Ctrl-C
pagefold serve --work                   # the same, and serve HTTP
pagefold get TSHIRT-M web-de --pretty   # one page
pagefold get TSHIRT-M web-de --at …     # the page as it was at a moment
pagefold why TSHIRT-M web-de pricing    # where a value is from, or is not
pagefold history TSHIRT-M               # which source sent what, and when
pagefold diff --from …                  # what is different since a moment
pagefold pages export web-de            # every page of a channel, as NDJSON
pagefold changes --follow               # every page, then what changes
pagefold sync erp                       # ask a source what has changed
pagefold fetches list                   # records to fetch, and why some fail
pagefold completeness web-de            # what its pages lack
pagefold rebuild --dry-run              # what differs from the snapshots
pagefold rebuild --source erp           # repair it, for one source
pagefold rebuilds list                  # past rebuilds
pagefold schedule                       # what is done at certain times
pagefold epochs raise erp --reason …    # its counter was restarted
pagefold references --ambiguous         # ids that several SKUs have
pagefold verify                         # compare all pages with the log
pagefold recover                        # fold all pages after a restore
pagefold backup copies/monday           # back up the store, while it is used
pagefold tokens create --scope read     # a secret for the HTTP server
pagefold status --json                  # how far behind, for a monitor
```
"""


def program_version() -> str:
    """The version of the installed distribution."""
    try:
        return f"pagefold {version('pagefold')}"
    except PackageNotFoundError:
        return "pagefold, not installed"


app = App(
    name="pagefold",
    help=HELP,
    help_format="markdown",
    help_epilogue=EXAMPLES,
    version=program_version,
    default_parameter=Parameter(negative=()),
)
app.command(
    "pagefold.engine.command.serve:serve", name="serve", help=SERVE, help_epilogue=""
)  # whose code is loaded when it is
app.command(
    "pagefold.engine.command.demo:demo", name="demo", help=pagefold.engine.demo.__doc__, help_epilogue=""
)  # wanted: so here, too
app.command(ingest, usage="pagefold ingest [OPTIONS] FILE...", help_epilogue="")
for command in (
    init,
    check,
    plan,
    apply,
    work,
    get,
    why,
    history,
    diff,
    changes,
    completeness,
    sync,
    rebuild,
    verify,
    recover,
    references,
    backup,
    restore,
    status,
    audit,
    receipts,
):
    app.command(command, help_epilogue="")
for decision in (retry, correct, discard, purge):
    dead_letters.command(decision)
contracts.command(contract_diff)
contracts.command(generate)
contracts.command(suggest)
contracts.command(fields)
for group in (
    pages,
    dead_letters,
    rebuilds,
    schedule,
    fetches,
    epochs,
    contracts,
    requirements,
    plans,
    releases,
    targets,
    sagas,
    tokens,
    schema,
):
    app.command(group)


@app.command(help_epilogue="")
def completion(shell: Literal["bash", "zsh", "fish"], /) -> int:
    """Print a script that completes commands, options and their values in a shell.

    For bash: `source <(pagefold completion bash)` in ~/.bashrc. For zsh: write it to a file `_pagefold` in a folder of
    `$fpath`. For fish: write it to ~/.config/fish/completions/pagefold.fish.

    Parameters
    ----------
    shell
        The shell that is to run the script.
    """
    print(app.generate_completion(shell=shell))
    return Exit.DONE


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    options: Annotated[Options, Parameter(name="*")] = Options(),  # noqa: B008  # it is immutable
) -> object:
    """Runs the command in `tokens`, with the options that every command takes."""
    options.start_logging()
    function, arguments, takes_options = parse_command(app, tokens)
    more = {"options": options} if takes_options else {}
    with acting(Origin("command", known_name(), shlex.join(["pagefold", *tokens]))):
        return function(*arguments.args, **arguments.kwargs, **more)


def main() -> None:
    """The entry point: runs a command, and exits with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what the terminal's encoding lacks is escaped
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs a command to its exit code. Errors become lines on standard error."""
    try:
        code = app.meta(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001  # every error becomes a message
        return _explain(error)
    return code if isinstance(code, int) else Exit.DONE


def _explain(error: BaseException) -> int:
    """Prints each error once, and returns the exit code."""
    found = [missing_extra(each, "this command") or each for each in _leaves(error)]
    if any(isinstance(each, BrokenPipeError) for each in found):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # drops what is still buffered
        return Exit.BROKEN_PIPE
    if any(isinstance(each, KeyboardInterrupt) for each in found):
        return 128 + SIGINT
    if logging.getLogger().isEnabledFor(logging.DEBUG):
        traceback.print_exception(error)
    for message in dict.fromkeys(map(_sentence, found)):
        print_error(redact_secrets(message))
    return max(map(_exit_code, found))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in the groups that concurrent tasks raise."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def _sentence(error: BaseException) -> str:
    match error:
        case PagefoldError() | UsageError():
            return str(error)
        case CycloptsError():
            return f"{error} `--help` lists what is allowed."
        case OSError():
            return f"{error.filename}: {error.strerror}" if error.filename else str(error)
        case _:
            return f"unexpected {type(error).__name__}: {error}; `--log-level debug` shows where"


def _exit_code(error: BaseException) -> int:
    match error:
        case (
            UnknownDeadLetter()
            | DeadLetterResolved()
            | CountChanged()
            | UnknownToken()
            | Rejected()
            | RecoveryUnderWay()
            | PagesWouldGo()
            | PlanOutdated()
            | UnknownPlan()
            | UnknownTarget()
            | TargetNotStopped()
            | UnknownSaga()
            | SagaStateError()
            | SagaTakenOver()
            | PlanDecided()
            | UnknownRequest()
            | UnknownRun()
            | RequestConflict()
            | RunStateError()
            | RunTakenOver()
        ):
            return Exit.REFUSED
        case (
            ConfigurationError()
            | CycloptsError()
            | ExtraMissing()
            | InvalidTokenRequest()
            | UsageError()
            | UnreadablePlan()
        ):
            return Exit.USAGE
        case _:
            return Exit.FAILED
