"""`pagefold history`: what each source sent about a product, when, and what it changed."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from heapq import heappush, heappushpop
from typing import Annotated, TypeAlias

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.text import Text

import pagefold
from pagefold.engine.command.change_text import change_line
from pagefold.engine.command.console import print_message, printable, results, write_bytes
from pagefold.engine.command.moments import AtOption, read_at, view_at
from pagefold.engine.command.options import (
    AsJSON,
    DomainName,
    Exit,
    Injected,
    Options,
    UsageError,
    unknown_channel,
    unknown_source,
)
from pagefold.engine.configuration.config import Config
from pagefold.engine.reading.history import HistoryEntry
from pagefold.engine.reading.moments import At
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.stores.event_state import DriftKind
from pagefold.projections.streams import EVERY_CHANNEL

DEFAULT_LIMIT = 100

DRIFT_TEXTS: dict[DriftKind, str] = {
    "missing": "the log did not have it",
    "newer": "the log had an older version",
    "changed": "the source's snapshot has another content at this version",
    "orphan": "the source's snapshot no longer has it",
    "recreated": "it was withdrawn, and is in the source's snapshot again: a new record, in an epoch of its own",
}


def history(  # noqa: PLR0913  # the command's options
    sku: str,
    /,
    *,
    channel: str | None = None,
    domain: DomainName | None = None,
    source: str | None = None,
    at: AtOption = None,
    limit: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    oldest: Annotated[bool, Parameter(show_default=False)] = False,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Show what each source sent about a product, when, and what it changed.

    The newest events of the log first. What an event changed is against the version before it in its stream (domain,
    channel, source). Exit code 1 without any.

    Parameters
    ----------
    sku
        The product.
    channel
        Only events for this channel; '*' are those for every channel.
    domain
        Only this domain.
    source
        Only this source.
    at
        Show it as it was at a time (RFC 3339) or a position of the log: the events up to there.
    limit
        Show at most this many events: 100, or with --oldest all, unless given.
    oldest
        Show the oldest versions first, stream by stream.
    as_json
        Print one JSON object a line: position, domain, channel, source, version, revision, id, occurredAt, recordedAt,
        withdrawn, head, changes (path, before, after; null where the field did not exist); of an event made by a
        rebuild, runId and drift (missing, newer, changed, orphan or recreated); of one that corrects a dead letter,
        operator and corrects; of one of the catalog, the channels in which the page becameComplete or becameIncomplete;
        of one whose source had seen something, basedOn: a position, or versions by domain and source.
    """
    wanted = _Wanted(sku, channel, domain, source, None if at is None else read_at(at))
    return run(lambda: _history(wanted, limit, options, oldest=oldest, as_json=as_json))


_Show: TypeAlias = Callable[[HistoryEntry], None]
_Marked: TypeAlias = Callable[[Sequence[HistoryEntry]], Awaitable[list[HistoryEntry]]]


class _Wanted(msgspec.Struct, frozen=True):
    """The events to show, as they were `at` a moment, or are. None as channel, domain or source selects any."""

    sku: str
    channel: str | None
    domain: str | None
    source: str | None
    at: At | None


async def _history(wanted: _Wanted, limit: int | None, options: Options, *, oldest: bool, as_json: bool) -> int:
    config = options.load()
    show = _print_json if as_json else _Streams().show
    async with pagefold.open(config, create=False) as shop:
        as_of = None if wanted.at is None else (await view_at(shop, wanted.at)).moment.position
        entries = shop.history(
            wanted.sku, channel=wanted.channel, domain=wanted.domain, source=wanted.source, as_of=as_of
        )
        marked = partial(shop.completeness_history.marked, wanted.sku)
        if oldest:
            found, more = await _show_oldest(entries, limit, marked, show)
        else:
            newest, more = await _newest(entries, limit or DEFAULT_LIMIT)
            found = len(newest)
            for entry in await marked(newest):
                show(entry)
    if more:
        print_message(f"… and {'newer' if oldest else 'older'} events; --limit shows more")
    if found:
        return Exit.DONE
    _check_names(wanted, config)
    limits = "".join(f" in {name}" for name in (wanted.channel, wanted.domain) if name is not None)
    by = "no source" if wanted.source is None else printable(wanted.source)
    when = "" if as_of is None else f" up to position {as_of}"
    print_message(f"{by} has sent {'no ' if wanted.source else ''}events for {printable(wanted.sku)}{limits}{when}")
    return Exit.REFUSED


