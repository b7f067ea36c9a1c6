"""The contract of a store for sessions of the dashboard. Both stores keep it: see `pagefold.engine.stores.store`."""

from abc import ABC, abstractmethod
from typing import NamedTuple


class Session(NamedTuple):
    """A session, without the secret of its cookie. It may do what its token may, and ends at `expires_at`.

    `digest` is the SHA-256 of the cookie's secret, `token_digest` that of the token's. Timestamps are fixed-width UTC
    text, which sorts by time.
    """

    digest: bytes
    token_digest: bytes
    created_at: str
    expires_at: str


class Sessions(ABC):
    """The sessions that were begun with a token. Of a secret, only the SHA-256 is stored."""

    @abstractmethod
    async def add(self, session: Session, *, keep: int) -> None:
        """Adds a session, and removes those that have expired by then.

        Of its token's sessions, the newest `keep` are kept.
        """

    @abstractmethod
    async def find(self, digest: bytes) -> Session | None:
        """The session whose cookie has this digest, also if it has expired."""

    @abstractmethod
    async def remove(self, digest: bytes) -> None:
        """Ends a session. A no-op if there is none."""
