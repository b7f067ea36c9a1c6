"""Records that were fetched, read by the contract of the fetch; and notifications that are the records of a delta."""

from collections.abc import Mapping, Sequence
from functools import partial

from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import Rejected
from pagefold.engine.intake.contracts.source_contracts import fetch_contract
from pagefold.engine.intake.fetch_rules import FetchRules, left_out
from pagefold.engine.intake.formats.header_filter import HeaderFilter
from pagefold.engine.intake.formats.json_bodies import documents_in, read_document
from pagefold.engine.intake.formats.request_parts import MessagesBody, ReadPart, RejectedPart, RequestParts
from pagefold.engine.intake.readers.contract_parts import MessageReader, whole_parts

DELTA = "delta"


class FetchedRecordReader(HeaderFilter):
    """Reads what the fetch of a rule answers: a record, an array of them, or records that are joined.

    Raises `ConfigurationError`.
    """

    def __init__(self, config: Config, source: str, rule: str) -> None:
        self.contract = fetch_contract(config, source, rule)
        super().__init__({}, f"sources.{source}.{rule}", self.contract.headers)
        self._messages = MessageReader(self.contract)

    def parse(self, body: bytes, facts: Mapping[str, object]) -> RequestParts:
        """The records, one by one; the items of one that is alone."""
        try:
            found = read_document(body)
        except Rejected as rejection:
            return RequestParts.unreadable(body, rejection)
        if not isinstance(found, list) or self.contract.join is not None:
            return self._messages.parts(body, body, found, facts)
        texts = partial(_divisible, body)
        return RequestParts(body, len(found), lambda part: whole_parts(self.contract, found[part], facts), texts)


class DeltaNotificationReader(HeaderFilter):
    """Reads the records of a delta as notifications. Raises `ConfigurationError`."""

    contract = None

    def __init__(self, config: Config, source: str) -> None:
        self._rules = FetchRules(config, source, DELTA)
        super().__init__({}, f"sources.{source}.delta.fetch", self._rules.headers)

    def parse(self, body: bytes, facts: Mapping[str, object]) -> RequestParts:
        """A record, or an array of them; one that makes no fetch is ignored."""
        texts = documents_in(body)
        read = partial(self._read, texts, facts)
        return RequestParts(body, len(texts), read, lambda: MessagesBody(texts, lines=False))

    def _read(self, texts: Sequence[bytes], facts: Mapping[str, object], part: int) -> Sequence[ReadPart]:
        text = texts[part]
        try:
            found = self._rules.parts(text, text, read_document(text), facts, None)
        except Rejected as rejection:
            return [RejectedPart(rejection.with_traceback(None))]
        return [left_out()] if found is None else found.read(0, 1)[0]


def _divisible(body: bytes) -> MessagesBody:
    return MessagesBody(documents_in(body), lines=False)
