"""Webhooks of any JSON form: the contract of the source says what their bodies say.

If a body has several items, each is a part of the request: it may make several statements, or none. Requests that
`only_headers` excludes are not read; what the contract's `only` excludes, and what is for other channels, is ignored.
"""

from codecs import BOM_UTF8
from collections.abc import Mapping

from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import Rejected
from pagefold.engine.intake.contracts.source_contracts import required_contract
from pagefold.engine.intake.formats.header_filter import HeaderFilter
from pagefold.engine.intake.formats.json_bodies import read_document
from pagefold.engine.intake.formats.request_parts import RequestParts
from pagefold.engine.intake.formats.webhook_signatures import webhook_settings
from pagefold.engine.intake.readers.contract_parts import MessageReader


class WebhookReader(HeaderFilter):
    """Reads the requests of one source. Raises `ConfigurationError` for a contract that cannot work."""

    def __init__(self, config: Config, source: str) -> None:
        settings = webhook_settings(config, source)
        self.contract = required_contract(config, source, "webhook")
        super().__init__(settings.headers_of, f"sources.{source}.webhook", self.contract.headers)
        self._messages = MessageReader(self.contract)

    def parse(self, body: bytes, facts: Mapping[str, object]) -> RequestParts:
        """A request, item by item. `facts` are those of its delivery."""
        text = body.removeprefix(BOM_UTF8)
        try:
            message = read_document(text)
        except Rejected as rejection:
            return RequestParts.unreadable(body, rejection)
        return self._messages.parts(body, text, message, facts)
