"""The tables of a contract as they are written: one or several a domain."""

from collections.abc import Iterator, Mapping

import msgspec

from pagefold.domains import DOMAINS
from pagefold.engine.intake.contracts.payload_places import payload_places
from pagefold.engine.intake.contracts.statement_mapping import FIELDS, Accepted, Written
from pagefold.projections.transforms import InvalidMapping

OPTIONS = ("only", "withdraw", "each", "whole_of", "partial")
"""What a table says beside the fields of the event and of its payload."""

PAYLOADS = {domain.name: domain.payload for domain in DOMAINS}
_FILTERS = ("only", "withdraw")


def domain_tables(document: Mapping[str, object]) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Each table of each domain, with its key: there may be several of one. Raises `InvalidMapping`."""
    for domain in PAYLOADS:
        written = document.get(domain, [])
        tables = [written] if isinstance(written, dict) else written
        if not isinstance(tables, list):
            raise InvalidMapping(domain, f"expected a table, got {written!r:.60}")
        for table in tables:
            if not isinstance(table, dict):
                raise InvalidMapping(domain, f"expected a table, got {table!r:.60}")
            for one in _per_list(table):
                yield from ((domain, domain, each) for each in _per_channel(one, document.get("channel")))


def _per_list(table: dict[str, object]) -> Iterator[dict[str, object]]:
    """A table for each list of one whose elements are in several; else the table."""
    paths = table.get("each")
    if not isinstance(paths, list) or not paths:
        yield table
        return
    for path in paths:
        yield {**table, "each": path}


def _per_channel(table: dict[str, object], shared: object) -> Iterator[dict[str, object]]:
    """A table for each channel of a constant that has several; else the table. `shared` counts if it says none."""
    spec = table.get("channel", shared)
    names = spec.get("constant") if isinstance(spec, dict) else None
    if not isinstance(names, list):
        yield table
        return
    for name in names:
        yield {**table, "channel": {"constant": name}}


def written_table(domain: str, key: str, table: Mapping[str, object], shared: Mapping[str, object]) -> Written:
    """What a table says of the statements of its domain. `shared` are the fields that all tables have."""
    fields = {**shared, **{name: table[name] for name in FIELDS if name in table}}
    payload = {name: value for name, value in table.items() if name not in FIELDS and name not in OPTIONS}
    each = table.get("each")
    if each is not None and not isinstance(each, str):
        raise InvalidMapping(f"{key}.each", f"expected a path, got {each!r:.60}")
    only, withdrawn = (_values(table.get(name, {}), f"{key}.{name}") for name in _FILTERS)
    if "whole_of" in table and each is None:
        raise InvalidMapping(f"{key}.whole_of", "needs `each`: the list that has all of the group")
    partial = table.get("partial", False)
    if not isinstance(partial, bool):
        raise InvalidMapping(f"{key}.partial", f"expected true or false, got {partial!r:.60}")
    places = list(payload_places(domain, PAYLOADS[domain], payload, key))
    return Written(domain, key, each, fields, only, withdrawn, places, table.get("whole_of"), partial)


def _values(table: object, key: str) -> Mapping[str, Accepted]:
    try:
        return msgspec.convert(table, dict[str, list[object] | bool])
    except msgspec.ValidationError:
        raise InvalidMapping(
            key, 'expected lists of values by path, such as { status = ["active"] }; or true, for any value'
        ) from None
