"""Records of a snapshot that were kept because they had to wait: read again by the contract of the snapshot."""

from collections.abc import Mapping
from datetime import UTC, datetime

from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import Rejected
from pagefold.engine.intake.contracts.source_contracts import required_contract
from pagefold.engine.intake.formats.header_filter import HeaderFilter
from pagefold.engine.intake.formats.json_bodies import read_document
from pagefold.engine.intake.formats.request_parts import RequestParts
from pagefold.engine.intake.readers.contract_parts import MessageReader

_ANY = datetime(1970, 1, 1, tzinfo=UTC)
"""When changes are asked for decides nothing about the contract that reads them."""


class SnapshotRecordReader(HeaderFilter):
    """Reads the records of a source's snapshot, or of its delta, one by one. Raises `ConfigurationError`."""

    def __init__(self, config: Config, source: str, *, of_delta: bool = False) -> None:
        config = config.asking_since(source, _ANY) if of_delta else config
        self.contract = required_contract(config, source, "snapshot")
        super().__init__({}, f"sources.{source}.snapshot", self.contract.headers)
        self._messages = MessageReader(self.contract)

    def parse(self, body: bytes, facts: Mapping[str, object]) -> RequestParts:
        """A record, or a message that has it alone."""
        try:
            message = read_document(body)
        except Rejected as rejection:
            return RequestParts.unreadable(body, rejection)
        return self._messages.parts(body, body, message, facts)
