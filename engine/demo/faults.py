"""How events really arrive: late, out of order, twice, again after newer ones, contradicted, withdrawn, or broken.

`deliver` takes true events and gives lines, each with what was done to it and the outcome that it must have.
Nothing true is ever lost: a broken line is a changed copy, and the event itself comes after it.
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

from pagefold.engine.demo.reference_model import Document, Fate

Expected: TypeAlias = Literal[Fate, "rejected"]

Spoil: TypeAlias = Callable[[Document], "bytes | None"]
"""Makes a line that must be rejected from a copy of a true event, or None where that event does not lend itself."""

NEAR = 20
FAR = 2000
"""How many other events may overtake one that is out of order, and one that is late. Bounds what is held back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """The share of true events that each fault befalls. One event has one fault at most, so the sum is 1 at most.

    `late` and `reordered` events are overtaken by others; a `duplicated` one comes again in another spelling; a `stale`
    one is followed by its stream's version before it, again; a `conflicting` one is contradicted at its own version; a
    `withdrawn` one takes its source's word back; a `broken` one is preceded by a copy that must be refused.
    """

    late: float = 0.01
    reordered: float = 0.06
    duplicated: float = 0.04
    stale: float = 0.03
    conflicting: float = 0.005
    withdrawn: float = 0.01
    broken: float = 0.02

    def __post_init__(self) -> None:
        """Raises `ValueError` for what cannot be shares."""
        shares = [getattr(self, field.name) for field in fields(self)]
        if min(shares) < 0 or sum(shares) > 1:
            problem = f"{self} are not shares: each must be 0 or more, all together at most 1"
            raise ValueError(problem)

    def shares(self) -> dict[str | None, float]:
        """The share of each fault, and under None that of the events that arrive as they should."""
        named: dict[str | None, float] = {field.name: getattr(self, field.name) for field in fields(self)}
        return named | {None: max(0, 1 - sum(named.values()))}


class Arrival(NamedTuple):
    """One line as it arrives.

    `fault` is a field of `Faults`, or None; `kind` is what is wrong with a broken line, a name in `BROKEN`, else None.
    `expected` is what becomes of the line when the lines before it were appended before it. `event` is what the line
    says, fit for the model; None when the line is broken and says nothing.
    """

    line: bytes
    fault: str | None
    kind: str | None
    expected: Expected
    event: Document | None


def deliver(events: Iterable[Document], faults: Faults, seed: int = 7) -> Iterator[Arrival]:
    """The true events as they arrive, the same for the same seed. Holds at most some `FAR` of them back at a time.

    `events` must have each (stream, version) once, in the order of versions. Every one is delivered once with the
    expected fate "appended", and says what it said, unless its fault is to be withdrawn: then it says null.
    """
    post = _Post(seed)
    shares = faults.shares()
    names, weights = tuple(shares), tuple(itertools.accumulate(shares.values()))
    luck = random.Random(f"{seed} faults")
    for now, event in enumerate(events):
        (fault,) = luck.choices(names, cum_weights=weights)
        post.accept(event, fault, now)
        yield from post.due(now)
    yield from post.due(None)


class _Post:
    """Deliveries on their way. Each has a due time, counted in true events; equal ones leave in the order of coming."""

    def __init__(self, seed: int) -> None:
        self._luck = random.Random(f"{seed} post")
        self._on_the_way: list[tuple[int, int, Arrival]] = []
        self._count = itertools.count()
        self._newest: dict[tuple[str, ...], tuple[int, Document]] = {}
        self._kinds = deque(BROKEN)

    def due(self, now: int | None) -> Iterator[Arrival]:
        """Hands out what is due, or everything."""
        while self._on_the_way and (now is None or self._on_the_way[0][0] <= now):
            yield heapq.heappop(self._on_the_way)[2]

    def accept(self, event: Document, fault: str | None, now: int) -> None:
        """Sends one true event, and what its fault adds. A copy or a contradiction always leaves after the event."""
        if fault == "withdrawn":
            event = event | {"payload": None}
        if fault == "broken":
            self._send_broken(event, now)
        arrival = now + self._delay(fault)
        delayed = fault if fault in {"late", "reordered", "withdrawn"} else None
        self._send(arrival, Arrival(orjson.dumps(event), delayed, None, "appended", event))
        before = self._before(event, arrival)
        after = arrival + self._luck.randint(1, NEAR)
        if fault == "duplicated":
            self._send(after, Arrival(_respelt(event), fault, None, "duplicate", event))
        elif fault == "stale" and before is not None:
            arrived, older = before
            self._send(max(after, arrived + 1), Arrival(orjson.dumps(older), fault, None, "duplicate", older))
        elif fault == "conflicting" and event["payload"] is not None:
            other = contradicted(event)
            self._send(after, Arrival(orjson.dumps(other), fault, None, "conflict", other))

    def _send(self, due: int, delivery: Arrival) -> None:
        heapq.heappush(self._on_the_way, (due, next(self._count), delivery))

    def _delay(self, fault: str | None) -> int:
        if fault == "late":
            return self._luck.randint(NEAR, FAR)
        return self._luck.randint(1, NEAR) if fault == "reordered" else 0

    def _before(self, event: Document, arrival: int) -> tuple[int, Document] | None:
        """The stream's event before this one, and when it arrives."""
        stream = (event["sku"], event["channel"], event["type"], event["source"])
        before = self._newest.get(stream)
        self._newest[stream] = (arrival, event)
        return before

    def _send_broken(self, event: Document, now: int) -> None:
        """Spoils a copy in the way whose turn it is; a way that needs another domain keeps its turn."""
        for kind in tuple(self._kinds):
            line = BROKEN[kind](orjson.loads(orjson.dumps(event)))
            if line is not None:
                self._kinds.remove(kind)
                self._kinds.append(kind)
                self._send(now, Arrival(line, "broken", kind, "rejected", None))
                return


