"""`pagefold dead-letters`: what was kept because it needs a person."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
import orjson
from cyclopts import App, Parameter
from rich.text import Text

import engine
from domains.domain import JSON
from engine.command.options import AsJSON, DomainName, Exit, Injected, Options, UsageError
from engine.command.output import count, printable, results, say, shortened, show_table, write_json
from engine.command.pages import value
from engine.command.progress import item_meter
from engine.command.running import run, stoppable
from engine.dead_letters import Retried, UnknownLetter
from engine.door import State
from engine.history import FieldChange, changes_between, flatten
from engine.shop import Shop
from engine.stores.store import DeadLetter, Kind, StoredEvent
from projections.streams import Stream, parse_stream_id

WIDEST_ERROR = 100

_state = msgspec.json.Decoder(State)

letters = App(
    name="dead-letters",
    help="""\
List, show and retry what was kept because it needs a person.

`ingest-7` is an event whose version stands in the log with another content; the log keeps the first.
`projection-12` is an event in the log that could not be folded; the page shows the newest one that could.
""",
    help_epilogue="",
)


@letters.command(name="list")
def list_letters(
    *,
    kind: Annotated[Kind | None, Parameter(help="Only those kept at ingest, or only those kept at projection.")] = None,
    domain: Annotated[DomainName | None, Parameter(help="Only this domain.")] = None,
    limit: Annotated[int, Parameter(help="At most so many, the newest.")] = 100,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """List dead letters, the newest first.

    Parameters
    ----------
    as_json
        Print one JSON object a line: id, kind, domain, sku, channel, source, version, revision, error, recordedAt.
    """
    return run(lambda: _list(kind, domain, limit, options, as_json=as_json))


async def _list(kind: Kind | None, domain: str | None, limit: int, options: Options, *, as_json: bool) -> int:
    if limit < 1:
        raise UsageError("--limit", f"{limit} is less than 1")
    async with engine.open(options.load(), create=False) as shop:
        found = await shop.dead_letters.newest(kind=kind, domain=domain, limit=limit)
        counts = await shop.store.dead_letters.counts()
    if as_json:
        for letter in found:
            write_json(_document(letter))
        return Exit.DONE
    if found:
        show_table(
            ("id", "since", "stream", "version", "error"),
            map(_row, found),
            numbers=("version",),
            wrapped=("stream", "error"),
        )
    total = sum(n for (k, d), n in counts.items() if kind in (None, k) and domain in (None, d))
    if total > len(found):
        say(f"… and {total - len(found):,} older; --limit shows more")
    elif not found:
        say("no dead letters")
    return Exit.DONE


def _row(letter: DeadLetter) -> tuple[str, str, str, str, str]:
    since = letter.recorded_at[:19].replace("T", " ")
    error = shortened(printable(letter.error), WIDEST_ERROR)
    return letter.id, since, printable(letter.originator_id), str(letter.originator_version), error


def _document(letter: DeadLetter) -> dict[str, object]:
    stream = _stream(letter)
    return {
        "id": letter.id,
        "kind": letter.kind,
        "domain": letter.domain,
        "sku": stream and stream.sku,
        "channel": stream and stream.channel,
        "source": stream and stream.source,
        "version": letter.originator_version,
        "revision": letter.revision,
        "error": letter.error,
        "recordedAt": letter.recorded_at,
    }


def _stream(letter: DeadLetter) -> Stream | None:
    try:
        return parse_stream_id(letter.originator_id)
    except ValueError:  # an application of the eventsourcing library wrote it
        return None


@letters.command
def show(
    identifier: Annotated[str, Parameter(name="ID")],
    /,
    *,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Show a dead letter whole: its error and its event; of a conflict, also how it differs from what stands.

    Parameters
    ----------
    identifier
        Such as `projection-12`.
    as_json
        Print one JSON document: as list does, and event, and for a conflict differences (path, before, after: what
        stands, what this one says).
    """
    return run(lambda: _show(identifier, options, as_json=as_json))


async def _show(identifier: str, options: Options, *, as_json: bool) -> int:
    async with engine.open(options.load(), create=False) as shop:
        letter = await shop.dead_letters.get(identifier)
        differences = await _differences(shop, letter) if letter.kind == "ingest" else None
    event = _decoded(letter.state)
    if as_json:
        document = _document(letter) | {"event": event}
        if differences is not None:
            document["differences"] = [msgspec.structs.asdict(each) for each in differences]
        write_json(document)
        return Exit.DONE
    _print_letter(letter, event, differences)
    return Exit.DONE


