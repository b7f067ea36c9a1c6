"""`[sources.X.cdc]`: which changes of rows that Debezium sends count. What their rows say is in a contract."""

import re
from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, field

from pagefold.engine.configuration.header_filters import WithHeaders, check_headers
from pagefold.engine.configuration.toml_tables import ContractPlace, Table
from pagefold.engine.errors import ConfigurationError

_table = re.compile(r"[^.\s]+\.[^.\s]+")


class CdcConfig(Table, WithHeaders, frozen=True, kw_only=True):
    """Which changes of a source's tables become events."""

    contract: ContractPlace = None
    tables: Annotated[
        list[str], Meta(description="The tables to read, as `schema.table`. Without it, all tables are read.")
    ] = field(default_factory=list)
    unavailable_value: Annotated[
        str,
        Meta(
            description="What Debezium sends in place of a large value that did not change (TOAST); the value in the "
            "log is kept."
        ),
    ] = "__debezium_unavailable_value"
    only_headers: Annotated[
        dict[str, object], Meta(description="By header, the accepted values. Other requests are counted and not read.")
    ] = field(default_factory=dict)


def check_cdc(key: str, cdc: CdcConfig) -> Iterator[ConfigurationError]:
    """Yields every problem that the types of the table do not exclude."""
    for index, name in enumerate(cdc.tables):
        if _table.fullmatch(name) is None:
            yield ConfigurationError(f"{key}.tables[{index}]", f"{name!r} is not a table such as 'public.prices'")
    if not cdc.unavailable_value:
        yield ConfigurationError(f"{key}.unavailable_value", "is empty")
    yield from check_headers(key, cdc.only_headers)
