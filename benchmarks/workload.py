"""The workload: a shop of 20,000 SKUs on four channels, in three locales and two currencies, and its stream of changes.

Popularity follows Zipf's law: the SKU at rank r has a share proportional to 1/r. Of the changes, 15 % are catalog (0.9
to 1.3 KB of payload), 35 % pricing (0.3 to 0.5 KB), 45 % inventory (some 0.1 KB) and 5 % media (0.6 to 1.3 KB); the log
adds some 150 bytes to each. Every change has new content and the next version. Everything is derived from the seed.
Making the changes is never part of a measurement.
"""

import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from pagefold import Config, DomainEvent
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.stores.event_state import EncodedEvent

SKUS = 20_000
BATCH = 5_000
"""Events per append of Pagefold, the baseline and the library."""

CHANNELS: Mapping[str, Mapping[str, object]] = {
    "marketplace-de": {"locale": "de-DE", "currency": "EUR", "sources": {"inventory": ["wms-berlin"]}},
    "web-de": {"locale": "de-DE", "currency": "EUR", "sources": {"inventory": ["wms-berlin", "wms-reno"]}},
    "web-fr": {"locale": "fr-FR", "currency": "EUR", "sources": {"inventory": ["wms-berlin", "wms-reno"]}},
    "web-us": {"locale": "en-US", "currency": "USD", "sources": {"inventory": ["wms-berlin", "wms-reno"]}},
}

SOURCES: Mapping[str, str] = {
    "pim": "catalog",
    "erp": "pricing",
    "wms-berlin": "inventory",
    "wms-reno": "inventory",
    "dam": "media",
}

BEGINS = datetime(2026, 1, 12, 6, 0, tzinfo=UTC)
RECORDED_AT = "2026-01-12T06:00:00.000000Z"
"""The time of recording of all events that are appended before the clock starts."""

SHARES = {"catalog": 15, "pricing": 35, "inventory": 45, "media": 5}

_WORDS = (
    "Baumwolle", "Leinen", "Merinowolle", "Steinzeug", "Bienenwachs", "Marineblau", "Olivgrün", "Rostrot", "gewebt",
    "handgefertigt", "nachhaltig", "waschbar", "weich", "robust", "zeitlos", "leicht", "warm", "gestrickt", "gefärbt",
    "geprüft", "Porto", "Lübeck", "Nîmes", "Kraków",
)  # fmt: skip


def config(
    store: str,
    prices: Path | None = None,
    *,
    channels: int = len(CHANNELS),
    sources: int = len(SOURCES),
    shown: Mapping[str, object] = MappingProxyType({}),
) -> Config:
    """The shop's configuration, with its store at a URL, and a file for the ERP's snapshot.

    More channels are like the first ones, under other names. More sources are of the same domains, and send nothing.
    `shown` is what each channel says besides, such as its contract.
    """
    return Config.parse(_document(store, prices, channels, sources, shown), store=store)


def _document(
    store: str, prices: Path | None, channels: int, sources: int, shown: Mapping[str, object]
) -> dict[str, object]:
    named = {
        f"{name}-{number // len(CHANNELS)}" if number >= len(CHANNELS) else name: {
            "fallbacks": ["en"],
            "requires": ["catalog", "pricing", "inventory"],
            **channel,
            **shown,
        }
        for number, (name, channel) in zip(range(channels), itertools.cycle(CHANNELS.items()), strict=False)
    }
    known: dict[str, dict[str, object]] = {
        f"{name}-{number // len(SOURCES)}" if number >= len(SOURCES) else name: {"domains": [domain]}
        for number, (name, domain) in zip(range(sources), itertools.cycle(SOURCES.items()), strict=False)
    }
    if prices is not None:
        known["erp"]["snapshot"] = {"file": str(prices)}
    return {"store": {"url": store}, "sources": known, "channels": named}


def sku_of(number: int) -> str:
    """A SKU of realistic length."""
    return f"HF-{number % 97:02d}-{number:06d}-{('NAVY', 'OLIVE', 'RUST', 'SAND')[number % 4]}-M"


