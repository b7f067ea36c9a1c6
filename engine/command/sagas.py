"""`pagefold sagas`: targets that get each version of a page together, or not at all."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Literal, TypeAlias

import msgspec
from cyclopts import App, Parameter

import pagefold
from pagefold.engine.command.console import print_message, printable, show_table, write_bytes
from pagefold.engine.command.dead_letters import Operator, login_name
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options, Reason
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.sagas.saga_service import SagaPage, SagaService, SagaStatus

COLUMNS = ("saga", "targets", "completed", "waiting", "refused", "need a person")
NUMBERS = COLUMNS[2:]
PAGES = ("page", "channel", "state", "since", "target", "reason")
TARGETS = ("target", "state", "holds", "answer")

Name = Annotated[str, Parameter(name="NAME")]
Sku = Annotated[str, Parameter(name="SKU")]
Channel = Annotated[str, Parameter(name="CHANNEL")]
State: TypeAlias = Literal["waiting", "refused", "person"]
Decide: TypeAlias = Callable[[SagaService, str], Awaitable[None]]

sagas = App(
    name="sagas",
    help="""\
Targets that get each version of a page together, or not at all.

`pagefold work` and `pagefold serve --work` do it. A version that a target refuses before it is decided is taken back
from the others; after that, a refusal needs a person. So does one of what takes a version back.
""",
    help_epilogue="""\
**Examples**

```text
pagefold sagas list                                          # how many pages are in which state
pagefold sagas list listing                                  # the pages that are not completed
pagefold sagas show listing MUG-R web-de
pagefold sagas resume listing MUG-R web-de --reason "they take it now"
pagefold sagas compensate listing MUG-R web-de --reason "they never will"
pagefold sagas settle listing MUG-R web-de --taken --reason "put there by hand"
```
""",
)


@sagas.command(name="list", help_epilogue="")
def list_sagas(
    name: Annotated[str | None, Parameter(name="NAME")] = None,
    /,
    *,
    state: Annotated[State | None, Parameter(name="--state")] = None,
    limit: Annotated[int, Parameter(name="--limit")] = 100,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """List all sagas; of one, the pages that are not completed. Exit code 1 if a page needs a person.

    Parameters
    ----------
    name
        Only the pages of this saga.
    state
        Only pages in this state.
    limit
        The most pages that are listed.
    as_json
        Print one JSON object a line: name, targets, pivot, completed, waiting, refused, person; of pages saga, sku,
        channel, state, step, target, reason, version, common, since, changedAt.
    """

    async def do() -> int:
        async with pagefold.open(options.load(), create=False) as shop:
            if name is not None:
                pages = await shop.sagas.pages(name, state, limit)
                _print_pages(pages, as_json=as_json)
                return Exit.REFUSED if any(page.state == "person" for page in pages) else Exit.DONE
            found = await shop.sagas.list()
        if as_json:
            for each in found:
                write_bytes(msgspec.json.encode(each))
        elif found:
            show_table(COLUMNS, map(_row, found), numbers=NUMBERS)
        else:
            print_message("there are no sagas; a table [sagas.NAME] in the configuration makes one")
        return Exit.REFUSED if any(each.person for each in found) else Exit.DONE

    return run(do)


def _row(status: SagaStatus) -> list[str]:
    order = ", ".join(f"{each} (decides)" if each == status.pivot else each for each in status.targets)
    figures = (status.completed, status.waiting, status.refused, status.person)
    return [printable(status.name), printable(order), *(f"{number:,}" for number in figures)]


def _print_pages(found: Sequence[SagaPage], *, as_json: bool) -> None:
    if as_json:
        for page in found:
            write_bytes(msgspec.json.encode(page))
    elif found:
        show_table(PAGES, map(_page_row, found))
    else:
        print_message("every page is completed")


def _page_row(page: SagaPage) -> list[str]:
    since = "-" if page.since is None else _second(page.since)
    texts = (page.sku, page.channel, page.state, since, page.target or "-", page.reason or "-")
    return [printable(text) for text in texts]


def _second(moment: str) -> str:
    return f"{moment[:19].replace('T', ' ')} UTC"


@sagas.command(help_epilogue="")
def show(
    name: Name,
    sku: Sku,
    channel: Channel,
    /,
    *,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Show a page of a saga: its state, and what each target holds. Exit code 1 if it needs a person.

    Parameters
    ----------
    name
        The saga.
    sku
        The SKU of the page.
    channel
        Its channel.
    as_json
        Print one JSON object, as `list` does, with targets (name, state, tag, position, answer).
    """

    async def do() -> int:
        async with pagefold.open(options.load(), create=False) as shop:
            found = await shop.sagas.page(name, sku, channel)
        if as_json:
            write_bytes(msgspec.json.encode(found))
        else:
            _show(found)
        return Exit.REFUSED if found.state == "person" else Exit.DONE

    return run(do)


