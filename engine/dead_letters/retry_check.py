"""Whether a retry of a kept request can succeed: its content is read again, and nothing is taken or counted."""

from collections.abc import Mapping
from functools import partial

from anyio.to_thread import run_sync

from pagefold.engine.configuration.config import Config
from pagefold.engine.dead_letters.webhook_retrier import (
    Entrance,
    Reader,
    entrance_of,
    facts_of,
    kept_headers,
    reader_of,
    rule_in,
)
from pagefold.engine.errors import ConfigurationError, Rejected
from pagefold.engine.events import ReferencedEvent
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.formats.request_parts import ReadPart, RejectedPart
from pagefold.engine.intake.statement import Statement
from pagefold.engine.stores.dead_letter_records import DeadLetter

MAX_PARTS = 500
"""Parts of a request that are checked."""

MAX_BYTES = 2 * 1024 * 1024
"""Bytes of a request above which nothing is said about it."""


class RetryCheck:
    """Reads kept requests of one shop by the contracts that count now."""

    def __init__(self, config: Config, validator: EventValidator) -> None:
        self._config = config
        self._validator = validator
        self._readers: dict[tuple[Entrance, str, str], Reader | None] = {}

    async def refusal_of(self, dead_letter: DeadLetter) -> str | None:
        """Why a retry of a request fails again, as far as that can be seen; None if nothing in it does."""
        if dead_letter.purged_at is not None:
            return "its content was removed"
        if len(dead_letter.state) > MAX_BYTES:
            return None
        try:
            reader = self._reader(dead_letter)
        except ConfigurationError as error:
            return str(error)
        if reader is None:
            return f"the configuration reads nothing of {dead_letter.source or 'an unknown source'} that comes this way"
        headers = kept_headers(dead_letter)
        if reader.ignored_by_headers(headers, partial=True) is not None:
            return None
        facts = facts_of(reader, headers, dead_letter.recorded_at)
        return await run_sync(partial(self._refusal_in, reader, dead_letter.state, facts))

    def _reader(self, dead_letter: DeadLetter) -> Reader | None:
        key = entrance_of(dead_letter), dead_letter.source, rule_in(dead_letter)
        if key not in self._readers:
            self._readers[key] = reader_of(self._config, *key)
        return self._readers[key]

    def _refusal_in(self, reader: Reader, body: bytes, facts: Mapping[str, object]) -> str | None:
        delivery = reader.parse(body, facts)
        parts = delivery.read(0, min(delivery.parts, MAX_PARTS))
        refusals = (self._refusal_of_part(each) for part in parts for each in part)
        return next((each for each in refusals if each is not None), None)

    def _refusal_of_part(self, part: ReadPart) -> str | None:
        if isinstance(part, RejectedPart) and part.awaited is None:
            return str(part.rejection)
        if not isinstance(part, Statement) or not part.is_complete or isinstance(part.event, ReferencedEvent):
            return None  # the log decides
        try:
            self._validator.validate(part.event)
        except Rejected as refused:
            return str(refused)
        return None
