"""What a store promises of tokens. Both kinds of store keep it: see `pagefold.engine.stores.store`."""

from abc import ABC, abstractmethod

from pagefold.engine.stores.grants import Token


class Tokens(ABC):
    """Who was given access. Of its secret, a token has the SHA-256 alone. None is ever deleted."""

    @abstractmethod
    async def add(self, token: Token, digest: bytes) -> None:
        """Keeps a token, durably. One whose digest is there already changes nothing."""

    @abstractmethod
    async def find(self, digest: bytes) -> Token | None:
        """The token whose secret has this digest, expired and revoked ones too."""

    @abstractmethod
    async def list_tokens(self, after: Token | None = None, *, limit: int = 100) -> list[Token]:
        """The next tokens behind one of them, in the order in which they were made, expired and revoked ones too."""

    @abstractmethod
    async def revoke(self, name: str, moment: str) -> bool:
        """Revokes a token, durably, and tells whether there is one of this name. The first revocation stands."""
