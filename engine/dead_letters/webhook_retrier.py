"""Takes requests of senders that cannot correct them: what is valid is appended, the rest is kept in dead letters.

Each part of a request is appended, a duplicate, kept in dead letters, or ignored and counted. The request is answered
once all of it is durable. Appending comes first, because it shows what cannot be appended. After a crash between the
two, the request is not acknowledged and sent again: appended parts are then duplicates, and kept parts are the same
dead letters.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec
from anyio.to_thread import run_sync

from pagefold.domains.values import MAX_INTEGER, format_timestamp
from pagefold.engine.configuration.config import Config
from pagefold.engine.dead_letters.past_epochs import PastEpochs
from pagefold.engine.dead_letters.request_letters import dead_letter_of_request
from pagefold.engine.errors import Rejected
from pagefold.engine.events import AppendResult, DomainEvent, placed_in
from pagefold.engine.intake.change_completer import ChangeCompleter, Completed
from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.contracts.delivery_facts import HEADER, TAKEN
from pagefold.engine.intake.epoch_registry import EpochRegistry
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.field_watch import FieldWatch
from pagefold.engine.intake.formats.json_bodies import Headers
from pagefold.engine.intake.formats.request_parts import (
    SLACK_BYTES,
    Awaited,
    IgnoredMessage,
    ParsedPart,
    RejectedPart,
    RequestParts,
    Wanted,
)
from pagefold.engine.intake.readers.cloudevents import CloudEventMessageReader
from pagefold.engine.intake.readers.debezium import DebeziumReader
from pagefold.engine.intake.readers.fetched_records import DeltaNotificationReader, FetchedRecordReader
from pagefold.engine.intake.readers.snapshot_records import SnapshotRecordReader
from pagefold.engine.intake.readers.webhooks import WebhookReader
from pagefold.engine.intake.recreated_rows import RecreatedRows
from pagefold.engine.intake.references import ReferenceResolver, ResolvedPart
from pagefold.engine.intake.statement import Statement
from pagefold.engine.intake.whole_groups import Append, GroupSettler
from pagefold.engine.runtime.clock import moment, now
from pagefold.engine.runtime.counters import Counters
from pagefold.engine.stores.dead_letter_records import FOLD, DeadLetter, NewDeadLetter, ResolutionKind
from pagefold.engine.stores.fetch_records import NewFetch
from pagefold.engine.stores.store import Store

Entrance: TypeAlias = Literal["webhook", "cdc", "cloudevents", "snapshot", "delta", "fetch"]
Outcome: TypeAlias = AppendResult | IgnoredMessage | RejectedPart | Wanted
"""The outcome of a part. Rejected parts are kept in dead letters, wanted ones are fetched; nothing is refused."""

RULE = "@rule"
"""In the place of a header: the table that a record was fetched by, or asked for."""

DELTA = "delta"
"""The rule of records that were asked for because they changed."""

Value = TypeVar("Value")

FetchTables: TypeAlias = Callable[[str], Awaitable[None]]
"""Fetches the tables of a source that its contracts need, if it has none, or old ones. Raises `TableUnavailable`."""

WAITING_SLACK_BYTES = 16 * 1024 * 1024
"""Bytes that storing parts separately may always add if they wait: each is found by its own reference then."""

TURN = Awaited(FOLD, "", 0)
"""What a request waits for that was kept whole: that the workers get to it."""

MAX_APPENDED_PARTS = 5_000
"""Parts of a request that are appended in one transaction."""


class Run(Protocol):
    """Runs work that may take long without blocking the event loop."""

    async def __call__(self, work: Callable[[], Value], /) -> Value:
        """Returns the work's result."""


class Reader(Protocol):
    """Parses the requests of a source by its contract. `headers` are those that it needs, in lower case."""

    headers: frozenset[str]

    @property
    def contract(self) -> Contract | None:
        """What it reads requests by; None if they are only notifications."""

    def ignored_by_headers(self, headers: Headers, *, partial: bool = False) -> IgnoredMessage | None:
        """Why the headers exclude a request; None if they do not."""

    def parse(self, body: bytes, facts: Mapping[str, object]) -> RequestParts:
        """Parses a request, part by part. `facts` are those of its delivery, see `DeliveryFacts`."""


