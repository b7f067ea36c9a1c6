"""`pagefold dead-letters retry`, `correct`, `discard` and `purge`: what operators decide, one by one or for many."""

import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeAlias

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

import pagefold
from pagefold.engine.command.console import count, print_message, printable, write_json
from pagefold.engine.command.dead_letters import (
    CauseOption,
    DomainOption,
    KindOption,
    Operator,
    SourceOption,
    known_name,
    login_name,
)
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options, Reason, UsageError
from pagefold.engine.command.progress import item_meter
from pagefold.engine.command.signals import stoppable
from pagefold.engine.dead_letters.bulk_decisions import RetryResult
from pagefold.engine.errors import CountChanged, DeadLetterResolved, Rejected
from pagefold.engine.events import AppendResult
from pagefold.engine.intake.event_parser import MAX_EVENT_BYTES
from pagefold.engine.intake.strict_json import BYTE_ORDER_MARK
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.shop import Shop
from pagefold.engine.stores.dead_letter_records import DeadLetter, DeadLetterFilter

NOTHING = "no dead letters"

Decided: TypeAlias = Literal["would be retried", "would be discarded", "discarded", "purged", "would be purged", "gone"]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The dead letters that a decision is about, unless it names them."""

    everything: Annotated[bool, Parameter(name="--all", show_default=False)] = False
    """All open dead letters."""

    kind: KindOption = None
    domain: DomainOption = None
    source: SourceOption = None
    cause: CauseOption = None

    dry_run: Annotated[bool, Parameter(name="--dry-run", show_default=False)] = False
    """Print what would be done, and do nothing."""

    expect: Annotated[int | None, Parameter(name="--expect", validator=Number(gte=0), metavar="NUMBER")] = None
    """Do it only if the other options select exactly this number of dead letters, as counted before."""

    def filter_for(self, identifiers: Sequence[str]) -> DeadLetterFilter:
        """Selects what the options select. Raises `UsageError` unless there is exactly one selection."""
        wanted = DeadLetterFilter(self.kind, self.domain, self.source, cause=self.cause)
        if bool(identifiers) + self.everything + (wanted != DeadLetterFilter()) != 1:
            problem = "name dead letters, or select them with --kind, --domain, --source and --cause, or --all"
            raise UsageError("ID", problem)
        if identifiers and self.expect is not None:
            raise UsageError("--expect", "counts what options select, and cannot be combined with names")
        return wanted


Selected = Annotated[Selection, Parameter(name="*")]


def retry(
    *identifiers: Annotated[str, Parameter(name="ID")],
    selection: Selected = Selection(),  # it is immutable
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # likewise
) -> int:
    """Retry dead letters: fold their stream, append their event, turn their request into events, or deliver their page.

    Prints the result of each: resolved, still dead, queued (a worker delivers the page, as it is then), or gone (it was
    resolved before). Exit code 1 if any is still dead. A newer valid event resolves a dead letter by itself.

    Parameters
    ----------
    identifiers
        Such as `projection-12`.
    as_json
        Print one JSON object a line: id, result; with --dry-run and options that select, letters.
    """
    wanted = selection.filter_for(identifiers)
    if selection.dry_run:
        return run(lambda: _would_be("retried", identifiers, wanted, selection.expect, options, as_json=as_json))
    return run(lambda: _retry(identifiers, wanted, selection.expect, options, as_json=as_json))


async def _retry(
    identifiers: Sequence[str], wanted: DeadLetterFilter, expect: int | None, options: Options, *, as_json: bool
) -> int:
    counts: dict[RetryResult, int] = {"resolved": 0, "still dead": 0, "queued": 0, "gone": 0}
    async with pagefold.open(options.load(), create=False) as shop, stoppable() as stop:
        found = await _found(shop, identifiers)
        total = len(found) if identifiers else await shop.dead_letters.count(wanted)
        by = known_name()
        tried = _each(shop, found) if identifiers else shop.dead_letters.retry_all(wanted, by=by, expect=expect)
        with item_meter("retrying", total) as meter:
            async with aclosing(tried):
                async for name, result in tried:
                    counts[result] += 1
                    _print_result(name, result, as_json=as_json)
                    meter.update(sum(counts.values()), f"{counts['still dead']:,} still dead")
                    if stop:
                        break
    summary = ", ".join(f"{number:,} {result}" for result, number in counts.items() if number)
    print_message(f"{count(sum(counts.values()), 'dead letter')} retried: {summary}" if summary else NOTHING)
    if stop:
        return stop.exit_code
    return Exit.REFUSED if counts["still dead"] else Exit.DONE


async def _would_be(
    verb: Literal["retried", "discarded"],
    identifiers: Sequence[str],
    wanted: DeadLetterFilter,
    expect: int | None,
    options: Options,
    *,
    as_json: bool,
) -> int:
    """Prints which named dead letters are open, or how many open ones are selected."""
    async with pagefold.open(options.load(), create=False) as shop:
        for letter in await _found(shop, identifiers):
            _print_result(letter.id, "gone" if letter.resolution else _WOULD_BE[verb], as_json=as_json)
        number = None if identifiers else await shop.dead_letters.count(wanted)
    if number is None:
        return Exit.DONE
    if expect is not None and number != expect:
        raise CountChanged(expect, number)
    if as_json:
        write_json({"letters": number})
    print_message(f"{count(number, 'dead letter')} would be {verb}" if number else NOTHING)
    return Exit.DONE


_WOULD_BE: Mapping[str, Decided] = {"retried": "would be retried", "discarded": "would be discarded"}


async def _found(shop: Shop, identifiers: Sequence[str]) -> list[DeadLetter]:
    """The dead letters with these names, each once. Raises `UnknownDeadLetter`."""
    return [await shop.dead_letters.get(identifier) for identifier in dict.fromkeys(identifiers)]


async def _each(shop: Shop, found: Sequence[DeadLetter]) -> AsyncGenerator[tuple[str, RetryResult], None]:
    for letter in found:
        yield letter.id, await shop.dead_letters.retry(letter, by=known_name())


def _print_result(name: str, result: RetryResult | Decided, *, as_json: bool) -> None:
    if as_json:
        write_json({"id": name, "result": result})
    else:
        print(f"{name}  {result}")


def correct(  # noqa: PLR0913  # the command's options
    identifier: Annotated[str, Parameter(name="ID")],
    /,
    *,
    payload: Annotated[str, Parameter(name="--payload", allow_leading_hyphen=True)],
    reason: Annotated[str | None, Parameter(name="--reason", help="The reason, for the record.")] = None,
    operator: Operator = None,
    version: Annotated[int | None, Parameter(name="--source-version")] = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Replace the payload of a dead letter.

    The payload is validated, and appended to the log as an event of yours: the next revision of the dead letter's
    version. `pagefold history` shows it. The dead letter is resolved, and keeps its body. Exit code 1 if the payload is
    rejected. Of a delivery, the payload is the document that is sent to the target, once, in place of the page's.

    Parameters
    ----------
    identifier
        Such as `ingest-7`.
    payload
        A file with the payload as JSON, `null` to withdraw; `-` reads standard input. For a request that could not be
        turned into an event: the complete event. For a delivery: the complete document, a JSON object.
    version
        Another version of the same stream, instead of the dead letter's.
    as_json
        Print one JSON object: id, outcome, position, path, reason.
    """
    name = operator or login_name()
    decision = _Correction(name, version, reason)
    return run(lambda: _correct(identifier, payload, decision, options, as_json=as_json))