UNSAID: dict[str, Document] = {
    "catalog": {"family": None, "parent": None, "enabled": True},
    "pricing": {"compareAt": None, "tiers": []},
    "inventory": {"safetyStock": 0, "restockAt": None},
    "media": {},
}


def _respelt(event: Document) -> bytes:
    """The same event as another program would write it: keys sorted, spaces, escapes, and defaults said aloud.

    Its amounts have zeros that say nothing, and its locales are those of POSIX.
    """
    payload = event["payload"] and UNSAID[event["type"]] | event["payload"]
    if payload and "amount" in payload:
        payload |= {"amount": f"0{payload['amount']}00"}
    if payload and "localized" in payload:
        payload |= {"localized": {code: _in_posix(text) for code, text in payload["localized"].items()}}
    return json.dumps(event | {"payload": payload}, sort_keys=True).encode()


def _in_posix(text: Document) -> Document:
    """A text by locale, its keys written as `DE_DE.UTF-8`; and a translation that is none."""
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


def _says(event: Document, domain: str) -> bool:
    """Whether an event states something of a domain, and so has a payload to spoil."""
    return bool(event["type"] == domain and event["payload"] is not None)


def _with(**changes: object) -> Spoil:
    """Spoils fields of the event itself."""
    return lambda event: orjson.dumps(event | changes)


def _payload_with(domain: str, **changes: object) -> Spoil:
    """Spoils fields of the payload of one domain."""

    def spoil(event: Document) -> bytes | None:
        if not _says(event, domain):
            return None
        return orjson.dumps(event | {"payload": event["payload"] | changes})

    return spoil


def _without(field: str) -> Spoil:
    """Leaves a field out."""
    return lambda event: orjson.dumps({name: value for name, value in event.items() if name != field})


def _raw(field: str, value: bytes) -> Spoil:
    """Writes a field of the event as no encoder would."""
    return lambda event: orjson.dumps(event | {field: "?"}).replace(b'"?"', value, 1)


def _note(value: bytes) -> Spoil:
    """Hides raw JSON deep in a catalog payload, among the attributes, where anything goes that is JSON."""

    def spoil(event: Document) -> bytes | None:
        if not _says(event, "catalog"):
            return None
        event["payload"]["attributes"]["note"] = "?"
        return orjson.dumps(event).replace(b'"note":"?"', b'"note":' + value, 1)

    return spoil


def _sku(spelling: Callable[[str], str]) -> Spoil:
    """Spoils the SKU."""
    return lambda event: orjson.dumps(event | {"sku": spelling(event["sku"])})


def _float_money(event: Document) -> bytes | None:
    """The price itself, as a JSON number."""
    amount = float(event["payload"]["amount"]) if _says(event, "pricing") else None
    return _payload_with("pricing", amount=amount)(event)


def _wrong_currency(event: Document) -> bytes | None:
    """A price for one channel, in another currency than the channel's."""
    return _payload_with("pricing", currency="SEK")(event) if event["channel"] != "*" else None


def _foreign_domain(event: Document) -> bytes:
    """A source writes what was not given to it. It is known, and so is the domain."""
    return orjson.dumps(event | {"source": "pim" if event["source"] == "dam" else "dam"})


def _without_offset(event: Document) -> bytes:
    """A local time, of nobody knows where."""
    return orjson.dumps(event | {"occurredAt": event["occurredAt"][:19]})


def _truncated(event: Document) -> bytes:
    """The connection broke."""
    line = orjson.dumps(event)
    return line[: len(line) * 2 // 3]


def _key_twice(event: Document) -> bytes:
    """Two SKUs, and nobody can say which one is meant."""
    return b'{"sku":"ANOTHER-SKU",' + orjson.dumps(event)[1:]


def _payload_key_twice(event: Document) -> bytes | None:
    """Two stocks, and nobody can say which one is meant."""
    if not _says(event, "inventory"):
        return None
    return orjson.dumps(event).replace(b'"payload":{', b'"payload":{"available":1,', 1)


BROKEN: dict[str, Spoil] = {
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
    "locale that is none": _payload_with("media", assets=[{"url": "x", "alt": {"xx_1": "?"}}]),
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
    "moment without offset": _without_offset,
    "moment that never was": _with(occurredAt="2026-02-30T12:00:00Z"),
}
"""Every kind of line that must be rejected, by name."""
