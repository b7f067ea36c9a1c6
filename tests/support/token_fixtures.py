"""Tokens for tests: as they are stored, and a token service with a clock of the test."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import anyio

from pagefold import Config, StoreUnavailable
from pagefold.domains.values import format_timestamp
from pagefold.engine.access.token_service import TokenService
from pagefold.engine.runtime.redaction import PREFIX
from pagefold.engine.stores.grants import Scope, Token
from pagefold.engine.stores.store import Store
from pagefold.engine.stores.token_records import Tokens

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
GUESS = PREFIX + "x" * 43
READ: frozenset[Scope] = frozenset(["read"])


def moment(seconds: float) -> str:
    """That many seconds after noon."""
    return format_timestamp(NOON + timedelta(seconds=seconds))


def kept(name: str, seconds: float = 0, **fields: object) -> Token:
    """A stored token, created that many seconds after noon."""
    return Token(name, "", READ, None, moment(seconds))._replace(**fields)  # type: ignore[arg-type]  # fields of a token


def digest_of(text: str) -> bytes:
    """The key of a token in a store."""
    return sha256(text.encode()).digest()


class Watched(Tokens):
    """The tokens of a store, with counted calls, which can be slow or unavailable."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self.asked = 0
        self.away = False
        self.reached = anyio.Event()
        self.gate = anyio.Event()
        self.gate.set()

    def hold(self) -> None:
        """From now on, results wait for the gate; the first one sets `reached`."""
        self.reached, self.gate = anyio.Event(), anyio.Event()

    async def add(self, token: Token, digest: bytes) -> None:
        """As the store does."""
        await self._tokens.add(token, digest)

    async def find(self, digest: bytes) -> Token | None:
        """The store's result at the time of the call, returned when the gate opens."""
        self.asked += 1
        if self.away:
            raise StoreUnavailable("away", TimeoutError())
        found = await self._tokens.find(digest)
        self.reached.set()
        await self.gate.wait()
        return found

    async def list_tokens(self, after: Token | None = None, *, limit: int = 100) -> list[Token]:
        """As the store does."""
        return await self._tokens.list_tokens(after, limit=limit)

    async def revoke(self, name: str, moment: str) -> bool:
        """As the store does."""
        return await self._tokens.revoke(name, moment)


class Scene:
    """A token service with watched tokens and a clock of the test."""

    def __init__(self, store: Store, config: Config) -> None:
        self.watched = Watched(store.tokens)
        store.tokens = self.watched
        self.seconds = 0.0
        self.store, self.config = store, config
        self.service = self.another()

    def another(self) -> TokenService:
        """The service of another process, with the same clock."""
        return TokenService(self.store, self.config, now=lambda: moment(self.seconds), ticks=lambda: self.seconds)