class Request(NamedTuple):
    """A request as received, and when. `kept` are the `headers` that are stored with a dead letter."""

    via: Entrance
    source: str
    body: bytes
    received: str
    headers: Headers = ()
    kept: Mapping[str, str] = MappingProxyType({})
    identifier: str = ""


class PartError(NamedTuple):
    """A part that could not be taken: why, and its stream and version, if known. It may only have to wait."""

    part: int
    reason: str
    place: tuple[str, int] | None
    awaited: Awaited | None = None


class Retried(NamedTuple):
    """A request that has waited since a moment; whether a person has confirmed it."""

    since: str
    confirmed: bool


class WebhookRetrier:
    """Takes the requests of one shop's sources, and retries what could not be taken."""

    def __init__(  # noqa: PLR0913  # what taking a delivery needs
        self,
        config: Config,
        store: Store,
        validator: EventValidator,
        append: Append,
        counts: Counters,
        epochs: EpochRegistry,
        *,
        fields: FieldWatch,
        fetch_tables: FetchTables,
    ) -> None:
        self._fetch_tables = fetch_tables
        self._epochs = epochs
        self._fields = fields
        self._config = config
        self._store = store
        self._validator = validator
        self._append = append
        self._counts = counts
        self._references = ReferenceResolver(store, config.references)
        self._groups = GroupSettler(store, config.references, self._references, epochs)
        self._readers: dict[tuple[Entrance, str, str], Reader] = {}

    def reader(self, via: Entrance, source: str, rule: str = "") -> Reader | None:
        """The reader of a source's requests; None if it has no such entrance. Raises `ConfigurationError`.

        What was fetched is read by the contract of the `rule`.
        """
        if (via, source, rule) not in self._readers:
            made = reader_of(self._config, via, source, rule)
            if made is None:
                return None
            if made.contract is not None:
                self._fields.add(source, made.contract)
            self._readers[via, source, rule] = made
        return self._readers[via, source, rule]

    async def take(self, request: Request, reader: Reader, run: Run, append: Append) -> list[list[Outcome]]:
        """Takes all parts of a request, durably, and returns the outcomes of each, in order.

        `append` appends the first `MAX_APPENDED_PARTS` parts; later ones wait for room. Raises what appending raises;
        some parts may be appended then, and sending the request again is safe.
        """
        if (ignored := reader.ignored_by_headers(request.headers)) is not None:
            self._counts.add_aside(request.source, ignored.cause)
            return [[ignored]]
        await self._prepare(request.source)
        facts = facts_of(reader, request.headers, request.received)
        delivery = await run(partial(reader.parse, request.body, facts))
        outcomes: list[list[Outcome]] = []
        for start in range(0, delivery.parts, MAX_APPENDED_PARTS):
            some = await self._take_some(delivery, start, run, append if start == 0 else self._append)
            outcomes += some
            faults = self._faults(some, start, request.source)
            if faults:
                await self._store.dead_letters.add(_dead_letters(request, delivery, faults))
            await self._want(request, some)
        self._count(request.source, [outcome for part in outcomes for outcome in part])
        self._fields.note()
        return outcomes

    async def _prepare(self, source: str) -> None:
        """Reads the ledger of fields, and fetches tables that the source's contracts need."""
        await self._fields.prepare()
        if self._config.sources[source].lookups:
            await self._fetch_tables(source)

    async def keep(self, request: Request, reader: Reader, reason: str) -> Outcome:
        """Keeps a whole request, durably, until the workers take it; `reason` is why it was not taken at once.

        Each is a dead letter of its own, also when the sender repeats it. Raises what the store raises.
        """
        if (ignored := reader.ignored_by_headers(request.headers)) is not None:
            self._counts.add_aside(request.source, ignored.cause)
            return ignored
        kept = dead_letter_of_request(
            request.source,
            request.body,
            reason,
            via=request.via,
            identifier=f"{request.identifier}\0{request.received}",
            headers=request.kept,
            awaited=TURN,
            recorded_at=request.received,
        )
        await self._store.dead_letters.add([kept])
        self._counts.add_aside(request.source, "waiting")
        return RejectedPart(Rejected("", reason), awaited=TURN)

    def parse(self, request: Request, reader: Reader) -> RequestParts:
        """What a request has, part by part; nothing is taken."""
        return reader.parse(request.body, facts_of(reader, request.headers, request.received))

    async def try_again(self, dead_letter: DeadLetter, by: str | None = None) -> ResolutionKind | None:
        """Appends what a kept request now gives. Returns how that resolves its dead letter; None if a part still fails.

        Parts that are in the log already do not matter. One that waits, and breaks a rule, becomes another dead letter;
        so does one that only has to wait. `by` is the operator. Raises `ConfigurationError` for a contract that cannot
        work.
        """
        headers = msgspec.json.decode(dead_letter.headers, type=dict[str, str])
        entrance = entrance_of(dead_letter)
        reader = self.reader(entrance, dead_letter.source, rule_in(dead_letter))
        if reader is None:
            return None
        raw = kept_headers(dead_letter)
        if reader.ignored_by_headers(raw, partial=True) is not None:
            return "ignored"
        await self._prepare(dead_letter.source)
        facts = facts_of(reader, raw, dead_letter.recorded_at)
        delivery = await run_sync(partial(reader.parse, dead_letter.state, facts))
        how: ResolutionKind = "ignored"
        faults: list[PartError] = []
        for start in range(0, delivery.parts, MAX_APPENDED_PARTS):
            retried = Retried(dead_letter.recorded_at, confirmed=by is not None)
            some = await self._take_some(delivery, start, run_sync, self._append, retried)
            faults += self._faults(some, start, dead_letter.source)
            request = Request(entrance, dead_letter.source, dead_letter.state, dead_letter.recorded_at, kept=headers)
            if await self._want(request, some, confirmed=by is not None):
                how = "wanted"
            elif not all(isinstance(outcome, IgnoredMessage) for part in some for outcome in part):
                how = "appended"
        return await self._moved(dead_letter, headers, delivery, faults) if faults else how

    async def _want(self, request: Request, parts: Sequence[Sequence[Outcome]], *, confirmed: bool = False) -> bool:
        """Keeps what is to be fetched, durably. Returns whether there is anything."""
        found = [each for part in parts for each in part if isinstance(each, Wanted)]
        headers = msgspec.json.encode(dict(request.kept))
        if found:
            fetches = [new_fetch(request.source, each, headers, confirmed=confirmed) for each in found]
            await self._store.fetches.want(fetches, now())
        return bool(found)

    async def _moved(
        self, dead_letter: DeadLetter, headers: Mapping[str, str], delivery: RequestParts, faults: Sequence[PartError]
    ) -> ResolutionKind | None:
        """Keeps what still fails: where it is, or as a dead letter of another kind."""
        only_waits = all(fault.awaited is not None for fault in faults)
        if dead_letter.kind == "waiting" and only_waits:
            awaited, reason = _awaited(faults), faults[0].reason
            if awaited is not None and dead_letter.error != reason:
                await self._store.dead_letters.wait_for(dead_letter, awaited.reference, reason)
            return None
        if dead_letter.kind != "waiting" and not only_waits:
            return None
        entrance, received = entrance_of(dead_letter), dead_letter.recorded_at
        request = Request(entrance, dead_letter.source, dead_letter.state, received, kept=headers)
        await self._store.dead_letters.add(_dead_letters(request, delivery, faults))
        return "moved"

    async def _take_some(
        self, delivery: RequestParts, start: int, run: Run, append: Append, retried: Retried | None = None
    ) -> list[list[Outcome]]:
        """The outcomes of the next parts."""
        read = await run(partial(delivery.read, start, start + MAX_APPENDED_PARTS))
        parts = await self._references.resolve_parts(read, waited=retried is not None)
        found = [found for part in parts for found in part.parts]
        if retried is not None:
            found = await self._as_of(found, retried.since)
        placed = await RecreatedRows(self._validator, self._store.log, self._epochs).place(found)
        completed = await ChangeCompleter(self._validator, self._store, self._epochs.known).complete(placed)
        events = [each for each in completed if isinstance(each, DomainEvent)]
        results = iter(await append(events) if events else ())
        of_part = iter([(each, _outcome(each, results)) for each in completed])
        return [await self._settled(part, [next(of_part) for _ in part.parts], retried) for part in parts]

    async def _settled(
        self, part: ResolvedPart, made: Sequence[tuple[Completed, Outcome]], retried: Retried | None
    ) -> list[Outcome]:
        """The outcomes of a part, with what it withdraws of groups. One that is kept withdraws when it is retried."""
        outcomes = [outcome for _, outcome in made]
        if not part.wholes or any(isinstance(outcome, RejectedPart) for outcome in outcomes):
            return outcomes
        said = [event for event, _ in made if isinstance(event, DomainEvent)]
        confirmed = retried is not None and retried.confirmed
        return [*outcomes, *(await self._groups.settle(part.wholes, said, self._append, confirmed=confirmed))]

    async def _as_of(self, found: Sequence[ParsedPart], moment: str) -> list[ParsedPart]:
        """The same, in the epochs that were current at a moment, if others are now."""
        past = PastEpochs(self._store.log, self._epochs, moment)
        if not await past.begin():
            return list(found)
        return [await self._in_its_epoch(each, past) if isinstance(each, Statement) else each for each in found]

    async def _in_its_epoch(self, change: Statement, past: PastEpochs) -> Statement:
        place = self._place(change.event)
        if place is None or change.event.epoch is not None:
            return change
        return change._replace(event=placed_in(await past.of(place[0]), change.event))

    def _faults(self, parts: Sequence[Sequence[Outcome]], start: int, source: str) -> list[PartError]:
        """The parts that need an operator, with the first reason of each.

        A conflict is not among them: it has a dead letter of its own.
        """
        faults: list[PartError] = []
        for number, part in enumerate(parts, start):
            faulty = [outcome for outcome in part if isinstance(outcome, RejectedPart)]
            if faulty:
                first = next((each for each in faulty if each.awaited is None), faulty[0])
                place = self._place(first.event, source)
                faults.append(PartError(number, str(first.rejection), place, first.awaited))
        return faults

    def _place(self, event: DomainEvent | None, source: str | None = None) -> tuple[str, int] | None:
        """The stream and the version of an event, if they are known, and if it is of that source."""
        if event is None or not 0 <= event.source_version <= MAX_INTEGER or source not in {None, event.source}:
            return None
        try:
            return self._validator.stream_of(event), event.source_version
        except Rejected:
            return None

    def _count(self, source: str, outcomes: Sequence[Outcome]) -> None:
        """Counts what was not appended; the appender counts the rest."""
        for outcome in outcomes:
            if isinstance(outcome, IgnoredMessage):
                self._counts.add_aside(source, outcome.cause)
            elif isinstance(outcome, Wanted):
                self._counts.add_aside(source, "wanted")
            elif isinstance(outcome, RejectedPart):
                self._counts.add_aside(source, "waiting" if outcome.awaited else "kept")


