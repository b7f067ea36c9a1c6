"""Who may do what: the scopes of a token, and what one was granted."""

from typing import Literal, NamedTuple, TypeAlias

Scope: TypeAlias = Literal["read", "ingest", "operate"]
SCOPES: tuple[Scope, ...] = ("read", "ingest", "operate")


class Grant(NamedTuple):
    """What a caller may do. `name` is fit for logs; an `ingest` grant writes for its `source` alone, None is any."""

    name: str
    scopes: frozenset[Scope]
    source: str | None
