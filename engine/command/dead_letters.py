"""`pagefold dead-letters`: events and requests that need a person."""

import getpass
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
from cyclopts import App, Parameter
from rich.text import Text

import pagefold
from pagefold.engine.command.change_text import path_text, value_text
from pagefold.engine.command.console import (
    count,
    print_message,
    printable,
    results,
    shortened,
    show_table,
    write_bytes,
    write_json,
)
from pagefold.engine.command.options import AsJSON, DomainName, Exit, Injected, Options, UsageError
from pagefold.engine.command.progress import item_meter
from pagefold.engine.command.signals import stoppable
from pagefold.engine.dead_letters.dead_letter_service import MAX_LISTED, RetryResult
from pagefold.engine.dead_letters.dead_letter_views import DeadLetterDetail, summary_of
from pagefold.engine.errors import DeadLetterResolved
from pagefold.engine.events import AppendResult
from pagefold.engine.intake.event_parser import MAX_EVENT_BYTES
from pagefold.engine.intake.strict_json import BYTE_ORDER_MARK
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.shop import Shop
from pagefold.engine.stores.dead_letter_records import DeadLetter, DeadLetterFilter, DeadLetterHeader, Kind
from pagefold.projections.field_changes import FieldChange

MAX_ERROR_CHARACTERS = 100

Decided: TypeAlias = Literal["discarded", "purged", "would be purged", "gone"]
KindOption = Annotated[
    Kind | None, Parameter(name="--kind", help="Only those kept at ingest, or only those kept at projection.")
]
DomainOption = Annotated[DomainName | None, Parameter(name="--domain", help="Only this domain.")]
SourceOption = Annotated[str | None, Parameter(name="--source", help="Only events of this source.")]
Operator = Annotated[
    str | None, Parameter(name="--as", help="Your name, recorded with the decision; the login name unless given.")
]

dead_letters = App(
    name="dead-letters",
    help="""\
List, show, retry, correct, discard and purge events and requests that need a person.

`ingest-7` is an event whose version the log has with another content, which it keeps, or a part of a request that could
not be turned into an event. `projection-12` is an event in the log that could not be folded; the page shows the newest
one that could. None is ever deleted: resolved ones keep who resolved them, when and how. Their bodies are removed after
the time that [dead_letters] in the configuration sets.
""",
    help_epilogue="",
)


