"""Scopes, the grant of a caller, and the token that it comes from. Values without secrets."""

from typing import Literal, NamedTuple, TypeAlias

Scope: TypeAlias = Literal["read", "ingest", "operate"]
SCOPES: tuple[Scope, ...] = ("read", "ingest", "operate")

TokenState: TypeAlias = Literal["live", "expired", "revoked"]


class Grant(NamedTuple):
    """What a caller may do. `name` is the token's, safe to log; it may write for its `source` only, None for any."""

    name: str
    scopes: frozenset[Scope]
    source: str | None


class Token(NamedTuple):
    """A token without its secret. Timestamps are fixed-width UTC text, which sorts by time."""

    name: str
    label: str
    scopes: frozenset[Scope]
    source: str | None
    created_at: str
    expires_at: str | None = None
    revoked_at: str | None = None

    @property
    def grant(self) -> Grant:
        """What its holder may do while it is live."""
        return Grant(self.name, self.scopes, self.source)

    def state(self, timestamp: str) -> TokenState:
        """Its state at a time. It expires at `expires_at`, inclusive."""
        if self.revoked_at is not None:
            return "revoked"
        return "live" if self.expires_at is None or timestamp < self.expires_at else "expired"


def scope_text(scopes: frozenset[Scope]) -> str:
    """Scopes as OAuth writes them: separated by spaces, always in the same order."""
    return " ".join(scope for scope in SCOPES if scope in scopes)


def scopes_in(text: str) -> frozenset[Scope]:
    """The scopes in such a text. Unknown words grant nothing."""
    words = text.split()
    return frozenset(scope for scope in SCOPES if scope in words)
