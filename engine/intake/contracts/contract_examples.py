"""The examples that a contract carries: what it must make of a message."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from pagefold.engine.events import DomainEvent, ReferencedEvent
from pagefold.engine.intake.canonical_payloads import canonical_payload
from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.contracts.contract_head import ContractExample
from pagefold.projections.contract_examples import FailedExample

_MOMENT = "2026-01-01T00:00:00Z"
EXAMPLE_FACTS = {"@lsn": 1, "@committed": _MOMENT, "@taken": _MOMENT, "@received": _MOMENT}
"""The facts of the deliveries of examples."""

_NAMES = {"source_version": "sourceVersion", "occurred_at": "occurredAt", "correlation_id": "correlationId"}


def failed_examples(contract: Contract) -> Iterator[FailedExample]:
    """The examples of a contract that fail. Of each statement, only the fields that the example names are compared."""
    for number, example in enumerate(contract.head.examples, start=1):
        found = _made(contract, example)
        if not _agree(example.out, found):
            yield FailedExample(number, example.out, found)


def _made(contract: Contract, example: ContractExample) -> list[dict[str, object]]:
    reading = contract.read(example.in_, facts=EXAMPLE_FACTS)
    refused: list[dict[str, object]] = [
        {"type": refusal.domain, "refused": str(refusal.error)} for refusal in reading.refusals
    ]
    return [*map(_document, reading.events), *refused]


def _document(event: DomainEvent) -> dict[str, object]:
    document = {_NAMES.get(name, name): value for name, value in msgspec.to_builtins(event).items()}
    if isinstance(event, ReferencedEvent):
        del document["sku"]
        document["reference"] = event.reference._asdict()
    payload = event.payload
    stored = canonical_payload(event.type, payload) if isinstance(payload, bytes) else b"null"
    document["payload"] = msgspec.json.decode(stored)
    if payload is None:
        document["withdrawn"] = True
    return {name: value for name, value in document.items() if value is not None or name == "payload"}


def _agree(expected: Sequence[Mapping[str, object]], found: Sequence[Mapping[str, object]]) -> bool:
    return len(expected) == len(found) and all(
        all(name in made and made[name] == _stored(made, name, value) for name, value in wanted.items())
        for wanted, made in zip(expected, found, strict=True)
    )


def _stored(made: Mapping[str, object], name: str, value: object) -> object:
    """What an example expects; of a payload, as it would be stored."""
    if name != "payload" or not isinstance(value, dict):
        return value
    stored: object = msgspec.json.decode(canonical_payload(str(made.get("type")), msgspec.json.encode(value)))
    return stored
