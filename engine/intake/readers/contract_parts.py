"""What a contract makes of the parts of a request: statements, and why others are ignored or kept."""

from collections.abc import Mapping, Sequence
from functools import partial

from pagefold.engine.errors import Rejected
from pagefold.engine.intake.contracts.contract import MAX_ELEMENTS, Contract
from pagefold.engine.intake.contracts.reading import Reading
from pagefold.engine.intake.contracts.statement_mapping import Unsent, no_paths
from pagefold.engine.intake.formats.request_parts import (
    IgnoredMessage,
    ItemsBody,
    ReadPart,
    RejectedPart,
    RequestParts,
    part_size_error,
)
from pagefold.projections.transforms.paths import path_names


def read_parts(contract: Contract, reading: Reading) -> Sequence[ReadPart]:
    """What was made of a part. What does not count is ignored, and what was refused is rejected."""
    if reading.is_plain:
        return reading.statements
    found: list[ReadPart] = [*reading.statements]
    found += [RejectedPart(contract.rejection(refusal), refusal.event) for refusal in reading.refusals]
    found += [left_out(contract)] * reading.left_out
    for name, number in reading.channels.items():
        found += [unknown_channel(name)] * number
    return [*found, *reading.wholes]


def unknown_channel(name: str) -> IgnoredMessage:
    """What is ignored because it is of another shop's channel."""
    return IgnoredMessage("channel", f"{name!r:.50} is not a channel of the configuration")


def left_out(contract: Contract) -> IgnoredMessage:
    """What is ignored because its values do not count."""
    return IgnoredMessage(
        "filter", f"its values are not among those that `only` of the contract {contract.identity} has"
    )


def whole_parts(
    contract: Contract, message: object, facts: Mapping[str, object], unsent: Unsent = no_paths
) -> Sequence[ReadPart]:
    """What was made of a message that is one part, with all of its items."""
    if contract.items and contract.counts(message, facts):
        if not contract.has_items(message):
            return [RejectedPart(_without_items(contract))]
        if (number := len(list(contract.records(message)))) > MAX_ELEMENTS:
            return [RejectedPart(Rejected("", f"has {number:,} items; at most {MAX_ELEMENTS:,} are allowed"))]
    return read_parts(contract, contract.read(message, facts=facts, unsent=unsent))


def _without_items(contract: Contract) -> Rejected:
    return Rejected("", f"there is no array or object at {' or '.join(map(repr, contract.items))}")


class MessageReader:
    """Reads JSON messages by a contract, item by item."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self._paths = [(path,) if contract.form == "columns" else path_names(path, "items") for path in contract.items]
        self._is_divisible = bool(self._paths) and not self._is_read_twice()

    def _is_read_twice(self) -> bool:
        """Whether a path from the root has items below it, or is below them: they cannot be separated then."""
        columns = self.contract.form == "columns"
        others = [(path,) if columns else path_names(path, "") for path in self.contract.paths | self.contract.lists]
        return any(
            other[: len(path)] == path or path[: len(other)] == other
            for number, path in enumerate(self._paths)
            for other in (*others, *self._paths[:number])
        )

    def parts(self, body: bytes, text: bytes, message: object, facts: Mapping[str, object]) -> RequestParts:
        """A message, item by item. `text` is that of the message, `body` the whole request.

        Without items in the contract, the message is one part. An empty array has no items, which is no error.
        """
        contract = self.contract
        if contract.join is not None:
            return RequestParts(body, 1, lambda _: whole_parts(contract, message, facts))
        if not contract.counts(message, facts):
            return RequestParts(body, 1, lambda _: [left_out(contract)])
        if not self._paths:
            return RequestParts(body, 1, lambda _: self._read(message, facts))
        if not contract.has_items(message):
            return RequestParts.unreadable(body, _without_items(contract))
        records = list(contract.records(message))
        if (size_error := part_size_error(len(records), text)) is not None:
            return RequestParts.unreadable(body, size_error)
        inside = partial(ItemsBody, text, self._paths) if self._is_divisible else None
        return RequestParts(body, len(records), lambda part: self._read(records[part], facts), inside)

    def _read(self, record: object, facts: Mapping[str, object]) -> Sequence[ReadPart]:
        reading = Reading()
        self.contract.read_record(record, reading, facts)
        return read_parts(self.contract, reading)
