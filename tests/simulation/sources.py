"""The systems that own the facts of a simulated shop: their states, and the events that they send."""

import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeAlias

Document: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[str, str, str, str]
"""The scope of a version: SKU, channel, domain, source."""

SOURCES: dict[str, str] = {
    "pim": "catalog",
    "editors": "catalog",
    "erp": "pricing",
    "wms-a": "inventory",
    "wms-b": "inventory",
    "dam": "media",
}
CHANNELS: dict[str, Document] = {
    "web-de": {
        "locale": "de-DE",
        "fallbacks": ["en"],
        "currency": "EUR",
        "requires": ["catalog", "pricing", "inventory"],
    },
    "market-at": {
        "locale": "de-AT",
        "fallbacks": ["de-DE", "en"],
        "currency": "EUR",
        "requires": ["catalog", "pricing"],
        "sources": {"inventory": ["wms-b"], "catalog": ["editors", "pim"]},
    },
    "web-us": {"locale": "en-US", "currency": "USD", "requires": ["catalog", "media"], "sources": {"media": ["dam"]}},
}
SKUS = ("A", "A-1", "B/7", "Ä 9", "TSHIRT-M", "Z%2F")
WORDS = ("Hemd", "Hose", "shirt", "Grün", "", "  ", 'a"b')


class Fact(NamedTuple):
    """The current state of one stream of a source. `epoch` is the one in its events, None for none."""

    version: int
    occurred_at: datetime
    payload: Document | None
    epoch: int | None = None


class Sent(NamedTuple):
    """An event in transit, and whether it must be rejected."""

    event: Document
    refused: bool = False


