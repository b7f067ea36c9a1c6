"""Simulates unreliable sources: events arrive late, out of order, twice, stale, contradicted, withdrawn, or broken.

`inject_faults` turns events into lines, each with its fault and the outcome that it must have. No event is lost: a
broken line is a changed copy, and the event itself follows.
"""

import heapq
import itertools
import json
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple, TypeAlias

import orjson

from pagefold.engine.demo.reference_model import Document, ModelOutcome

Expected: TypeAlias = Literal[ModelOutcome, "rejected"]

BreakLine: TypeAlias = Callable[[Document], "bytes | None"]
"""Makes a line that must be rejected from a copy of an event, or None if the event is unsuitable."""

NEAR = 20
FAR = 2000
"""Maximum events that overtake one that is out of order, and one that is late. `FAR` bounds the events held back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """The share of events with each fault. An event has at most one fault, so the sum is at most 1.

    `late` and `reordered` events are overtaken by others; a `duplicated` one is repeated with another formatting; a
    `stale` one is followed by a repetition of its stream's previous version; a `conflicting` one is followed by other
    content at its version; a `withdrawn` one is a withdrawal; a `broken` one follows a copy that must be rejected.
    """

    late: float = 0.01
    reordered: float = 0.06
    duplicated: float = 0.04
    stale: float = 0.03
    conflicting: float = 0.005
    withdrawn: float = 0.01
    broken: float = 0.02

    def __post_init__(self) -> None:
        """Raises `ValueError` for impossible shares."""
        shares = [getattr(self, field.name) for field in fields(self)]
        if min(shares) < 0 or sum(shares) > 1:
            problem = f"{self} are not shares: each must be 0 or more, all together at most 1"
            raise ValueError(problem)

    def shares(self) -> dict[str | None, float]:
        """The share of each fault; under None, the share of events without a fault."""
        named: dict[str | None, float] = {field.name: getattr(self, field.name) for field in fields(self)}
        return named | {None: max(0, 1 - sum(named.values()))}


class Arrival(NamedTuple):
    """A line as it arrives.

    `fault` is a field of `Faults`, or None; `kind` is the name in `BROKEN` of a broken line, else None. `expected` is
    the line's outcome if lines are appended in order. `event` is the decoded event; None for a broken line.
    """

    line: bytes
    fault: str | None
    kind: str | None
    expected: Expected
    event: Document | None


def inject_faults(events: Iterable[Document], faults: Faults, seed: int = 7) -> Iterator[Arrival]:
    """Yields the events as they arrive, reproducibly for a seed. Holds back at most some `FAR` events at a time.

    `events` must have each (stream, version) once, in the order of versions. Each event arrives once with the expected
    outcome "appended", unchanged, except that the payload of a withdrawn one is null.
    """
    queue = _ArrivalQueue(seed)
    shares = faults.shares()
    names, weights = tuple(shares), tuple(itertools.accumulate(shares.values()))
    rng = random.Random(f"{seed} faults")
    for now, event in enumerate(events):
        (fault,) = rng.choices(names, cum_weights=weights)
        queue.accept(event, fault, now)
        yield from queue.due(now)
    yield from queue.due(None)


class _ArrivalQueue:
    """Lines in transit. Each has a due time, counted in events; lines due at the same time keep their order."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"{seed} post")
        self._on_the_way: list[tuple[int, int, Arrival]] = []
        self._count = itertools.count()
        self._newest: dict[tuple[str, ...], tuple[int, Document]] = {}
        self._kinds = deque(BROKEN)

    def due(self, now: int | None) -> Iterator[Arrival]:
        """Yields the lines that are due, or all if `now` is None."""
        while self._on_the_way and (now is None or self._on_the_way[0][0] <= now):
            yield heapq.heappop(self._on_the_way)[2]

    def accept(self, event: Document, fault: str | None, now: int) -> None:
        """Adds one event, and the lines of its fault. Copies and contradictions always arrive after the event."""
        if fault == "withdrawn":
            event = event | {"payload": None}
        if fault == "broken":
            self._send_broken(event, now)
        arrives_at = now + self._delay(fault)
        delayed = fault if fault in {"late", "reordered", "withdrawn"} else None
        self._send(arrives_at, Arrival(orjson.dumps(event), delayed, None, "appended", event))
        before = self._before(event, arrives_at)
        after = arrives_at + self._rng.randint(1, NEAR)
        if fault == "duplicated":
            self._send(after, Arrival(_respelled(event), fault, None, "duplicate", event))
        elif fault == "stale" and before is not None:
            arrived, older = before
            self._send(max(after, arrived + 1), Arrival(orjson.dumps(older), fault, None, "duplicate", older))
        elif fault == "conflicting" and event["payload"] is not None:
            other = contradicted(event)
            self._send(after, Arrival(orjson.dumps(other), fault, None, "conflict", other))

    def _send(self, due: int, arrival: Arrival) -> None:
        heapq.heappush(self._on_the_way, (due, next(self._count), arrival))

    def _delay(self, fault: str | None) -> int:
        if fault == "late":
            return self._rng.randint(NEAR, FAR)
        return self._rng.randint(1, NEAR) if fault == "reordered" else 0

    def _before(self, event: Document, arrives_at: int) -> tuple[int, Document] | None:
        """The stream's previous event, and when it arrives."""
        stream = (event["sku"], event["channel"], event["type"], event["source"])
        before = self._newest.get(stream)
        self._newest[stream] = (arrives_at, event)
        return before

    def _send_broken(self, event: Document, now: int) -> None:
        """Breaks a copy in the next possible way. A way that needs another domain stays next."""
        for kind in tuple(self._kinds):
            line = BROKEN[kind](orjson.loads(orjson.dumps(event)))
            if line is not None:
                self._kinds.remove(kind)
                self._kinds.append(kind)
                self._send(now, Arrival(line, "broken", kind, "rejected", None))
                return


