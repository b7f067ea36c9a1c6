"""Error messages have no more of a request than the beginning of the invalid value."""

import json
from collections.abc import Iterator

import pytest

from pagefold import Config, Rejected
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.formats.request_parts import IgnoredMessage, RejectedPart
from pagefold.engine.intake.readers.webhooks import WebhookReader
from pagefold.engine.intake.statement import Statement
from tests.support.deliveries import found_in
from tests.support.small_shop import Document, document

WHO = "Erika Mustermann"
SAID = f"{WHO}, Heidestraße 17, 51147 Köln, geboren am 12. 8. 1983, Kundin seit 2001, erreichbar unter 0221 1234567"
PLACES = {
    "pricing": ["currency", "amount", "compareAt", "taxIncluded", "taxClass", "tiers", "customerGroups", "scheduled"],
    "catalog": ["family", "parent", "enabled", "localized", "categories", "attributes"],
    "inventory": ["available", "safetyStock", "backorderable", "restockAt"],
    "media": ["assets"],
}
PARTS = ["sku", "channel", "sourceVersion", "occurredAt", "id", "correlationId"]
NESTED: list[object] = [
    {"name": SAID},
    [SAID],
    {"de": {"x": SAID}},
    [{"url": SAID, "role": SAID, "position": SAID}],
    [{"minQuantity": SAID, "amount": SAID}],
]
VALUES: list[object] = [SAID, SAID * 50, *NESTED]


def reader_of(domain: str, contract: Document) -> tuple[WebhookReader, EventValidator]:
    """A source whose contract reads each field from a place of the same name."""
    parsed = document()
    webhook = {"secret_variables": ["S"], "contract": contract}
    parsed["sources"]["x"] = {"domains": [domain], "webhook": webhook}
    config = Config.parse(parsed)
    return WebhookReader(config, "x"), EventValidator(config)


def cases() -> Iterator[tuple[str, Document, str]]:
    """Every domain, its contract, and the place with the invalid value."""
    plain = {part: part for part in PARTS}
    for domain, places in PLACES.items():
        for place in places:
            yield domain, plain | {domain: {place: place}}, place
    for part in PARTS:
        yield "pricing", plain | {"pricing": {}}, part


def why_not(reader: WebhookReader, validator: EventValidator, body: bytes) -> str | None:
    """Why the part is rejected; None if it is an event, or ignored."""
    [found] = found_in(reader, body)
    if isinstance(found, RejectedPart):
        return str(found.rejection)
    if not isinstance(found, Statement):
        assert isinstance(found, IgnoredMessage)
        return found.reason
    try:
        validator.validate(found.event)
    except Rejected as refused:
        return str(refused)
    return None


@pytest.mark.parametrize(("domain", "contract", "place"), list(cases()))
def test_a_message_has_little_of_the_request(domain: str, contract: Document, place: str) -> None:
    """At most the beginning of a text, nothing of a nested value, and short however long the value is."""
    reader, validator = reader_of(domain, contract)
    said = {"sku": "A", "channel": "*", "sourceVersion": 1, "occurredAt": "2026-01-01T00:00:00Z"}
    for value in VALUES:
        message = why_not(reader, validator, json.dumps(said | {place: value}).encode())
        if message is not None:
            assert len(message) < 300, message
            assert SAID[:80] not in message
            assert value not in NESTED or WHO not in message, message


def test_a_key_is_shortened_as_well() -> None:
    """A repeated key, and an unknown one."""
    contract: Document = {**{part: part for part in PARTS}, "pricing": {"currency": "payload.currency"}}
    reader, validator = reader_of("pricing", contract)
    said = '"sku":"A","channel":"*","sourceVersion":1,"occurredAt":"2026-01-01T00:00:00Z"'
    for more in (f'"{SAID * 9}":1,"{SAID * 9}":2', f'"payload":{{"{SAID * 9}":1}}'):
        message = why_not(reader, validator, f"{{{said},{more}}}".encode())
        assert message is not None
        assert len(message) < 300