_READERS: Mapping[Entrance, Callable[[Config, str], Reader]] = {
    "webhook": WebhookReader,
    "cdc": DebeziumReader,
    "cloudevents": CloudEventMessageReader,
    "delta": DeltaNotificationReader,
}


_BY_RULE: Mapping[Entrance, Callable[[Config, str, str], Reader]] = {
    "fetch": FetchedRecordReader,
    "snapshot": lambda config, source, rule: SnapshotRecordReader(config, source, of_delta=rule == DELTA),
}
"""Readers of what a rule names: of a fetch, or of changes that were asked for."""


def reader_of(config: Config, via: Entrance, source: str, rule: str) -> Reader | None:
    """A reader as of `WebhookRetrier.reader`, whose fields are not counted."""
    settings = config.sources.get(source)
    if via == "snapshot" and settings is not None and settings.snapshot is None:
        rule = DELTA
    place = DELTA if rule == DELTA else via
    if settings is None or (rule not in settings.fetches if via == "fetch" else getattr(settings, place) is None):
        return None
    make = _BY_RULE.get(via)
    return _READERS[via](config, source) if make is None else make(config, source, rule)


def rule_in(dead_letter: DeadLetter) -> str:
    """The rule by which the request of a dead letter was asked for; empty if it was sent."""
    headers = msgspec.json.decode(dead_letter.headers, type=dict[str, str])
    return headers.get(RULE, "") if entrance_of(dead_letter) in _BY_RULE else ""


