"""Where the log and the pages are kept: `[store]`."""

import re
from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from pagefold.engine.configuration.addresses import POSTGRES_SCHEMES, postgres_url_error, scheme_of
from pagefold.engine.configuration.toml_tables import Table, redacted
from pagefold.engine.errors import ConfigurationError

_schema = re.compile(r"[a-z_][a-z0-9_]{0,62}", re.ASCII)


class StoreConfig(Table, frozen=True):
    """Where the log and the pages are kept."""

    url: Annotated[
        str,
        Meta(
            description="`sqlite:///folder` (relative to the working directory), `sqlite:////folder` (absolute) or "
            "`postgresql://…`."
        ),
    ]
    schema: Annotated[str, Meta(description="The PostgreSQL schema that holds everything.")] = "pagefold"


def check_store(store: StoreConfig) -> Iterator[ConfigurationError]:
    """Yields every problem that the types of the table do not exclude."""
    scheme = scheme_of(store.url)
    if scheme not in {"sqlite", *POSTGRES_SCHEMES}:
        problem = f"{redacted(store.url)!r} is neither sqlite:///folder nor postgresql://…"
        yield ConfigurationError("store.url", problem)
    elif scheme != "sqlite" and (fault := postgres_url_error(store.url)) is not None:
        yield ConfigurationError("store.url", fault)
    if scheme == "sqlite" and not re.fullmatch(r"sqlite:///.+", store.url):
        yield ConfigurationError("store.url", "write sqlite:///folder (relative) or sqlite:////folder (absolute)")
    if _schema.fullmatch(store.schema) is None or store.schema.startswith("pg_"):
        problem = f"{store.schema!r}: use up to 63 lower-case letters, digits and _; pg_ is reserved by PostgreSQL"
        yield ConfigurationError("store.schema", problem)