class _Correction(NamedTuple):
    operator: str
    version: int | None
    reason: str | None


async def _correct(identifier: str, payload: str, decision: _Correction, options: Options, *, as_json: bool) -> int:
    given = _read(payload)
    async with pagefold.open(options.load(), create=False) as shop:
        letter = await shop.dead_letters.get(identifier)
        if letter.is_delivery:
            return await _edit(shop, letter, given, decision, as_json=as_json)
        result = await shop.dead_letters.correct(
            letter, given, decision.operator, version=decision.version, reason=decision.reason
        )
    if as_json:
        write_json({"id": letter.id} | msgspec.structs.asdict(result))
    else:
        _print_correction(letter.id, result)
    return Exit.REFUSED if result.reason is not None else Exit.DONE


async def _edit(shop: Shop, letter: DeadLetter, document: bytes, decision: _Correction, *, as_json: bool) -> int:
    """Has another document sent."""
    if decision.version is not None:
        raise UsageError("--source-version", "a delivery has no version")
    result = AppendResult("appended")
    try:
        await shop.dead_letters.edit(letter, document, decision.operator, reason=decision.reason)
    except Rejected as rejected:
        result = AppendResult("rejected", path=rejected.path, reason=rejected.reason)
    if as_json:
        outcome = "queued" if result.reason is None else "rejected"
        write_json({"id": letter.id} | msgspec.structs.asdict(result) | {"outcome": outcome})
    elif result.reason is None:
        print(f"{letter.id}  queued with this document")
    else:
        _print_correction(letter.id, result)
    return Exit.DONE if result.reason is None else Exit.REFUSED


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