class Workload:
    """An endless stream of changes. The same seed gives the same stream."""

    def __init__(self, seed: int = 7, skus: int = SKUS) -> None:
        self._rng = random.Random(seed)
        self._skus = [sku_of(number) for number in self._rng.sample(range(skus), skus)]
        self._popularity = list(itertools.accumulate(1 / rank for rank in range(1, skus + 1)))
        self._versions: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self._phrases = [" ".join(self._rng.choices(_WORDS, k=12)) for _ in range(256)]
        self._now = BEGINS
        self._makers: Mapping[str, Callable[[int], tuple[str, str, str]]] = {
            "catalog": self._catalog,
            "pricing": self._pricing,
            "inventory": self._inventory,
            "media": self._media,
        }

    def batches(self, count: int, size: int = BATCH) -> Iterator[list[DomainEvent]]:
        """The next `count` changes, in lists of `size`."""
        for start in range(0, count, size):
            yield self.take(min(size, count - start))

    def take(self, count: int) -> list[DomainEvent]:
        """The next changes."""
        domains = self._rng.choices(tuple(SHARES), weights=tuple(SHARES.values()), k=count)
        skus = self._rng.choices(self._skus, cum_weights=self._popularity, k=count)
        return [self._event(domain, sku) for domain, sku in zip(domains, skus, strict=True)]

    def keys(self, count: int) -> list[tuple[str, str]]:
        """Keys of pages to read; hot ones occur more often."""
        skus = self._rng.choices(self._skus, cum_weights=self._popularity, k=count)
        channels = self._rng.choices(tuple(CHANNELS), k=count)
        return list(zip(skus, channels, strict=True))

    def _event(self, domain: str, sku: str) -> DomainEvent:
        self._now += timedelta(milliseconds=2)
        source, channel, payload = self._makers[domain](self._rng.randrange(1 << 30))
        self._versions[sku, channel, source] += 1
        return DomainEvent(
            type=domain,
            sku=sku,
            channel=channel,
            source=source,
            source_version=self._versions[sku, channel, source],
            occurred_at=self._now,
            payload=payload.encode(),
        )

    def _catalog(self, chance: int) -> tuple[str, str, str]:
        """A catalog payload: a dozen attributes and two localized texts."""
        phrase, other = self._phrases[chance % 256], self._phrases[chance // 256 % 256]
        attributes = ",".join(f'"feature{number}":"{phrase[number * 4 :][: 48 + chance % 24]}"' for number in range(9))
        texts = ",".join(
            f'"{code}":{{"de":"{other[:length]}","en":"{phrase[:length]}","fr":"{other[-length:]}"}}'
            for code, length in (("claim", 30), ("name", 24))
        )
        number = f'"weight":{{"unit":"g","value":{chance % 4000}}},"edition":{chance}'
        place = f'"categories":["home/textiles","models/m{chance % 500}"],"parent":"HF-{chance % 900:03d}"'
        payload = f'{{"attributes":{{{attributes},{number}}},{place},"family":"textiles","localized":{{{texts}}}}}'
        return "pim", "*", payload

    def _pricing(self, chance: int) -> tuple[str, str, str]:
        """A pricing payload: two in ten changes are of the dollar price, which applies to one channel."""
        dollars = chance % 10 < 2
        cents = 500 + chance % 40_000
        tiers = ",".join(
            f'{{"minQuantity":{6 * step},"amount":"{cents * (100 - 5 * step) // 100 / 100:.2f}"}}'
            for step in (1, 2, 3, 4)
        )
        scheduled = ""
        if chance % 3 == 0:
            sale = f'"amount":"{cents * 0.008:.2f}","from":"2026-02-01T00:00:00Z","until":"2026-02-08T00:00:00Z"'
            scheduled = f',"scheduled":[{{{sale}}}]'
        groups = ",".join(f'"{group}":"{cents * share:.2f}"' for group, share in (("staff", 0.006), ("trade", 0.0072)))
        price = f'"currency":"{"USD" if dollars else "EUR"}","amount":"{cents / 100:.2f}","taxIncluded":true'
        rest = f'"taxClass":"standard","customerGroups":{{{groups}}},"tiers":[{tiers}]{scheduled}'
        return "erp", "web-us" if dollars else "*", f"{{{price},{rest}}}"

    def _inventory(self, chance: int) -> tuple[str, str, str]:
        """An inventory payload of one of two warehouses."""
        source = "wms-berlin" if chance % 5 < 3 else "wms-reno"
        soon = f',"restockAt":"2026-03-{chance % 28 + 1:02d}T08:00:00Z"' if chance % 8 == 0 else ""
        return source, "*", f'{{"available":{chance % 5000},"safetyStock":3,"backorderable":true{soon}}}'

    def _media(self, chance: int) -> tuple[str, str, str]:
        """A media payload: pictures, the first with an alternative text in every language."""
        phrase = self._phrases[chance % 256]
        alt = f'{{"de":"{phrase[:30]}","en":"{phrase[10:40]}","fr":"{phrase[20:50]}"}}'
        assets = ",".join(
            f'{{"url":"https://media.example/{chance:010d}/{number}.webp","role":"detail","position":{number},'
            f'"width":1600,"height":2000,"mimeType":"image/webp"}}'
            for number in range(1, 4 + chance % 5)
        )
        main = f'{{"url":"https://media.example/{chance:010d}/0.webp","role":"main","alt":{alt}}}'
        return "dam", "*", f'{{"assets":[{main},{assets}]}}'


def encode_events(validator: EventValidator, events: Sequence[DomainEvent]) -> list[EncodedEvent]:
    """The events as the log stores them, for baselines and for filling logs."""
    return [validator.encode(event, RECORDED_AT, f"{number:032x}") for number, event in enumerate(events)]