def _show(page: SagaPage) -> None:
    since = "" if page.since is None else f" since {_second(page.since)}"
    step = "" if page.step == "idle" else f", {page.step}"
    print(f"{printable(page.saga)}  {printable(page.sku)} {printable(page.channel)}  {page.state}{step}{since}")
    if page.target or page.reason:
        print(printable(": ".join(filter(None, (page.target, page.reason)))))
    common = "no version" if page.common is None else f"the version of position {page.common}"
    print(f"newest: the version of position {page.version}; all had last: {common}")
    show_table(TARGETS, [[each.name, each.state or "-", each.tag or "-", each.answer or "-"] for each in page.targets])


@sagas.command(help_epilogue="")
def resume(
    name: Name,
    sku: Sku,
    channel: Channel,
    /,
    *,
    reason: Reason,
    operator: Operator = None,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Have it tried again: the step that needs a person, or a version that was given up.

    Parameters
    ----------
    name
        The saga.
    sku
        The SKU of the page.
    channel
        Its channel.
    """

    async def do(service: SagaService, by: str) -> None:
        await service.resume(name, sku, channel, by=by, reason=reason)

    return _decide(options, operator, do, f"{name} {sku} {channel}", "will be tried again")


@sagas.command(help_epilogue="")
def compensate(
    name: Name,
    sku: Sku,
    channel: Channel,
    /,
    *,
    reason: Reason,
    operator: Operator = None,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Have a version taken back that some targets have, and others not: they get what all of them had before.

    Parameters
    ----------
    name
        The saga.
    sku
        The SKU of the page.
    channel
        Its channel.
    """

    async def do(service: SagaService, by: str) -> None:
        await service.compensate(name, sku, channel, by=by, reason=reason)

    return _decide(options, operator, do, f"{name} {sku} {channel}", "will be taken back")


@sagas.command(help_epilogue="")
def settle(  # noqa: PLR0913  # a command has that many options
    name: Name,
    sku: Sku,
    channel: Channel,
    /,
    *,
    reason: Reason,
    taken: Annotated[bool, Parameter(name="--taken", negative="")] = False,
    operator: Operator = None,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """End it, with the targets as they are, until the page changes: a person has done the rest.

    Parameters
    ----------
    name
        The saga.
    sku
        The SKU of the page.
    channel
        Its channel.
    taken
        All targets hold the version now.
    """

    async def do(service: SagaService, by: str) -> None:
        await service.settle(name, sku, channel, by=by, reason=reason, taken=taken)

    return _decide(options, operator, do, f"{name} {sku} {channel}", "is settled")


def _decide(options: Options, operator: str | None, decide: Decide, page: str, done: str) -> int:
    async def do() -> int:
        by = operator or login_name()
        async with pagefold.open(options.load(), create=False) as shop:
            await decide(shop.sagas, by)
        print(f"{printable(page)}  {done}")
        return Exit.DONE

    return run(do)