class Sources:
    """The current state of all sources, in `facts`, and their events.

    Most events arrive. Some arrive twice, late, or never; some are invalid, some conflict with earlier ones, and
    some repeat them. `naming` are sources whose events carry epochs. With `families`, many products have parents, from
    which those of the source `pim` inherit.
    """

    def __init__(self, luck: random.Random, wall: Callable[[], datetime], *, families: bool = False) -> None:
        self._luck = luck
        self._wall = wall
        self._families = families
        self.inheriting = frozenset(["pim"] if families else [])
        self._skew = {source: timedelta(seconds=luck.choice([0, 0, 0, -2, 3])) for source in SOURCES}
        self.facts: dict[Key, Fact] = {}
        self._versions: dict[Key, int] = {}
        self._epochs: dict[Key, int] = {}
        self.naming = frozenset(source for source in SOURCES if luck.random() < 0.12)
        self._speaking = tuple(luck.sample(tuple(SOURCES), luck.choice([1, 2, 6, 6, 6, 6])))
        self.sending_again = luck.choice([0.0, 0.0, 0.1])
        self.skus = luck.sample(SKUS, luck.randint(2, len(SKUS)))
        self.broken = luck.choice([0.0, 0.04])
        self.contradicting = luck.choice([0.0, 0.0, 0.05])
        self.lost = luck.choice([0.0, 0.05, 0.2])
        self.repeated = luck.choice([0.0, 0.1, 0.4])
        self.unordered = luck.choice([0, 3, 30])

    def traffic(self, number: int) -> list[Sent]:
        """That many changes, as they arrive."""
        sent: list[tuple[float, Sent]] = []
        for place in range(number):
            if self._luck.random() < self.broken:
                sent.append((place, Sent(self._broken(), refused=True)))
                continue
            event = self.send_again() if self._luck.random() < self.sending_again else self.change()
            if self._luck.random() < self.lost:
                continue
            sent.append((place + self._luck.random() * self.unordered, Sent(event)))
            if self._luck.random() < self.repeated:
                sent.append((place + self._luck.random() * 40, Sent(dict(event))))
            if self._luck.random() < self.contradicting:
                sent.append((place + self._luck.random() * 10, Sent(self._contradiction(event))))
        sent.sort(key=lambda each: each[0])
        return [each for _, each in sent]

    def change(self) -> Document:
        """Changes a fact of a source."""
        luck = self._luck
        source = luck.choice(self._speaking)
        domain = SOURCES[source]
        channel = luck.choice(["*", "*", "*", *CHANNELS])
        key = (luck.choice(self.skus), channel, domain, source)
        before = self._versions.get(key)
        if key not in self.facts and luck.random() < 0.5:  # a record that is created again starts over
            before = None
            self._begin_epoch(key)
        version = luck.choice([0, 1, 1, 7]) if before is None else before + luck.choice([1, 1, 2, 10])
        self._versions[key] = version
        payload = None if luck.random() < 0.08 else self._payload(domain, channel, key[0])
        self.facts[key] = Fact(version, self.now(source), payload, self._epoch(key))
        return self.event(key)

    def send_again(self) -> Document:
        """A source sends a state again, at the same version, perhaps as if it were new."""
        if not self.facts:
            return self.change()
        key = self._luck.choice(sorted(self.facts))
        if self._luck.random() < 0.5:
            self.facts[key] = self.facts[key]._replace(occurred_at=self.now(key[3]))
        return self.event(key)

    def restart(self, source: str) -> None:
        """Restarts the counters of a source; one that sends epochs starts the next."""
        for key in sorted(key for key in self._versions if key[3] == source):
            self._versions[key] = self._luck.choice([0, 1, 2])
            self._begin_epoch(key)
            if key in self.facts:
                self.facts[key] = self.facts[key]._replace(version=self._versions[key], epoch=self._epoch(key))

    def _begin_epoch(self, key: Key) -> None:
        if key in self._versions:
            self._epochs[key] = self._epochs.get(key, 0) + 1

    def _epoch(self, key: Key) -> int | None:
        return self._epochs.get(key, 0) if key[3] in self.naming else None

    def event(self, key: Key) -> Document:
        """The state of a stream, as an event."""
        sku, channel, domain, source = key
        version, occurred_at, payload, epoch = self.facts[key]
        named = {} if epoch is None else {"epoch": epoch}
        return {
            "type": domain,
            "sku": sku,
            "channel": channel,
            "source": source,
            "sourceVersion": version,
            "occurredAt": in_text(occurred_at),
            "payload": payload,
        } | named

    def now(self, source: str) -> datetime:
        """The source's clock."""
        return self._wall() + self._skew[source]

    def forget(self) -> None:
        """A source deletes a record without an event."""
        if self.facts:
            del self.facts[self._luck.choice(sorted(self.facts))]

    def of(self, source: str) -> Iterator[Key]:
        """The streams of a source, in order."""
        return iter(sorted(key for key in self.facts if key[3] == source))

    # --- content of events

    def _payload(self, domain: str, channel: str, sku: str) -> Document:
        makers = {"inventory": self._stock, "media": self._media}
        if domain == "catalog":
            return self._catalog() | self._parent(sku)
        return self._price(channel) if domain == "pricing" else makers[domain]()

    def _parent(self, sku: str) -> Document:
        """One of the first two products: a chain ends after two parents, and has no cycle."""
        above = self.skus[: min(self.skus.index(sku), 2)] if self._families else []
        return {"parent": self._luck.choice(above)} if above and self._luck.random() < 0.7 else {}

    def _catalog(self) -> Document:
        luck = self._luck
        payload: Document = {"attributes": {"size": luck.choice("SML"), "weight": luck.choice([1, 0.5, None])}}
        if luck.random() < 0.7:
            payload["localized"] = {"name": self._texts(), "claim": self._texts()}
        if luck.random() < 0.3:
            payload |= {"categories": ["women/tops", "new"], "family": luck.choice(["tshirt", None])}
        if luck.random() < 0.1:
            payload["enabled"] = luck.random() < 0.3
        return payload

    def _texts(self) -> Document:
        locales = self._luck.sample(["de", "de-AT", "en", "en_us", "FR"], self._luck.randint(0, 3))
        return {locale: self._luck.choice(WORDS) for locale in locales}

    def _price(self, channel: str) -> Document:
        luck = self._luck
        currency = CHANNELS[channel]["currency"] if channel in CHANNELS else luck.choice(["EUR", "EUR", "USD"])
        payload: Document = {"currency": currency, "amount": luck.choice(["9.99", "19.90", "019.9000", "24", "0.5"])}
        if luck.random() < 0.2:
            payload["tiers"] = [{"minQuantity": luck.randint(1, 9), "amount": "8.50"}]
        if luck.random() < 0.2:
            payload |= {"compareAt": "30.00", "taxIncluded": luck.choice([True, False, None])}
        if luck.random() < 0.1:
            payload["scheduled"] = [{"amount": "7.00", "from": "2026-03-01T10:00:00+01:00", "until": None}]
        return payload

    def _stock(self) -> Document:
        luck = self._luck
        payload: Document = {"available": luck.choice([*range(-2, 10), None])}
        if luck.random() < 0.3:
            payload["safetyStock"] = luck.randint(0, 4)
        if luck.random() < 0.2:
            payload |= {"backorderable": luck.random() < 0.7, "restockAt": f"2026-04-0{luck.randint(1, 9)}T00:00:00Z"}
        return payload

    def _media(self) -> Document:
        luck = self._luck
        return {
            "assets": [
                {
                    "url": f"m.example/{luck.randint(1, 3)}.webp",
                    "position": luck.choice([0, 0, 1]),
                    "role": role,
                }
                | ({"alt": self._texts()} if luck.random() < 0.3 else {})
                for role in luck.sample(["front", "back", "zoom"], luck.randint(0, 3))
            ]
        }

    # --- invalid events

    def _broken(self) -> Document:
        luck = self._luck
        event: Document = {
            "type": "pricing",
            "sku": luck.choice(self.skus),
            "channel": "*",
            "source": "erp",
            "sourceVersion": 1,
            "occurredAt": in_text(self._wall()),
            "payload": {"currency": "EUR", "amount": "1.00"},
        }
        wrong: list[Document] = [
            {"source": "nobody"},
            {"type": "catalog"},
            {"channel": "web-mars"},
            {"channel": "web-us"},
            {"payload": {"currency": "EUR", "amount": "-1"}},
            {"sku": " A"},
            {"epoch": 1_024},
        ]
        return event | luck.choice(wrong)

    def _contradiction(self, event: Document) -> Document:
        """Other content at the same version."""
        other = None if event["payload"] is not None and self._luck.random() < 0.2 else self._other(event)
        return event | {"payload": other}

    def _other(self, event: Document) -> Document:
        return self._payload(event["type"], event["channel"], event["sku"])


def in_text(moment: datetime) -> str:
    """As RFC 3339."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
