"""`pagefold dead-letters`: events and requests that need a person."""

import getpass
from collections.abc import AsyncIterator
from typing import Annotated

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
)
from pagefold.engine.command.options import AsJSON, DomainName, Exit, Injected, Options, UsageError
from pagefold.engine.dead_letters.dead_letter_service import MAX_LISTED
from pagefold.engine.dead_letters.dead_letter_views import CauseSummary, DeadLetterDetail, summary_of, summary_of_cause
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.shop import Shop
from pagefold.engine.stores.dead_letter_records import DeadLetterFilter, DeadLetterHeader, Kind
from pagefold.projections.field_changes import FieldChange

MAX_ERROR_CHARACTERS = 100

KindOption = Annotated[
    Kind | None, Parameter(name="--kind", help="Only those of a kind, such as ingest, projection or delivery.")
]
DomainOption = Annotated[DomainName | None, Parameter(name="--domain", help="Only this domain.")]
SourceOption = Annotated[
    str | None, Parameter(name="--source", help="Only events of this source; with --kind delivery, of this target.")
]
CauseOption = Annotated[
    str | None, Parameter(name="--cause", help="Only those of a cause, by its key in `dead-letters causes`.")
]
Operator = Annotated[
    str | None, Parameter(name="--as", help="Your name, recorded with the decision; the login name unless given.")
]

dead_letters = App(
    name="dead-letters",
    help="""\
List, show, retry, correct, discard and purge events and requests that need a person.

`ingest-7` is an event whose version the log has with another content, which it keeps, or a part of a request that could
not be turned into an event. `projection-12` is an event in the log that could not be folded; the page shows the newest
one that could. `delivery-3` is a page that a target has refused to the last try: a retry sends it again, and so does a
change of the page. None is ever deleted: resolved ones keep who resolved them, when and how. Their bodies are removed
after the time that [dead_letters] in the configuration sets.
""",
    help_epilogue="",
)


@dead_letters.command(name="list")
def list_dead_letters(  # noqa: PLR0913  # the command's options
    *,
    kind: KindOption = None,
    domain: DomainOption = None,
    source: SourceOption = None,
    cause: CauseOption = None,
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
        null while it is open, resolution (folded, appended, ignored, corrected, queued or discarded), resolvedAt,
        resolvedBy, reason, position; via (webhook, cdc or cloudevents) of a request that could not be turned into an
        event, whose domain and revision are null, as are unknown sku, channel and version; of a delivery, whose source
        is the target, these are null, too; purgedAt and purgedBy of a removed body; cause.
    """
    wanted = DeadLetterFilter(kind, domain, source, resolved, cause)
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
    if letter.is_delivery:
        stream = f"{summary.sku} {summary.channel} to {summary.source}"
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
    when = ": the page has changed" if letter.resolved_at is None else f" at {_moment(letter.resolved_at)}"
    return f"{letter.resolution}{by}{when}{because}"


@dead_letters.command
def causes(
    *,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """List what is wrong with the open dead letters: those with the same fault, from the same source, are one cause.

    The causes with the most dead letters come first. `--cause KEY` of list, retry and discard selects those of one.

    Parameters
    ----------
    as_json
        Print one JSON object a line: cause, letters, more (there are more letters than that), kind, domain, source,
        text (the error without values), first, last, newest (the id of the newest), error (its error).
    """
    return run(lambda: _causes(options, as_json=as_json))


async def _causes(options: Options, *, as_json: bool) -> int:
    async with pagefold.open(options.load(), create=False) as shop:
        found = [summary_of_cause(cause) for cause in await shop.dead_letters.causes()]
    if as_json:
        for cause in found:
            write_bytes(msgspec.json.encode(cause))
    elif found:
        columns = ("cause", "letters", "kind", "domain", "source", "last", "what is wrong")
        show_table(columns, map(_cause_row, found), numbers=("letters",), wrapped=(columns[-1],))
    total = f"{sum(cause.letters for cause in found):,}{'+' if any(cause.more for cause in found) else ''}"
    print_message(f"{total} open in {count(len(found), 'cause')}" if found else "no dead letters")
    return Exit.DONE


def _cause_row(cause: CauseSummary) -> tuple[str, ...]:
    letters = f"{cause.letters:,}{'+' if cause.more else ''}"
    text = shortened(printable(cause.text), MAX_ERROR_CHARACTERS)
    domain = cause.domain or "-"
    return cause.cause, letters, cause.kind, printable(domain), printable(cause.source), _moment(cause.last), text


@dead_letters.command
def show(
    identifier: Annotated[str, Parameter(name="ID")],
    /,
    *,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Show a dead letter: its error and its event, and how a conflict differs from the event in the log.

    Of a delivery, it shows what the target has answered, and the document that a retry sends, null for a withdrawal.

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


_FACTS = ("cause", "kind", "via", "domain", "sku", "channel", "source", "version", "epoch", "revision")


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
        lines.append(Text(_content_name(detail)))
        text = msgspec.json.format(msgspec.json.encode(detail.event), indent=2).decode()
        lines += [Text(printable(line)) for line in text.split("\n")]
    for line in lines:
        results().print(line, soft_wrap=True)


def _content_name(detail: DeadLetterDetail) -> str:
    if detail.kind == "delivery":
        return "document"
    return "body" if detail.domain is None else "event"


def _differing(detail: DeadLetterDetail) -> list[Text]:
    if detail.differences is None:
        return []
    return [Text("in the log → in this dead letter"), *map(_difference, detail.differences)]


def _difference(change: FieldChange) -> Text:
    before, after = value_text(change.before), value_text(change.after)
    return Text.assemble(f"  {path_text(change.path)}: ", (before, "green"), " → ", (after, "red"))


def login_name() -> str:
    """The login name. Raises `UsageError` where it is unknown, as in some containers."""
    name = known_name()
    if name is None:
        raise UsageError("--as", "the login name is unknown; set it with --as NAME")
    return name


def known_name() -> str | None:
    """The login name, None where it is unknown."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return None
