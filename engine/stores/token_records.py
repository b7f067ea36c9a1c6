"""The contract of a store for tokens. Both stores keep it: see `pagefold.engine.stores.store`."""

from abc import ABC, abstractmethod

from pagefold.engine.stores.grants import Token


class Tokens(ABC):
    """The tokens that were ever made. Of a secret, only the SHA-256 is stored. No token is ever deleted."""

    @abstractmethod
    async def add(self, token: Token, digest: bytes) -> None:
        """Adds a token, durably. A no-op if its digest exists."""

    @abstractmethod
    async def find(self, digest: bytes) -> Token | None:
        """The token whose secret has this digest, also if it is expired or revoked."""

    @abstractmethod
    async def list_tokens(self, after: Token | None = None, *, limit: int = 100) -> list[Token]:
        """The next tokens after one of them, in the order in which they were made, with expired and revoked ones."""

    @abstractmethod
    async def revoke(self, name: str, timestamp: str) -> bool:
        """Revokes a token, durably, and returns whether there is one of this name. The first revocation is kept."""