DEFAULT_FIELDS: dict[str, Document] = {
    "catalog": {"family": None, "parent": None, "enabled": True},
    "pricing": {"compareAt": None, "tiers": []},
    "inventory": {"safetyStock": 0, "restockAt": None},
    "media": {},
}


def _respelled(event: Document) -> bytes:
    """The same event as another program might write it: sorted keys, spaces, escapes, and explicit defaults.

    Amounts have superfluous zeros, and locales are written as in POSIX.
    """
    payload = event["payload"] and DEFAULT_FIELDS[event["type"]] | event["payload"]
    if payload and "amount" in payload:
        payload |= {"amount": f"0{payload['amount']}00"}
    if payload and "localized" in payload:
        payload |= {"localized": {code: _with_posix_locales(text) for code, text in payload["localized"].items()}}
    return json.dumps(event | {"payload": payload}, sort_keys=True).encode()


def _with_posix_locales(text: Document) -> Document:
    """A text by locale, with keys such as `DE_DE.UTF-8`, and with two empty translations."""
    return {f"{locale.replace('-', '_').upper()}.UTF-8": each for locale, each in text.items()} | {
        "xx": None,
        "yy": " ",
    }


def contradicted(event: Document) -> Document:
    """The same version of the same stream with other content."""
    payload = event["payload"]
    other: Document
    match event["type"]:
        case "catalog":
            other = {"family": "contradicted"}
        case "pricing":
            other = {"amount": "1" + payload["amount"]}
        case "inventory":
            other = {"available": payload["available"] + 1000}
        case _:
            other = {"assets": [*payload["assets"], {"url": "https://media.example/contradicted.webp", "position": 99}]}
    return event | {"payload": payload | other}


def _has_payload(event: Document, domain: str) -> bool:
    """Whether an event of this domain has a payload, which can be broken."""
    return bool(event["type"] == domain and event["payload"] is not None)


def _with(**changes: object) -> BreakLine:
    """Replaces fields of the event."""
    return lambda event: orjson.dumps(event | changes)


def _payload_with(domain: str, **changes: object) -> BreakLine:
    """Replaces fields of the payload of one domain."""

    def spoil(event: Document) -> bytes | None:
        if not _has_payload(event, domain):
            return None
        return orjson.dumps(event | {"payload": event["payload"] | changes})

    return spoil


def _without(field: str) -> BreakLine:
    """Omits a field."""
    return lambda event: orjson.dumps({name: value for name, value in event.items() if name != field})


def _raw(field: str, value: bytes) -> BreakLine:
    """Replaces a field of the event by raw bytes."""
    return lambda event: orjson.dumps(event | {field: "?"}).replace(b'"?"', value, 1)


def _note(value: bytes) -> BreakLine:
    """Puts raw JSON into an attribute of a catalog payload, where any JSON is allowed."""

    def spoil(event: Document) -> bytes | None:
        if not _has_payload(event, "catalog"):
            return None
        event["payload"]["attributes"]["note"] = "?"
        return orjson.dumps(event).replace(b'"note":"?"', b'"note":' + value, 1)

    return spoil


