"""What `[sources.X.webhook]` and `[sources.X.cdc]` share: filters, header names, and the fields of an event."""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property

from pagefold.engine.configuration.toml_tables import check_event_fields, check_values, flatten_keys, values_by_key
from pagefold.engine.errors import ConfigurationError

header_name = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)


class WithFilters:
    """A table with filters: `only` selects by values in the item or row, `only_headers` by headers of the request."""

    only: dict[str, object]
    only_headers: dict[str, object]

    @cached_property
    def counted_by(self) -> dict[str, list[object]]:
        """The accepted values of each path, or column, in `only`."""
        return values_by_key(self.only)

    @cached_property
    def headers_of(self) -> dict[str, list[object]]:
        """The accepted values of each header in `only_headers`, by its name in lower case."""
        return {name.lower(): values for name, values in values_by_key(self.only_headers).items()}


def check_headers(key: str, table: Mapping[str, object]) -> Iterator[ConfigurationError]:
    """Yields every problem of `only_headers`."""
    yield from check_values(f"{key}.only_headers", table, "the values to accept, such as ['products/update']", kind=str)
    for name, _ in flatten_keys(table):
        if header_name.fullmatch(name) is None:
            problem = f"{name!r} is not the name of a header such as 'X-Shopify-Topic'"
            yield ConfigurationError(f"{key}.only_headers.{name}", problem)


def check_own_fields(key: str, tables: Mapping[str, Mapping[str, object]]) -> Iterator[ConfigurationError]:
    """Yields every problem of the fields of an event whose source is known."""
    yield from check_event_fields(key, tables)
    for table, given in tables.items():
        if "source" in given:
            yield ConfigurationError(f"{key}.{table}.source", "is known: it is the source that this table belongs to")