def kept_headers(dead_letter: DeadLetter) -> Headers:
    """The headers that were kept with a request."""
    headers = msgspec.json.decode(dead_letter.headers, type=dict[str, str])
    return [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]


def new_fetch(source: str, wanted: Wanted, headers: bytes, *, confirmed: bool = False) -> NewFetch:
    """A fetch as it is kept: it may begin after a while, for more notifications of the same record."""
    due = format_timestamp(moment() + timedelta(seconds=wanted.endpoint.after_seconds))
    return NewFetch(source, wanted.rule, wanted.key, wanted.address, wanted.text, headers, confirmed, due)


def _outcome(completed: Completed, results: Iterator[AppendResult]) -> Outcome:
    """The outcome of a completed part. What the validator rejected is kept like an unreadable part."""
    if not isinstance(completed, DomainEvent):
        return completed
    result = next(results)
    if result.outcome != "rejected":
        return result
    return RejectedPart(Rejected(result.path or "", result.reason or ""), completed)


def facts_of(reader: Reader, headers: Headers, received: str) -> dict[str, object]:
    """What the contract may read of a delivery besides its body. Of a repeated header, the first counts."""
    facts: dict[str, object] = {"@received": received}
    for name, value in headers:
        header = name.lower().decode("latin-1")
        if header == TAKEN:  # no request has such a header: it was kept with a record of a snapshot
            facts[TAKEN] = value.decode("latin-1")
        elif header in reader.headers:
            facts.setdefault(f"{HEADER}{header}", value.strip(b" \t").decode("latin-1"))
    return facts


