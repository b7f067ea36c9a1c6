"""Who may do what: scopes, the grant of one caller, and the token that a grant comes from. Values, and no secrets."""

from typing import Literal, NamedTuple, TypeAlias

Scope: TypeAlias = Literal["read", "ingest", "operate"]
SCOPES: tuple[Scope, ...] = ("read", "ingest", "operate")

TokenState: TypeAlias = Literal["live", "expired", "revoked"]


class Grant(NamedTuple):
    """What a caller may do. `name` is the token's, fit for logs; it writes for its `source` alone, None is any."""

    name: str
    scopes: frozenset[Scope]
    source: str | None


class Token(NamedTuple):
    """A token as operators see it, without its secret. Moments are fixed-width UTC text, which sorts as they do."""

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

    def state(self, moment: str) -> TokenState:
        """What it is at a moment. It expires with the moment that it names."""
        if self.revoked_at is not None:
            return "revoked"
        return "live" if self.expires_at is None or moment < self.expires_at else "expired"


def scope_text(scopes: frozenset[Scope]) -> str:
    """Scopes as OAuth writes them: with a space between, here always in the same order."""
    return " ".join(scope for scope in SCOPES if scope in scopes)


def scopes_in(text: str) -> frozenset[Scope]:
    """The scopes in such a text. A word that this program does not know allows nothing."""
    words = text.split()
    return frozenset(scope for scope in SCOPES if scope in words)