def _check_names(wanted: _Wanted, config: Config) -> None:
    """Raises `UsageError` for a channel or a source that neither the log nor the configuration knows."""
    if wanted.channel not in (None, EVERY_CHANNEL, *config.channels):
        raise UsageError("--channel", unknown_channel(wanted.channel or "", config))
    if wanted.source not in (None, *config.sources):
        raise UsageError("--source", unknown_source(wanted.source or "", config))


async def _show_oldest(
    entries: AsyncIterator[HistoryEntry], limit: int | None, marked: _Marked, show: _Show
) -> tuple[int, bool]:
    """Shows entries as they come. Returns their number, and whether there are more."""
    number = 0
    async for entry in entries:
        if number == limit:
            return number, True
        [entry_marked] = await marked([entry])
        show(entry_marked)
        number += 1
    return number, False


async def _newest(entries: AsyncIterator[HistoryEntry], limit: int) -> tuple[list[HistoryEntry], bool]:
    """The entries with the highest positions, newest first, and whether there are more. Holds `limit` of them."""
    heap: list[tuple[int, HistoryEntry]] = []
    more = False
    async for entry in entries:
        if len(heap) < limit:
            heappush(heap, (entry.position, entry))
        else:
            more = True
            heappushpop(heap, (entry.position, entry))
    return [entry for _, entry in sorted(heap, key=lambda each: -each[0])], more


def _print_json(entry: HistoryEntry) -> None:
    write_bytes(msgspec.json.encode(entry))


class _Streams:
    """Shows entries for people. Above those of a stream is its name."""

    def __init__(self) -> None:
        self._stream: tuple[str, str, str] | None = None

    def show(self, entry: HistoryEntry) -> None:
        """Prints an entry."""
        stream = (entry.domain, entry.channel, entry.source)
        if stream != self._stream:
            if self._stream is not None:
                results().print()
            self._stream = stream
            results().print(_title(entry), soft_wrap=True)
        for line in _entry(entry):
            results().print(line, soft_wrap=True)


def _title(entry: HistoryEntry) -> Text:
    channel = "every channel" if entry.channel == EVERY_CHANNEL else entry.channel
    return Text.assemble((entry.domain, "bold cyan"), "  ", (channel, "bold"), "  from ", (entry.source, "bold"))


def _based_on(based_on: int | dict[str, int]) -> str:
    if isinstance(based_on, int):
        return f"position {based_on}"
    return printable(", ".join(f"{name} {version}" for name, version in based_on.items())) or "nothing"


def _entry(entry: HistoryEntry) -> Iterator[Text]:
    version = f"{entry.version}" + (f" of epoch {entry.epoch}" if entry.epoch else "")
    version += f" (revision {entry.revision})" if entry.revision else ""
    when = entry.occurred_at.replace("T", " ").replace(".000000", "")
    yield Text.assemble(
        "  version ",
        (version, "bold"),
        f"  {when}  ",
        (f"position {entry.position}", "dim"),
        ("  head" if entry.head else "", "green"),
        ("  withdrawn" if entry.withdrawn else "", "red"),
    )
    if entry.drift is not None:
        yield Text(f"    by rebuild {entry.run_id}: {DRIFT_TEXTS[entry.drift]}", style="magenta")
    if entry.became_complete:
        yield Text(f"    became complete in {', '.join(entry.became_complete)}", style="green")
    if entry.became_incomplete:
        yield Text(f"    became incomplete in {', '.join(entry.became_incomplete)}", style="yellow")
    if entry.corrects is not None:
        yield Text(f"    by {printable(entry.operator or '')}: corrects dead letter {entry.corrects}", style="magenta")
    if entry.based_on is not None:
        yield Text(f"    based on {_based_on(entry.based_on)}", style="dim")
    if not entry.withdrawn:
        yield from map(change_line, entry.changes)
        if not entry.changes:
            yield Text("    nothing changed", style="dim")
