"""`[sources.X.cdc]`: how the row changes that Debezium sends become events."""

import re
from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, field

from pagefold.engine.configuration.event_filters import WithFilters, check_headers, check_own_fields
from pagefold.engine.configuration.toml_tables import ColumnsTable, ContractPlace, check_names, check_values
from pagefold.engine.errors import ConfigurationError

_table = re.compile(r"[^.\s]+\.[^.\s]+")


class CdcConfig(ColumnsTable, WithFilters, frozen=True):
    """Which changes of a source's tables become events, and which columns give their fields."""

    columns: Annotated[
        dict[str, object],
        Meta(
            description="By field of an event, the column with its value. Without a column, `sourceVersion` is the "
            "LSN of the change and `occurredAt` its time."
        ),
    ] = field(default_factory=dict)
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
    only: Annotated[
        dict[str, object],
        Meta(
            description="By column, the accepted values. Other rows are counted and not kept; a row that no longer "
            "has an accepted value is withdrawn, with REPLICA IDENTITY FULL."
        ),
    ] = field(default_factory=dict)
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
    if not cdc.columns:
        yield ConfigurationError(f"{key}.columns", "is required: which columns give the fields of an event")
    yield from check_names(f"{key}.columns", cdc.columns, "the name of a column")
    yield from check_values(f"{key}.only", cdc.only, "the values to accept, such as ['retail']")
    yield from check_headers(key, cdc.only_headers)
    yield from check_own_fields(key, {"columns": cdc.columns, "constants": cdc.constants})