def _decoded(state: bytes) -> JSON:
    try:
        event: JSON = msgspec.json.decode(state)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return state.decode(errors="backslashreplace")
    return event


async def _differences(shop: Shop, letter: DeadLetter) -> list[FieldChange]:
    """How the event of a conflict differs from the one that stands at its version."""
    found = await shop.store.log.at([(letter.originator_id, letter.originator_version)])
    stands = max(found, key=lambda event: event.revision, default=None)
    return changes_between(_fields(stands), _fields(letter))


def _fields(event: StoredEvent | DeadLetter | None) -> dict[str, JSON]:
    return {} if event is None else flatten(msgspec.json.decode(_state.decode(event.state).payload))


def _print_letter(letter: DeadLetter, event: JSON, differences: list[FieldChange] | None) -> None:
    facts = {key: item for key, item in _document(letter).items() if key not in ("id", "error")}
    lines = [Text(letter.id, style="bold"), Text(printable(letter.error), style="red")]
    lines += [Text.assemble((f"  {key:<12}", "dim"), printable(str(item))) for key, item in facts.items()]
    if differences is not None:
        lines.append(Text("what stands → what this one says"))
        lines += [
            Text.assemble(
                f"  {printable(each.path)}: ", (value(each.before), "green"), " → ", (value(each.after), "red")
            )
            for each in differences
        ]
    lines.append(Text("event"))
    lines.append(Text(orjson.dumps(event, option=orjson.OPT_INDENT_2).decode()))
    for line in lines:
        results().print(line, soft_wrap=True)


@letters.command
def retry(
    *identifiers: Annotated[str, Parameter(name="ID")],
    everything: Annotated[bool, Parameter(name="--all", show_default=False)] = False,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Try dead letters again: fold their stream, or append their event.

    Prints what became of each: resolved, still dead, or gone (somebody else was faster). Exit code 1 when any is still
    dead. A newer good event resolves a letter by itself; nothing needs to be tried again then.

    Parameters
    ----------
    identifiers
        Such as `projection-12`.
    everything
        All that there are, the oldest first.
    as_json
        Print one JSON object a line: id, result.
    """
    if bool(identifiers) == everything:
        raise UsageError("ID", "name dead letters, or give --all instead")
    return run(lambda: _retry(identifiers, options, as_json=as_json))


async def _retry(identifiers: Sequence[str], options: Options, *, as_json: bool) -> int:
    counts: dict[Retried, int] = {"resolved": 0, "still dead": 0, "gone": 0}
    async with engine.open(options.load(), create=False) as shop, stoppable() as stop:
        names = await _names(shop, identifiers)
        with item_meter("retrying", len(names)) as meter:
            for done, name in enumerate(names, 1):
                result = await _try_again(shop, name)
                counts[result] += 1
                _tell(name, result, as_json=as_json)
                meter.update(done, f"{counts['still dead']:,} still dead")
                if stop:
                    break
    summary = ", ".join(f"{number:,} {result}" for result, number in counts.items() if number)
    say(f"{count(sum(counts.values()), 'dead letter')} tried again: {summary}" if summary else "no dead letters")
    if stop:
        return stop.exit_code
    return Exit.REFUSED if counts["still dead"] else Exit.DONE


async def _names(shop: Shop, identifiers: Sequence[str]) -> list[str]:
    """The letters that were asked for, or all of them, the oldest first. Raises `UnknownLetter`."""
    if identifiers:
        return [(await shop.dead_letters.get(identifier)).id for identifier in dict.fromkeys(identifiers)]
    total = sum((await shop.store.dead_letters.counts()).values())
    return [letter.id for letter in reversed(await shop.dead_letters.newest(limit=total))] if total else []


async def _try_again(shop: Shop, name: str) -> Retried:
    try:
        return await shop.dead_letters.retry(await shop.dead_letters.get(name))
    except UnknownLetter:
        return "gone"


def _tell(name: str, result: Retried, *, as_json: bool) -> None:
    if as_json:
        write_json({"id": name, "result": result})
    else:
        print(f"{name}  {result}")
