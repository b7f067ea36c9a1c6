"""`[sources.X.cdc]`: how the row changes that Debezium sends become events."""

import re
from collections.abc import Iterator

import msgspec

from pagefold.engine.configuration.event_filters import WithFilters, check_headers, check_own_fields
from pagefold.engine.configuration.toml_tables import ColumnsTable, check_names, check_values
from pagefold.engine.errors import ConfigurationError

_table = re.compile(r"[^.\s]+\.[^.\s]+")


class CdcConfig(ColumnsTable, WithFilters, frozen=True):
    """Which columns of a source's tables give the fields of an event.

    `columns` and `constants` are as for snapshots. Without a column, `sourceVersion` is the LSN of the change, and
    `occurredAt` its time. `tables` are the tables to read, as `schema.table`; empty reads all of them.
    `unavailable_value` is what Debezium sends in place of a large value that did not change (TOAST). `only` has the
    accepted values of columns, `only_headers` those of headers, as for webhooks.
    """

    tables: list[str] = msgspec.field(default_factory=list)
    unavailable_value: str = "__debezium_unavailable_value"
    only: dict[str, object] = msgspec.field(default_factory=dict)
    only_headers: dict[str, object] = msgspec.field(default_factory=dict)


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