def entrance_of(dead_letter: DeadLetter) -> Entrance:
    """Where a kept request came in."""
    return dead_letter.via or "webhook"


def _awaited(faults: Sequence[PartError]) -> Awaited | None:
    """What parts wait for: the one reference of all, or else whatever comes; None if they do not wait."""
    first = faults[0].awaited
    references = {fault.awaited.reference for fault in faults if fault.awaited is not None}
    return first if first is None or len(references) == 1 else first._replace(reference=FOLD)


def _dead_letters(request: Request, delivery: RequestParts, faults: Sequence[PartError]) -> list[NewDeadLetter]:
    """The dead letters of parts that could not be taken, and of those that wait."""
    waiting = [fault for fault in faults if fault.awaited is not None]
    others = [fault for fault in faults if fault.awaited is None]
    return [*_divided(request, delivery, others), *_divided(request, delivery, waiting, WAITING_SLACK_BYTES)]


def _divided(
    request: Request, delivery: RequestParts, faults: Sequence[PartError], slack: int = SLACK_BYTES
) -> Iterator[NewDeadLetter]:
    """A dead letter for each part, or one for all, see `RequestParts.divided`."""
    by_part = {fault.part: fault for fault in faults}
    for parts, body in delivery.divided(list(by_part), slack) if faults else ():
        first = by_part[parts[0]]
        alone = len(parts) == 1
        yield dead_letter_of_request(
            request.source,
            body,
            first.reason if alone else f"{len(parts)} of {delivery.parts} parts, the first: {first.reason}",
            via=request.via,
            identifier=request.identifier,
            headers=request.kept,
            place=first.place if alone else None,
            awaited=_awaited([by_part[part] for part in parts]),
            recorded_at=request.received,
        )
