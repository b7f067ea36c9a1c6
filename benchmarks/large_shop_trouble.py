"""What is wrong in a large shop: dead letters of many causes, and fields of records that have changed."""

import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import accumulate
from typing import NamedTuple

from pagefold.domains.values import format_timestamp
from pagefold.engine.events import Reference
from pagefold.engine.stores.dead_letter_records import REQUEST_PREFIX, Kind, NewDeadLetter
from pagefold.engine.stores.field_ledger import Sighting, Sightings

DAYS = 2
FAMILIES, FIELDS, ALERTS_EVERY = 4, 400, 8

_WORDS = ("colour", "size", "weight", "material", "origin", "season", "fit", "care", "brand", "label")


class Cause(NamedTuple):
    """What went wrong, with a place for what differs between letters."""

    kind: Kind
    domain: str
    source: str
    error: str


def causes() -> list[Cause]:
    """Forty causes: of prices that cannot be folded, conflicts, requests without a product, and what waits."""
    found: list[Cause] = []
    for word in _WORDS:
        found += [
            Cause("ingest", "catalog", "pim", f"attributes.{word}: version {{n}} is stored with other content"),
            Cause("projection", "pricing", "erp", f"payload.{word}: '{{n}},90' is not an amount"),
            Cause("ingest", "", "erp", f"items[{{n}}].{word}: expected `str`, got `int`"),
            Cause("waiting", "", "wms", f"no product has the {word} '{{n}}'"),
        ]
    return found


def dead_letters(skus: Sequence[str], number: int, until: datetime, *, decided: bool) -> Iterator[NewDeadLetter]:
    """This many dead letters of the last days: the first causes have most of them."""
    rng, known = random.Random(3 + decided), causes()
    weights = list(accumulate(1 / rank for rank in range(1, len(known) + 1)))
    step = timedelta(days=DAYS) / number
    for each, cause in enumerate(rng.choices(known, cum_weights=weights, k=number)):
        at = format_timestamp(until - (number - each) * step)
        yield _dead_letter(cause, skus[each % len(skus)], 2 * each + decided, at)


def _dead_letter(cause: Cause, sku: str, number: int, at: str) -> NewDeadLetter:
    domain = cause.domain or "inventory"
    payload = b'{"sku":"%s","currency":"EUR","amount":"%d,90"}' % (sku.encode(), number)
    state = b'{"id":"%032x","occurredAt":"%s","recordedAt":"%s","payload":%s}'
    of_event = bool(cause.domain)
    return NewDeadLetter(
        kind=cause.kind,
        domain=cause.domain,
        originator_id=f"{sku}/*/{domain}/{cause.source}" if of_event else f"{REQUEST_PREFIX}{cause.source}",
        originator_version=1_000 + number if of_event else 0,
        revision=0,
        digest=sha256(b"%d" % number).digest(),
        error=cause.error.replace("{n}", str(number)),
        state=state % (number, at.encode(), at.encode(), payload) if of_event else payload,
        recorded_at=at,
        via="" if of_event else "webhook",
        reference=Reference("gtin", str(number)) if cause.kind == "waiting" else None,
    )


def sightings(at: str) -> Sightings:
    """The fields of a source's records, some of them new."""
    families = [(f"family-{number}", 10_000) for number in range(FAMILIES)]
    fields = [
        Sighting(family, f"{_WORDS[number % 10]}.{number}", 9_000, 10_000, 1, number % ALERTS_EVERY != 0, "a value",
                 "new" if number % ALERTS_EVERY == 0 else None)
        for family, _ in families
        for number in range(FIELDS)
    ]  # fmt: skip
    return Sightings("pim", "pim-contract", at, families, fields, alert_type=False)