def _sku(spelling: Callable[[str], str]) -> BreakLine:
    """Changes the SKU."""
    return lambda event: orjson.dumps(event | {"sku": spelling(event["sku"])})


def _float_money(event: Document) -> bytes | None:
    """The amount as a JSON number."""
    amount = float(event["payload"]["amount"]) if _has_payload(event, "pricing") else None
    return _payload_with("pricing", amount=amount)(event)


def _wrong_currency(event: Document) -> bytes | None:
    """A price for one channel in another currency than the channel's."""
    return _payload_with("pricing", currency="SEK")(event) if event["channel"] != "*" else None


def _foreign_domain(event: Document) -> bytes:
    """A known source writes a known domain that it may not write."""
    return orjson.dumps(event | {"source": "pim" if event["source"] == "dam" else "dam"})


def _without_offset(event: Document) -> bytes:
    """A local time without its offset."""
    return orjson.dumps(event | {"occurredAt": event["occurredAt"][:19]})


def _truncated(event: Document) -> bytes:
    """A line that is cut off."""
    line = orjson.dumps(event)
    return line[: len(line) * 2 // 3]


def _key_twice(event: Document) -> bytes:
    """Two SKUs in one event."""
    return b'{"sku":"ANOTHER-SKU",' + orjson.dumps(event)[1:]


def _payload_key_twice(event: Document) -> bytes | None:
    """Two stocks in one payload."""
    if not _has_payload(event, "inventory"):
        return None
    return orjson.dumps(event).replace(b'"payload":{', b'"payload":{"available":1,', 1)


BROKEN: dict[str, BreakLine] = {
    "truncated": _truncated,
    "not an object": lambda _event: b'["not","an","event"]',
    "invalid UTF-8": _raw("sku", b'"T\xe4schchen"'),
    "NaN": _note(b"NaN"),
    "NaN as version": _raw("sourceVersion", b"NaN"),
    "lone surrogate": _note(rb'"half of \ud83d"'),
    "lone surrogate in the SKU": _raw("sku", rb'"\udead"'),
    "U+0000": _note(rb'"nothing: \u0000"'),
    "U+0000 in correlationId": _with(correlationId="order\0"),
    "key twice": _key_twice,
    "key twice in the payload": _payload_key_twice,
    "nested over 64": _note(b"[" * 62 + b"]" * 62),  # inside the event, its payload and the attributes
    "integer beyond 2^53-1": _note(b"9007199254740992"),
    "number beside a double": _note(b"1.000000000000000005"),
    "stock beyond 2^53-1": _payload_with("inventory", available=2**53),
    "over 1 MiB": _with(correlationId="x" * 1024 * 1024),
    "unknown field": _with(colour="blue"),
    "unknown field in the payload": _payload_with("inventory", availible=3),
    "unknown type": _with(type="weather"),
    "unknown source": _with(source="the-intern"),
    "unknown channel": _with(channel="web-mars"),
    "foreign domain": _foreign_domain,
    "money as a float": _float_money,
    "money with a comma": _payload_with("pricing", amount="149,90"),
    "money below zero": _payload_with("pricing", amount="-1.00"),
    "invalid locale": _payload_with("media", assets=[{"url": "x", "alt": {"xx_1": "?"}}]),
    "wrong currency": _wrong_currency,
    "stock as text": _payload_with("inventory", available="12"),
    "version below zero": _with(sourceVersion=-1),
    "version beyond 2^53-1": _with(sourceVersion=2**53),
    "version with a fraction": _with(sourceVersion=1.5),
    "version as text": _with(sourceVersion="17"),
    "version missing": _without("sourceVersion"),
    "SKU missing": _without("sku"),
    "SKU empty": _with(sku=""),
    "SKU over 128 characters": _with(sku="X" * 129),
    "SKU with a control character": _sku(lambda sku: sku + "\x07"),
    "SKU with a zero-width space": _sku(lambda sku: f"{sku[:1]}\u200b{sku[1:]}"),
    "SKU from a spreadsheet": _with(sku="9.55E+12"),
    "SKU with a space around": _sku(lambda sku: f" {sku}"),
    "timestamp without offset": _without_offset,
    "impossible timestamp": _with(occurredAt="2026-02-30T12:00:00Z"),
}
"""Every kind of line that must be rejected, by name."""