def discard(  # the command's options
    *identifiers: Annotated[str, Parameter(name="ID")],
    reason: Reason,
    selection: Selected = Selection(),  # it is immutable
    yes: Annotated[bool, Parameter(show_default=False)] = False,
    operator: Operator = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # likewise
) -> int:
    """Discard dead letters, with a reason: nothing is to be done about them.

    They are kept, and stay resolved if the same events come or fail again; a delivery, until its page changes. Prints
    the result of each: discarded, or gone (it was resolved before). Of those that options select, it only prints the
    number (exit code 1), unless --yes, or --expect with that number.

    Parameters
    ----------
    identifiers
        Such as `ingest-7`.
    yes
        Discard those that --all, --kind, --domain, --source and --cause select.
    as_json
        Print one JSON object a line: id, result; with --dry-run and options that select, letters.
    """
    wanted = selection.filter_for(identifiers)
    if selection.dry_run:
        return run(lambda: _would_be("discarded", identifiers, wanted, selection.expect, options, as_json=as_json))
    name = operator or login_name()
    if identifiers:
        return run(lambda: _discard(identifiers, reason, name, options, as_json=as_json))
    if not yes and selection.expect is None:
        return run(lambda: _count_only(wanted, options))
    return run(lambda: _discard_all(wanted, reason, name, options, expect=selection.expect, as_json=as_json))


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


async def _count_only(wanted: DeadLetterFilter, options: Options) -> int:
    """Prints how many would be discarded."""
    async with pagefold.open(options.load(), create=False) as shop:
        total = await shop.dead_letters.count(wanted)
    print_message(f"{count(total, 'dead letter')} would be discarded; --yes discards them" if total else NOTHING)
    return Exit.REFUSED if total else Exit.DONE


async def _discard_all(
    wanted: DeadLetterFilter, reason: str, operator: str, options: Options, *, expect: int | None, as_json: bool
) -> int:
    number = 0
    async with pagefold.open(options.load(), create=False) as shop, stoppable() as stop:
        total = await shop.dead_letters.count(wanted)
        with item_meter("discarding", total) as meter:
            discarding = shop.dead_letters.discard_all(wanted, reason, operator, expect=expect)
            async with aclosing(discarding) as discarded:
                async for name, result in discarded:
                    _print_result(name, result, as_json=as_json)
                    number += result == "discarded"
                    meter.update(number, "")
                    if stop:
                        break
    print_message(f"{count(number, 'dead letter')} discarded" if total else NOTHING)
    return stop.exit_code if stop else Exit.DONE