@dead_letters.command(name="list")
def list_dead_letters(  # noqa: PLR0913  # the command's options
    *,
    kind: KindOption = None,
    domain: DomainOption = None,
    source: SourceOption = None,
    resolved: Annotated[bool, Parameter(help="List resolved ones instead.", show_default=False)] = False,
    limit: Annotated[int, Parameter(help="List at most this many, the newest.")] = 100,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """List open dead letters, newest first.

    Parameters
    ----------
    as_json
        Print one JSON object a line: id, kind, domain, sku, channel, source, version, revision, error, recordedAt, and,
        null while it is open, resolution (folded, appended, ignored, corrected or discarded), resolvedAt, resolvedBy,
        reason, position; via (webhook, cdc or cloudevents) of a request that could not be turned into an event, whose
        domain and revision are null, as are unknown sku, channel and version; purgedAt and purgedBy of a removed body.
    """
    wanted = DeadLetterFilter(kind, domain, source, resolved)
    return run(lambda: _list(wanted, limit, options, as_json=as_json))


async def _list(wanted: DeadLetterFilter, limit: int, options: Options, *, as_json: bool) -> int:
    if limit < 1:
        raise UsageError("--limit", f"{limit} is less than 1")
    async with pagefold.open(options.load(), create=False) as shop:
        if as_json:
            async for letter in _newest(shop, wanted, limit):
                write_bytes(msgspec.json.encode(summary_of(letter)))
            return Exit.DONE
        rows = [_row(letter, resolved=wanted.resolved) async for letter in _newest(shop, wanted, limit)]
        total = await shop.dead_letters.count(wanted)
    if rows:
        columns = ("id", "since", "stream", "version", "resolution" if wanted.resolved else "error")
        show_table(columns, rows, numbers=("version",), wrapped=("stream", columns[-1]))
    if total > len(rows):
        print_message(f"… and {total - len(rows):,} older; --limit shows more")
    elif not rows:
        print_message("no dead letters")
    return Exit.DONE


async def _newest(shop: Shop, wanted: DeadLetterFilter, limit: int) -> AsyncIterator[DeadLetterHeader]:
    """The newest letters, at most `limit`; one chunk of them is in memory."""
    after: str | None = None
    while limit > 0:
        page = await shop.dead_letters.page(wanted, after=after, limit=min(limit, MAX_LISTED))
        for letter in page.dead_letters:
            yield letter
        if page.next is None:
            return
        after, limit = page.next, limit - len(page.dead_letters)


def _row(letter: DeadLetterHeader, *, resolved: bool) -> tuple[str, str, str, str, str]:
    since = _moment(letter.recorded_at)
    summary = summary_of(letter)
    stream = letter.originator_id if letter.has_stream else f"a request of {summary.source}"
    said = _resolution(letter) if resolved else letter.error
    version = "-" if summary.version is None else str(summary.version)
    version += f" of epoch {summary.epoch}" if summary.epoch else ""
    return letter.id, since, printable(stream), version, shortened(printable(said), MAX_ERROR_CHARACTERS)


def _moment(text: str) -> str:
    return text[:19].replace("T", " ")


def _resolution(letter: DeadLetterHeader | DeadLetterDetail) -> str:
    """How a dead letter was resolved: `discarded by ada at 2026-01-01 12:00:00: a test`."""
    by = f" by {letter.resolved_by}" if letter.resolved_by is not None else ""
    because = f": {letter.reason}" if letter.reason is not None else ""
    return f"{letter.resolution}{by} at {_moment(letter.resolved_at or '')}{because}"


@dead_letters.command
def show(
    identifier: Annotated[str, Parameter(name="ID")],
    /,
    *,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Show a dead letter: its error and its event, and how a conflict differs from the event in the log.

    Parameters
    ----------
    identifier
        Such as `projection-12`.
    as_json
        Print one JSON document: the fields of list, and event, headers, and of an open conflict differences (path,
        before: in the log, after: in this dead letter). A body that is not JSON is text, and complete in base64.
    """
    return run(lambda: _show(identifier, options, as_json=as_json))


async def _show(identifier: str, options: Options, *, as_json: bool) -> int:
    async with pagefold.open(options.load(), create=False) as shop:
        detail = await shop.dead_letters.describe(await shop.dead_letters.get(identifier))
    if as_json:
        write_bytes(msgspec.json.encode(detail))
    else:
        _print_detail(detail)
    return Exit.DONE


_FACTS = ("kind", "via", "domain", "sku", "channel", "source", "version", "epoch", "revision")


def _print_detail(detail: DeadLetterDetail) -> None:
    facts: dict[str, object] = {name: getattr(detail, name) for name in _FACTS}
    facts |= {"recordedAt": detail.recorded_at, "purgedAt": detail.purged_at, "purgedBy": detail.purged_by}
    facts |= detail.headers
    lines = [Text(detail.id, style="bold"), Text(printable(detail.error), style="red")]
    if detail.resolution is not None:
        lines.append(Text(printable(_resolution(detail)), style="green"))
    known = {printable(name): printable(str(fact)) for name, fact in facts.items() if fact is not None}
    width = max(map(len, known))
    lines += [Text.assemble((f"  {name:<{width}}  ", "dim"), fact) for name, fact in known.items()]
    lines += _differing(detail)
    if detail.purged_at is None:
        lines.append(Text("body" if detail.domain is None else "event"))
        text = msgspec.json.format(msgspec.json.encode(detail.event), indent=2).decode()
        lines += [Text(printable(line)) for line in text.split("\n")]
    for line in lines:
        results().print(line, soft_wrap=True)


def _differing(detail: DeadLetterDetail) -> list[Text]:
    if detail.differences is None:
        return []
    return [Text("in the log → in this dead letter"), *map(_difference, detail.differences)]


def _difference(change: FieldChange) -> Text:
    before, after = value_text(change.before), value_text(change.after)
    return Text.assemble(f"  {path_text(change.path)}: ", (before, "green"), " → ", (after, "red"))


@dead_letters.command
def retry(  # the command's options
    *identifiers: Annotated[str, Parameter(name="ID")],
    everything: Annotated[bool, Parameter(name="--all", show_default=False)] = False,
    kind: KindOption = None,
    domain: DomainOption = None,
    source: SourceOption = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Retry dead letters: fold their stream, append their event, or turn their request into events.

    Prints the result of each: resolved, still dead, or gone (it was resolved before). Exit code 1 if any is still dead.
    A newer valid event resolves a dead letter by itself.

    Parameters
    ----------
    identifiers
        Such as `projection-12`.
    everything
        All open dead letters, oldest first.
    as_json
        Print one JSON object a line: id, result.
    """
    wanted = DeadLetterFilter(kind, domain, source)
    check_selection(identifiers, wanted, everything=everything)
    return run(lambda: _retry(identifiers, wanted, options, as_json=as_json))


async def _retry(identifiers: Sequence[str], wanted: DeadLetterFilter, options: Options, *, as_json: bool) -> int:
    counts: dict[RetryResult, int] = {"resolved": 0, "still dead": 0, "gone": 0}
    async with pagefold.open(options.load(), create=False) as shop, stoppable() as stop:
        found = await _found(shop, identifiers)
        total = len(found) if identifiers else await shop.dead_letters.count(wanted)
        tried = _each(shop, found) if identifiers else shop.dead_letters.retry_all(wanted, by=_known_name())
        with item_meter("retrying", total) as meter:
            async with aclosing(tried):
                async for name, result in tried:
                    counts[result] += 1
                    _print_result(name, result, as_json=as_json)
                    meter.update(sum(counts.values()), f"{counts['still dead']:,} still dead")
                    if stop:
                        break
    summary = ", ".join(f"{number:,} {result}" for result, number in counts.items() if number)
    print_message(f"{count(sum(counts.values()), 'dead letter')} retried: {summary}" if summary else "no dead letters")
    if stop:
        return stop.exit_code
    return Exit.REFUSED if counts["still dead"] else Exit.DONE


async def _found(shop: Shop, identifiers: Sequence[str]) -> list[DeadLetter]:
    """The dead letters with these names, each once. Raises `UnknownDeadLetter`."""
    return [await shop.dead_letters.get(identifier) for identifier in dict.fromkeys(identifiers)]


async def _each(shop: Shop, found: Sequence[DeadLetter]) -> AsyncGenerator[tuple[str, RetryResult], None]:
    for letter in found:
        yield letter.id, await shop.dead_letters.retry(letter, by=_known_name())


def _print_result(name: str, result: RetryResult | Decided, *, as_json: bool) -> None:
    if as_json:
        write_json({"id": name, "result": result})
    else:
        print(f"{name}  {result}")


@dead_letters.command
def correct(  # the command's options
    identifier: Annotated[str, Parameter(name="ID")],
    /,
    *,
    payload: Annotated[str, Parameter(name="--payload", allow_leading_hyphen=True)],
    operator: Operator = None,
    version: Annotated[int | None, Parameter(name="--source-version")] = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Replace the payload of a dead letter.

    The payload is validated, and appended to the log as an event of yours: the next revision of the dead letter's
    version. `pagefold history` shows it. The dead letter is resolved, and keeps its body. Exit code 1 if the payload is
    rejected.

    Parameters
    ----------
    identifier
        Such as `ingest-7`.
    payload
        A file with the payload as JSON, `null` to withdraw; `-` reads standard input. For a request that could not be
        turned into an event: the complete event.
    version
        Another version of the same stream, instead of the dead letter's.
    as_json
        Print one JSON object: id, outcome, position, path, reason.
    """
    name = operator or login_name()
    return run(lambda: _correct(identifier, payload, name, version, options, as_json=as_json))


async def _correct(
    identifier: str, payload: str, operator: str, version: int | None, options: Options, *, as_json: bool
) -> int:
    given = _read(payload)
    async with pagefold.open(options.load(), create=False) as shop:
        letter = await shop.dead_letters.get(identifier)
        result = await shop.dead_letters.correct(letter, given, operator, version=version)
    if as_json:
        write_json({"id": letter.id} | msgspec.structs.asdict(result))
    else:
        _print_correction(letter.id, result)
    return Exit.REFUSED if result.reason is not None else Exit.DONE


def _read(payload: str) -> bytes:
    """The payload from a file or standard input; of one that is too large, just enough to show that."""
    if payload == "-":
        return sys.stdin.buffer.read(MAX_EVENT_BYTES + 1).removeprefix(BYTE_ORDER_MARK)
    try:
        with Path(payload).open("rb") as file:
            return file.read(MAX_EVENT_BYTES + 1).removeprefix(BYTE_ORDER_MARK)
    except OSError as error:
        raise UsageError("--payload", f"{payload}: {error.strerror}") from None


def _print_correction(name: str, result: AppendResult) -> None:
    if result.reason is not None:
        place = f"{result.path}: " if result.path else ""
        print_message(printable(f"{name} stays as it is: {place}{result.reason}"))
    elif result.outcome == "duplicate":
        print(f"{name}  corrected: position {result.position} has this payload already")
    else:
        print(f"{name}  corrected by the event at position {result.position}")


@dead_letters.command
def purge(
    *identifiers: Annotated[str, Parameter(name="ID")],
    dry_run: Annotated[bool, Parameter(name="--dry-run", show_default=False)] = False,
    operator: Operator = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Remove the bodies of dead letters: of all that are old enough, or of some at once.

    Their other fields stay, with who removed the body. Workers do the same every hour, for bodies older than
    [dead_letters] in the configuration allows. The body of an open request or conflict has no other copy. Prints the
    number of each sort, or the result of each that is named: purged, or gone (it was removed before).

    Parameters
    ----------
    identifiers
        Such as `ingest-7`: these, whatever their age. Without any, those that are old enough.
    dry_run
        Print what would be done, and do nothing.
    as_json
        Print one JSON object a line: id, result; without names sort (request, conflict or projection), resolved,
        letters.
    """
    name = operator or login_name()
    if identifiers:
        return run(lambda: _purge(identifiers, name, options, dry_run=dry_run, as_json=as_json))
    return run(lambda: _purge_expired(name, options, dry_run=dry_run, as_json=as_json))


async def _purge(identifiers: Sequence[str], operator: str, options: Options, *, dry_run: bool, as_json: bool) -> int:
    async with pagefold.open(options.load(), create=False) as shop:
        for letter in await _found(shop, identifiers):
            is_there = letter.purged_at is None if dry_run else await shop.retention.empty(letter, operator)
            _print_result(
                letter.id, ("would be purged" if dry_run else "purged") if is_there else "gone", as_json=as_json
            )
    return Exit.DONE


async def _purge_expired(operator: str, options: Options, *, dry_run: bool, as_json: bool) -> int:
    async with pagefold.open(options.load(), create=False) as shop:
        emptied = await (shop.retention.overdue() if dry_run else shop.retention.enforce(operator))
    if as_json:
        for each in emptied:
            write_json(msgspec.to_builtins(each))
        return Exit.DONE
    for each in emptied:
        if each.dead_letters:
            print(count(each.dead_letters, f"{'resolved' if each.resolved else 'open'} {each.sort}"))
    verb = "would be removed" if dry_run else "were removed"
    total = sum(each.dead_letters for each in emptied)
    print_message(
        f"the bodies of {count(total, 'dead letter')} {verb}" if total else "no body is old enough to be removed"
    )
    return Exit.DONE


@dead_letters.command
def discard(  # noqa: PLR0913  # the command's options
    *identifiers: Annotated[str, Parameter(name="ID")],
    reason: Annotated[str, Parameter(name="--reason")],
    everything: Annotated[bool, Parameter(name="--all", show_default=False)] = False,
    kind: KindOption = None,
    domain: DomainOption = None,
    source: SourceOption = None,
    yes: Annotated[bool, Parameter(show_default=False)] = False,
    operator: Operator = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Discard dead letters, with a reason: nothing is to be done about them.

    They are kept, and stay resolved if the same events come or fail again. Prints the result of each: discarded, or
    gone (it was resolved before). Of those that options select, it only prints the number (exit code 1), unless --yes.

    Parameters
    ----------
    identifiers
        Such as `ingest-7`.
    reason
        The reason, for the record.
    everything
        All open dead letters.
    yes
        Discard those that --all, --kind, --domain and --source select.
    as_json
        Print one JSON object a line: id, result.
    """
    wanted = DeadLetterFilter(kind, domain, source)
    check_selection(identifiers, wanted, everything=everything)
    name = operator or login_name()
    if identifiers:
        return run(lambda: _discard(identifiers, reason, name, options, as_json=as_json))
    return run(lambda: _discard_all(wanted, reason, name, options, confirmed=yes, as_json=as_json))


def check_selection(identifiers: Sequence[str], wanted: DeadLetterFilter, *, everything: bool) -> None:
    """Raises `UsageError` unless dead letters are selected in exactly one way."""
    if bool(identifiers) + everything + (wanted != DeadLetterFilter()) != 1:
        raise UsageError("ID", "name dead letters, or select them with --kind, --domain and --source, or --all")


async def _discard(identifiers: Sequence[str], reason: str, operator: str, options: Options, *, as_json: bool) -> int:
    async with pagefold.open(options.load(), create=False) as shop:
        for letter in await _found(shop, identifiers):
            result: Decided = "discarded"
            try:
                await shop.dead_letters.discard(letter, reason, operator)
            except DeadLetterResolved:
                result = "gone"
            _print_result(letter.id, result, as_json=as_json)
    return Exit.DONE


async def _discard_all(
    wanted: DeadLetterFilter, reason: str, operator: str, options: Options, *, confirmed: bool, as_json: bool
) -> int:
    number = 0
    async with pagefold.open(options.load(), create=False) as shop, stoppable() as stop:
        total = await shop.dead_letters.count(wanted)
        if total and not confirmed:
            print_message(f"{count(total, 'dead letter')} would be discarded; --yes discards them")
            return Exit.REFUSED
        with item_meter("discarding", total) as meter:
            async with aclosing(shop.dead_letters.discard_all(wanted, reason, operator)) as discarded:
                async for name, result in discarded:
                    _print_result(name, result, as_json=as_json)
                    number += result == "discarded"
                    meter.update(number, "")
                    if stop:
                        break
    print_message(f"{count(number, 'dead letter')} discarded" if total else "no dead letters")
    return stop.exit_code if stop else Exit.DONE


def login_name() -> str:
    """The login name. Raises `UsageError` where it is unknown, as in some containers."""
    name = _known_name()
    if name is None:
        raise UsageError("--as", "the login name is unknown; set it with --as NAME")
    return name


def _known_name() -> str | None:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return None
