"""What the tables of entrances over HTTP share: which requests count by their headers."""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property

from pagefold.engine.configuration.toml_tables import check_values, flatten_keys, values_by_key
from pagefold.engine.errors import ConfigurationError

header_name = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)


class WithHeaders:
    """A table with `only_headers`, which selects requests by their headers."""

    only_headers: dict[str, object]

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
