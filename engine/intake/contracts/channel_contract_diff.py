"""What changed between two channel contracts, by place: breaking or compatible.

A change is compatible if a channel still shows everything that it showed of a product, the same way; it may show more.
It is breaking if a value may be missing or another one, or keep a page from being ready.
"""

from collections.abc import Iterator, Mapping

from pagefold.engine.configuration.channel_documents import transform_registry
from pagefold.engine.configuration.toml_documents import Document
from pagefold.engine.intake.contracts.contract_diff import (
    Change,
    Effect,
    from_to,
    mapping_changes,
    members,
    row_changes,
    unmapped_changes,
)
from pagefold.engine.intake.contracts.toml_text import dotted_key
from pagefold.projections.channel_contracts import ChannelContract, CompiledContract, parse_contract

_OPTIONS = ("decimal", "group", "zone")
_MAPPINGS = ("attributes", "fields", "definitions")


def channel_contract_changes(old: Document, new: Document) -> list[Change]:
    """The changes from one channel contract to another, with the rows of their tables. Names and versions do not count.

    Raises `InvalidMapping`.
    """
    before, after = parse_contract(old), parse_contract(new)
    changes = [*_option_changes(before, after), *unmapped_changes(before.unmapped, after.unmapped)]
    for table in _MAPPINGS:
        changes += _table_changes(table, members(old.get(table)), members(new.get(table)))
    for name in sorted(before.tables.keys() & after.tables.keys()):
        changes += row_changes(dotted_key("tables", name), before.tables[name].rows, after.tables[name].rows)
    return sorted([*changes, *_hidden(before, after)])


def _table_changes(table: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[Change]:
    names = old.keys() & new.keys() if table == "definitions" else old.keys() | new.keys()
    for name in sorted(names):
        changes = mapping_changes(dotted_key(table, name), old.get(name), new.get(name))
        is_shown = table == "fields"  # without a mapping, it is shown as it is
        yield from (each._replace(effect="breaking") if is_shown else each for each in changes)


def _option_changes(old: ChannelContract, new: ChannelContract) -> Iterator[Change]:
    for name in _OPTIONS:
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield Change(name, "breaking", from_to(before, after))
    if old.others != new.others:
        effect: Effect = "compatible" if new.others == "keep" else "breaking"
        yield Change("others", effect, from_to(old.others, new.others))


def _hidden(old: ChannelContract, new: ChannelContract) -> Iterator[Change]:
    """Attributes that both contracts would keep, if a mapping of the new one did not read them."""
    if old.others == new.others == "keep":
        for name in sorted(_named(new) - _named(old) - new.attributes.keys()):
            yield Change(dotted_key("attributes", name), "breaking", "is gone: another mapping reads it")


def _named(document: ChannelContract) -> frozenset[str]:
    return CompiledContract(document, ("en",), transform_registry()).named
