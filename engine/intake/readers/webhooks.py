"""Webhooks of any JSON form: the contract of the source says what their bodies say.

If a body has several items, each is a part of the request: it may make several statements, or none. Requests that
`only_headers` excludes are not read; what the contract's `only` excludes, and what is for other channels, is ignored.
What has only the id of a record, which a `fetch` counts for, is not read by the contract.
"""

from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence

from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import Rejected
from pagefold.engine.intake.contracts.source_contracts import notified_contract
from pagefold.engine.intake.fetch_rules import FetchRules, left_out
from pagefold.engine.intake.formats.envelopes import enveloped, opened
from pagefold.engine.intake.formats.header_filter import HeaderFilter
from pagefold.engine.intake.formats.json_bodies import read_document
from pagefold.engine.intake.formats.request_parts import ReadPart, RequestParts
from pagefold.engine.intake.formats.webhook_signatures import webhook_settings
from pagefold.engine.intake.readers.contract_parts import MessageReader, whole_parts


class WebhookReader(HeaderFilter):
    """Reads the requests of one source. Raises `ConfigurationError` for a contract that cannot work."""

    def __init__(self, config: Config, source: str) -> None:
        settings = webhook_settings(config, source)
        self.contract = notified_contract(config, source, "webhook")
        self._rules = FetchRules(config, source, "webhook")
        self._place = settings.message_place
        needed = frozenset() if self.contract is None else self.contract.headers
        super().__init__(settings.headers_of, f"sources.{source}.webhook", needed | self._rules.headers)
        self._messages = None if self.contract is None else MessageReader(self.contract)

    def parse(self, body: bytes, facts: Mapping[str, object]) -> RequestParts:
        """A request, item by item. `facts` are those of its delivery. What is around its message is taken off."""
        request = body.removeprefix(BOM_UTF8)
        try:
            message = read_document(request)
            if self._place is None:
                return self._parts(body, request, message, facts)
            text = opened(message, self._place).removeprefix(BOM_UTF8)
            parts = self._parts(body, text, read_document(text), facts)
        except Rejected as rejection:
            return RequestParts.unreadable(body, rejection)
        return enveloped(parts, request, self._place)

    def _parts(self, body: bytes, text: bytes, message: object, facts: Mapping[str, object]) -> RequestParts:
        by_contract = None if self._messages is None else self._read_by_contract
        if self._rules and (found := self._rules.parts(body, text, message, facts, by_contract)) is not None:
            return found
        if self._messages is None:
            return RequestParts(body, 1, lambda _: [left_out()])
        return self._messages.parts(body, text, message, facts)

    def _read_by_contract(self, text: bytes, facts: Mapping[str, object]) -> Sequence[ReadPart]:
        """What the contract makes of a message beside those that are fetched."""
        return () if self.contract is None else whole_parts(self.contract, read_document(text), facts)
