"""What needs a person: events that were kept instead of being folded or appended, and trying them again."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from domains import DOMAINS
from engine.config import Config
from engine.door import State
from engine.errors import PagefoldError
from engine.events import AppendResult, DomainEvent
from engine.folding import Folder
from engine.stores.store import KINDS, DeadLetter, Kind, Store
from projections.streams import parse_stream_id

Retried: TypeAlias = Literal["resolved", "still dead", "gone"]

LONGEST_NUMBER = 18
"""Digits that every database takes as an integer."""

_state = msgspec.json.Decoder(State)


class UnknownLetter(PagefoldError):
    """There is no dead letter of this name."""

    def __init__(self, identifier: str) -> None:
        super().__init__(f"there is no dead letter {identifier!r}; `pagefold dead-letters list` shows them")


class DeadLetterOffice:
    """Lists dead letters and tries them again."""

    def __init__(
        self, store: Store, config: Config, append: Callable[[Sequence[DomainEvent]], Awaitable[list[AppendResult]]]
    ) -> None:
        self._store = store
        self._append = append
        self._folders = {domain.name: Folder(domain, config.made_for, store.log) for domain in DOMAINS}

    async def newest(
        self, *, kind: Kind | None = None, domain: str | None = None, limit: int = 100
    ) -> list[DeadLetter]:
        """The newest letters, the newest first."""
        return await self._store.dead_letters.newest(kind=kind, domain=domain, limit=limit)

    async def get(self, identifier: str) -> DeadLetter:
        """A letter by its name, such as `projection-12`. Raises `UnknownLetter`."""
        kind, number = _parse(identifier)
        letter = await self._store.dead_letters.get(kind, number)
        if letter is None:
            raise UnknownLetter(identifier)
        return letter

    async def retry(self, letter: DeadLetter) -> Retried:
        """Folds the letter's stream again, or appends its event again, and takes the letter out when that helps."""
        match letter.kind:
            case "projection":
                return await self._fold_again(letter)
            case "ingest":
                return await self._append_again(letter)

    async def _fold_again(self, letter: DeadLetter) -> Retried:
        folder = self._folders.get(letter.domain)
        if folder is None:
            return "still dead"
        async with self._store.consumption.folding(letter.domain) as folding:
            await folder.fold(folding, [letter.originator_id])
        return "still dead" if await self._store.dead_letters.get(letter.kind, letter.number) else "resolved"

    async def _append_again(self, letter: DeadLetter) -> Retried:
        state = _state.decode(letter.state)
        stream = parse_stream_id(letter.originator_id)
        payload = bytes(state.payload)
        event = DomainEvent(
            type=stream.domain,
            sku=stream.sku,
            channel=stream.channel,
            source=stream.source,
            source_version=letter.originator_version,
            occurred_at=datetime.fromisoformat(state.occurred_at),
            payload=None if payload == b"null" else payload,
            id=state.id,
            correlation_id=state.correlation_id,
        )
        [result] = await self._append([event])
        if result.outcome not in ("appended", "duplicate"):
            return "still dead"
        await self._store.dead_letters.discard(letter.kind, letter.number)
        return "resolved"


def _parse(identifier: str) -> tuple[Kind, int]:
    name, _, number = identifier.partition("-")
    for kind in KINDS:
        if name == kind and number.isascii() and number.isdigit() and len(number) <= LONGEST_NUMBER:
            return kind, int(number)
    raise UnknownLetter(identifier)
