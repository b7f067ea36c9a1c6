"""CloudEvents that are read by the contract of a source: each is a message, with its attributes and its data."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from functools import partial

import msgspec

from pagefold.domains.domain import DECODE_ERRORS
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import Rejected
from pagefold.engine.intake.contracts.source_contracts import notified_contract
from pagefold.engine.intake.fetch_rules import FetchRules, left_out
from pagefold.engine.intake.formats.header_filter import HeaderFilter
from pagefold.engine.intake.formats.json_bodies import documents_in, messages_in, read_document
from pagefold.engine.intake.formats.request_parts import MessagesBody, ReadPart, RejectedPart, RequestParts
from pagefold.engine.intake.readers.contract_parts import whole_parts

ENVELOPE = ("specversion", "type", "source", "id", "time", "subject", "datacontenttype", "dataschema", "data_base64")
"""The attributes of every event: those that a contract does not read are no news."""


class CloudEventMessageReader(HeaderFilter):
    """Reads the CloudEvents of one source: one, or an array. Each of them is a part."""

    def __init__(self, config: Config, source: str) -> None:
        self.contract = notified_contract(config, source, "cloudevents")
        if self.contract is not None:
            self.contract.fields.ignore(ENVELOPE)
        self._rules = FetchRules(config, source, "cloudevents")
        needed = frozenset() if self.contract is None else self.contract.headers
        super().__init__({}, f"sources.{source}.cloudevents", needed | self._rules.headers)

    def parse(self, body: bytes, facts: Mapping[str, object]) -> RequestParts:
        """A body, event by event."""
        together = None if self._rules else messages_in(body)
        if together is not None:
            texts = partial(_divisible, body)
            return RequestParts(body, len(together), lambda part: self._parts(together[part], facts), texts)
        found = documents_in(body)
        return RequestParts(body, len(found), lambda part: self._read(found[part], facts), partial(_divisible, body))

    def _read(self, text: bytes, facts: Mapping[str, object]) -> Sequence[ReadPart]:
        try:
            message = read_document(text)
            if self._rules and (found := self._fetches(text, message, facts)) is not None:
                return found
        except Rejected as rejection:
            return [RejectedPart(rejection.with_traceback(None))]
        return self._parts(message, facts)

    def _fetches(self, text: bytes, message: object, facts: Mapping[str, object]) -> Sequence[ReadPart] | None:
        """What is fetched because of an event; None if it is not a notification."""
        by_contract = None if self.contract is None else self._read_by_contract
        found = self._rules.parts(text, text, _with_data(message), facts, by_contract)
        return None if found is None else [each for part in found.read(0, found.parts) for each in part]

    def _read_by_contract(self, text: bytes, facts: Mapping[str, object]) -> Sequence[ReadPart]:
        return self._parts(read_document(text), facts)

    def _parts(self, message: object, facts: Mapping[str, object]) -> Sequence[ReadPart]:
        if self.contract is None:
            return [left_out()]
        try:
            return whole_parts(self.contract, _with_data(message), facts)
        except Rejected as rejection:
            return [RejectedPart(rejection.with_traceback(None))]


def _divisible(body: bytes) -> MessagesBody:
    return MessagesBody(documents_in(body), lines=False)


def _with_data(message: object) -> object:
    """The event, with its data in `data` if it came in base64 and is JSON. Raises `Rejected` if the JSON is wrong."""
    if not isinstance(message, dict) or "data" in message or not isinstance(message.get("data_base64"), str):
        return message
    try:
        text = base64.b64decode(message["data_base64"], validate=True)
        msgspec.json.decode(text, type=msgspec.Raw)
    except (binascii.Error, ValueError, *DECODE_ERRORS):
        return message  # it is not JSON: the contract has the attributes
    return {**message, "data": read_document(text)}
