"""What changed between two contracts, by place: breaking or compatible.

A change is compatible if the new contract still makes everything that the old one makes of a record, the same way; it
may make more. It is breaking if a value may be missing, be another one, or be refused.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias, TypeVar

from pagefold.domains import DOMAINS
from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.contracts.payload_places import payload_places
from pagefold.engine.intake.contracts.statement_mapping import FIELDS
from pagefold.engine.intake.contracts.toml_text import dotted_key, inline_value, key_text
from pagefold.engine.intake.contracts.written_tables import OPTIONS, domain_tables

Effect: TypeAlias = Literal["breaking", "compatible"]
Table: TypeAlias = Mapping[str, object]
Key = TypeVar("Key")

MAX_SPEC_CHARACTERS = 80

_COMPARED_APART = ("name", "version", "examples", "definitions", "tables", "rates", "only", "items", "unmapped")
"""What is compared in another way, or does not decide what a record becomes."""

_HARMLESS = ("id", "correlationId")
"""Fields of an event that no page shows."""

_OPTIONS = ("each", "whole_of")
_MINIMA = ("min", "min_length", "min_items")
_MAXIMA = ("max", "max_length", "max_items")


class Change(NamedTuple):
    """A change at a place of a contract, such as `pricing.amount`."""

    place: str
    effect: Effect
    text: str


def contract_changes(old: Contract, new: Contract) -> list[Change]:
    """The changes from one contract to another, in the order of their places. Names and versions do not count."""
    shared = _shared_fields(old.document, new.document)
    changes = [*_option_changes(old, new), *_head_changes(old.document, new.document, shared)]
    changes += _lookup_changes(old, new)
    before, after = _tables_by_domain(old.document), _tables_by_domain(new.document)
    for domain in {**before, **after}:
        tables = _with_fields(before.get(domain, []), old.document, shared)
        changes += _domain_changes(domain, tables, _with_fields(after.get(domain, []), new.document, shared))
    return sorted(changes)


# --- the whole contract ---------------------------------------------------------------------------


def _option_changes(old: Contract, new: Contract) -> Iterator[Change]:
    for name in old.head.__struct_encode_fields__:
        if name not in _COMPARED_APART and getattr(old.head, name, None) != getattr(new.head, name, None):
            before, after = (getattr(each.head, name, None) for each in (old, new))
            if name == "join":  # as it is written
                before, after = old.document.get(name), new.document.get(name)
            yield Change(name, "breaking", from_to(before, after))


def _head_changes(old: Table, new: Table, shared: Collection[str]) -> Iterator[Change]:
    for name in shared:
        yield from _field_changes(name, name, old.get(name), new.get(name))
    yield from _filter_changes("only", old.get("only"), new.get("only"), keeps=True)
    yield from unmapped_changes(old.get("unmapped", "skip"), new.get("unmapped", "skip"))
    yield from _item_changes(_listed(old.get("items", [])), _listed(new.get("items", [])))
    before, after = members(old.get("definitions")), members(new.get("definitions"))
    for name in before.keys() & after.keys():
        yield from mapping_changes(dotted_key("definitions", name), before[name], after[name])


def _item_changes(old: Sequence[object], new: Sequence[object]) -> Iterator[Change]:
    if old != new:
        more = bool(old) and list(new[: len(old)]) == list(old)
        yield Change("items", "compatible" if more else "breaking", from_to(old, new))


def unmapped_changes(old: object, new: object) -> Iterator[Change]:
    """More is refused where a level becomes `fail`."""
    before, after = _levels(old), _levels(new)
    for name in sorted({*before, *after}):
        was, now = before.get(name, before.get("", "skip")), after.get(name, after.get("", "skip"))
        if was != now:
            place = dotted_key("unmapped", name) if name else "unmapped"
            yield Change(place, "breaking" if now == "fail" else "compatible", from_to(was, now))


def _levels(unmapped: object) -> Table:
    return unmapped if isinstance(unmapped, Mapping) else {"": unmapped}


def _lookup_changes(old: Contract, new: Contract) -> Iterator[Change]:
    for name in sorted(old.tables.keys() & new.tables.keys()):
        yield from row_changes(dotted_key("tables", name), old.tables[name].exact, new.tables[name].exact)
    for name in sorted(old.rates.keys() & new.rates.keys()):
        yield from row_changes(dotted_key("rates", name), old.rates[name].exact, new.rates[name].exact)


def row_changes(place: str, old: Mapping[Key, object], new: Mapping[Key, object]) -> Iterator[Change]:
    """The changes of the rows of a table."""
    gone = [key for key in old if key not in new]
    other = [key for key in old if key in new and new[key] != old[key]]
    added = len(new) + len(gone) - len(old)
    if gone:
        yield Change(place, "breaking", f"{_counted(len(gone), 'row')} gone, such as {_row_key(gone[0])}")
    if other:
        yield Change(place, "breaking", f"{_counted(len(other), 'row')} changed, such as {_row_key(other[0])}")
    if added:
        yield Change(place, "compatible", f"{_counted(added, 'row')} added")


def _row_key(key: object) -> str:
    return " ".join(map(str, key)) if isinstance(key, tuple) else repr(key)[:MAX_SPEC_CHARACTERS]


# --- the tables of a domain -----------------------------------------------------------------------


def _tables_by_domain(document: Table) -> dict[str, list[Table]]:
    found: dict[str, list[Table]] = {}
    for domain, _, table in domain_tables(document):
        found.setdefault(domain, []).append(table)
    return found


def _shared_fields(*documents: Table) -> list[str]:
    """The fields that no table of these contracts has for itself."""
    tables = [table for document in documents for _, _, table in domain_tables(document)]
    return [name for name in FIELDS if not any(name in table for table in tables)]


def _with_fields(tables: Sequence[Table], document: Table, shared: Collection[str]) -> list[Table]:
    """Tables with the fields that count for them."""
    outer = {name: document[name] for name in FIELDS if name in document and name not in shared}
    return [{**outer, **table} for table in tables]


def _domain_changes(domain: str, old: Sequence[Table], new: Sequence[Table]) -> Iterator[Change]:
    several = len(old) > 1 or len(new) > 1
    for number, (before, after) in enumerate(_paired(old, new), start=1):
        place = f"{domain}[{number}]" if several else domain
        if after is None:
            yield Change(place, "breaking", "its statements are no longer made")
        elif before is None:
            yield Change(place, "compatible", "makes new statements")
        else:
            yield from _table_changes(place, domain, before, after)


def _paired(old: Sequence[Table], new: Sequence[Table]) -> list[tuple[Table | None, Table | None]]:
    """Tables of the same statements: equal ones, then those of one channel, source and list, then as many in order."""
    rest = list(new)
    pairs: list[tuple[Table | None, Table | None]] = []
    for before in old:
        alike = [each for each in rest if each == before] or [each for each in rest if _about(each) == _about(before)]
        others = rest if len(old) == len(new) else []
        after = next(iter([*alike, *others]), None)
        if after is not None:
            rest.remove(after)
        pairs.append((before, after))
    return [*pairs, *((None, after) for after in rest)]


def _about(table: Table) -> list[object]:
    return [table.get(name) for name in ("channel", "source", "each", "only")]


def _table_changes(place: str, domain: str, old: Table, new: Table) -> Iterator[Change]:
    yield from _filter_changes(f"{place}.only", old.get("only"), new.get("only"), keeps=True)
    yield from _filter_changes(
        f"{place}.withdraw", members(old.get("withdraw")), members(new.get("withdraw")), keeps=False
    )
    for name in sorted({*old, *new} & {*FIELDS, *_OPTIONS}):
        yield from _field_changes(f"{place}.{name}", name, old.get(name), new.get(name))
    before, after = _places(domain, old), _places(domain, new)
    for path in sorted({*before, *after}):
        yield from mapping_changes(f"{place}.{dotted_key(*path)}", before.get(path), after.get(path))


def _places(domain: str, table: Table) -> dict[tuple[str, ...], object]:
    """What the table says of each place of the payload."""
    payload = next(each.payload for each in DOMAINS if each.name == domain)
    written = {name: spec for name, spec in table.items() if name not in FIELDS and name not in OPTIONS}
    return {place.path: place.mapping for place in payload_places(domain, payload, written, domain)}


def members(written: object) -> Table:
    """A table; an empty one if it is none."""
    return written if isinstance(written, Mapping) else {}


def _filter_changes(place: str, written: object, written_anew: object, *, keeps: bool) -> Iterator[Change]:
    """Of `only`, more values or fewer paths let more records in. Of `withdraw`, nothing may change but what is gone."""
    old, new = members(written), members(written_anew)
    for path in sorted({*old, *new}):
        before, after = (list(map(inline_value, _listed(each.get(path, [])))) for each in (old, new))
        if old.get(path) is new.get(path) or before == after:
            continue
        widened = new.get(path) is True and old.get(path) is not False  # any value
        narrower = path in new and (path not in old or not (widened or all(value in after for value in before)))
        effect: Effect = "breaking" if narrower or not keeps else "compatible"
        yield Change(f"{place}.{key_text(path)}", effect, from_to(old.get(path), new.get(path)))


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


# --- one mapping ----------------------------------------------------------------------------------


def _field_changes(place: str, name: str, old: object, new: object) -> Iterator[Change]:
    """A field of the event decides which statement it is: only what no page shows may come and go."""
    for change in mapping_changes(place, old, new):
        adds = name in _HARMLESS or (old is not None and change.effect == "compatible")
        yield change._replace(effect="compatible" if adds else "breaking")


def mapping_changes(place: str, old: object, new: object) -> Iterator[Change]:
    """The change of a mapping, if it changes; None is no mapping."""
    if _spec(old) != _spec(new):
        adds = old is None or (new is not None and _only_adds(_spec(old), _spec(new)))
        yield Change(place, "compatible" if adds else "breaking", from_to(old, new))


def _spec(written: object) -> Table:
    return written if isinstance(written, Mapping) else {"from": written}


def _only_adds(old: Table, new: Table) -> bool:
    """Whether what the old mapping gives stays: values may be added, and less may be refused."""
    return all(_adds(name, old.get(name), new.get(name)) for name in {*old, *new})


def _adds(name: str, old: object, new: object) -> bool:
    if old == new:
        return True
    if name in ("default", "required"):
        return not (old if name == "default" else new)
    if name == "blank":
        return old == "refuse" and new != "withdraw"
    if name == "check":
        return loosened(members(old), members(new))
    if name == "first_of":
        return isinstance(old, list) and isinstance(new, list) and new[: len(old)] == old
    return name in ("lookup", "translate") and _maps_more(members(old), members(new))


def _maps_more(old: Table, new: Table) -> bool:
    """Whether a small table in a mapping only has more rows."""
    before, after = members(old.get("values")), members(new.get("values"))
    same = {**old, "values": {}} == {**new, "values": {}}
    return same and all(key in after and after[key] == value for key, value in before.items())


def loosened(old: Table, new: Table) -> bool:
    """Whether whatever keeps to the old rules keeps to the new ones."""
    return all(_is_looser(name, old.get(name), limit) for name, limit in new.items())


def _is_looser(name: str, old: object, new: object) -> bool:
    if old == new:
        return True
    if isinstance(old, int | float) and isinstance(new, int | float):
        return (name in _MINIMA and new < old) or (name in _MAXIMA and new > old)
    if name == "one_of" and isinstance(old, list) and isinstance(new, list):
        return all(value in new for value in old)
    return False


# --- words ----------------------------------------------------------------------------------------


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def from_to(old: object, new: object) -> str:
    """What a change says: the value before and after."""
    if old is None:
        return f"is new: {_shown(new)}"
    return f"is gone; it was {_shown(old)}" if new is None else f"was {_shown(old)}, is {_shown(new)}"


def _shown(spec: object) -> str:
    text = inline_value(spec)
    return text if len(text) <= MAX_SPEC_CHARACTERS else f"{text[: MAX_SPEC_CHARACTERS - 1]}…"
