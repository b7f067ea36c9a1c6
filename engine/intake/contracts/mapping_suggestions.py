"""What a contract might say of fields that it does not read: by similar names, and by equal values. Guesses, with why.

Nothing is inferred beyond that: each suggestion says how sure it is, and a person decides.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import NamedTuple

from msgspec import UNSET

from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.contracts.field_roles import ROLES, field_for, squashed
from pagefold.engine.intake.contracts.record_fields import Field
from pagefold.engine.intake.contracts.record_profile import FieldProfile, RecordProfile
from pagefold.engine.intake.contracts.toml_text import dotted_key, inline_value
from pagefold.projections.transforms.tables import key_text

MIN_SIMILARITY = 0.6
MIN_EQUAL = 0.8
"""The share of values that must be equal."""

MIN_COMPARED = 3
"""Values that are compared at least: fewer may be equal by chance."""

MIN_DIFFERENT = 2
"""Different values among them: one that is everywhere says nothing."""

MAX_FIELDS = 2_000
MAX_VALUES = 1_000
ROLE_CONFIDENCE = 70
WEAK_CONFIDENCE = 20

_DOMAIN_OF_ROLE = {
    "amount": "pricing", "compareAt": "pricing", "currency": "pricing", "available": "inventory",
    "safetyStock": "inventory", "assets": "media", "family": "catalog", "parent": "catalog", "categories": "catalog",
    "enabled": "catalog", "gtin": "catalog",
}  # fmt: skip
_SPECS: Mapping[str, Mapping[str, object]] = {
    "gtin": {"gtin": True},
    "assets": {"steps": [{"split": ","}, {"each": {"members": {"url": "."}}}]},
    "categories": {"split": ","},
}


class Suggestion(NamedTuple):
    """What the contract might say of a field: a place and its mapping, how sure that is in percent, and why.

    `place` is "" if the field needs none.
    """

    path: str
    domain: str
    place: str
    spec: object
    confidence: int
    reason: str

    @property
    def text(self) -> str:
        """The suggestion as a line of a contract."""
        return f"{self.place} = {inline_value(self.spec)}" if self.place else f"# {self.path}"


@dataclass(slots=True)
class FieldValues:
    """The values of fields by SKU, as texts, and how many records have each field."""

    mapped: dict[str, dict[str, str]] = field(default_factory=dict)
    unmapped: dict[str, dict[str, str]] = field(default_factory=dict)
    shares: Counter[str] = field(default_factory=Counter)
    profile: RecordProfile = field(default_factory=RecordProfile)

    def note(self, sku: str, fields: Iterable[Field]) -> None:
        """Adds a record."""
        self.profile.records += 1
        for each in {found.path: found for found in fields}.values():
            kept = self.mapped if each.mapped else self.unmapped
            values = kept.setdefault(each.path, {}) if each.path in kept or len(kept) < MAX_FIELDS else {}
            if not each.mapped:
                self.shares[each.path] += 1
                names = (each.path,)
                self.profile.fields.setdefault(names, FieldProfile(names)).note(each.value)
            if (text := key_text(each.value)) is not None and len(values) < MAX_VALUES:
                values[sku] = text

    @property
    def skus(self) -> list[str]:
        """The SKUs of the records."""
        return list(dict.fromkeys(sku for values in self.unmapped.values() for sku in values))


def field_values(contract: Contract, messages: Iterable[object]) -> FieldValues:
    """The values of the fields of some messages."""
    values = FieldValues()
    for message in messages:
        if contract.counts(message):
            for record in contract.records(message):
                skus = (mapping.sku(record) for mapping in contract.statements if mapping.each is None)
                sku = next(filter(None, skus), None)
                values.note(sku or f"\0{values.profile.records}", contract.fields.of(record))
    return values


Known = Mapping[str, Mapping[str, object]]
"""Attributes of pages by SKU."""


def suggestions(
    contract: Contract, domains: Sequence[str], values: FieldValues, missing: Sequence[str], known: Known
) -> list[Suggestion]:
    """One suggestion for each field that the contract does not read, the surest first.

    `missing` are paths that the contract reads and no record has; `known` what pages have.
    """
    chosen: list[Suggestion] = []
    by_role = _roles(contract, domains, values.profile)
    renamed = _renamed(contract, values, missing)
    for path, own in values.unmapped.items():
        found = [
            *renamed.get(path, []),
            *_same_as_mapped(contract, path, own, values.mapped),
            *_same_as_pages(path, own, known),
            *_in_tables(contract, path, own),
            *by_role.get(path, []),
            *_as_attribute(path),
        ]
        allowed = [each for each in found if not each.place or each.domain in domains]
        if allowed:
            chosen.append(max(allowed, key=lambda each: each.confidence))
    return sorted(chosen, key=lambda each: (-each.confidence, each.path))


def _renamed(contract: Contract, values: FieldValues, missing: Sequence[str]) -> dict[str, list[Suggestion]]:
    """For each path that no record has, the field whose name is most similar; of several, the one that most have."""
    found: dict[str, list[Suggestion]] = {}
    for gone in missing:
        ranked = [(_similarity(gone, path), values.shares[path], path) for path in values.unmapped]
        alike, _, path = max(ranked, default=(0.0, 0, ""))
        for mapping in contract.mappings if alike >= MIN_SIMILARITY else ():
            if gone in mapping.reads:
                domain, _, place = mapping.key.partition(".")
                reason = f"the name is similar to `{gone}`, which it reads now and no record has"
                found.setdefault(path, []).append(Suggestion(path, domain, place, path, round(alike * 100), reason))
    return found


def _same_as_mapped(
    contract: Contract, path: str, own: Mapping[str, str], mapped: Mapping[str, Mapping[str, str]]
) -> Iterator[Suggestion]:
    for other, values in mapped.items():
        if (equal := _equal_share(own, values)) >= MIN_EQUAL:
            places = [mapping.key for mapping in contract.mappings if other in mapping.reads]
            reason = f"the same values as `{other}`, which {' and '.join(places[:2]) or 'the contract'} reads"
            yield Suggestion(path, "", "", None, round(equal * 100), reason)


def _same_as_pages(path: str, own: Mapping[str, str], known: Known) -> Iterator[Suggestion]:
    codes = dict.fromkeys(code for sku in own for code in known.get(sku, {}))
    for code in codes:
        values = {sku: text for sku in own if (text := key_text(known.get(sku, {}).get(code))) is not None}
        if (equal := _equal_share(own, values)) >= MIN_EQUAL:
            reason = f"the same values as the attribute {code} of the pages"
            yield Suggestion(path, "catalog", dotted_key("attributes", code), path, round(equal * 100), reason)


def _in_tables(contract: Contract, path: str, own: Mapping[str, str]) -> Iterator[Suggestion]:
    """Values that are keys of a table of the contract."""
    different = set(own.values())
    if len(different) < MIN_DIFFERENT:
        return
    for name, table in contract.tables.items():
        hits = sum(table.find(value) is not UNSET for value in different) / len(different)
        if hits >= MIN_EQUAL:
            transform = "translate" if table.locales else "lookup"
            place = dotted_key("localized" if table.locales else "attributes", squashed(path) or path)
            spec = {"from": path, transform: name}
            yield Suggestion(path, "catalog", place, spec, round(hits * 90), f"its values are keys of the table {name}")


def _roles(contract: Contract, domains: Sequence[str], profile: RecordProfile) -> dict[str, list[Suggestion]]:
    """Fields whose names say what they are, for places that nothing fills yet."""
    filled = {mapping.key for mapping in contract.mappings}
    found: dict[str, list[Suggestion]] = {}
    for role in ROLES:
        domain = _DOMAIN_OF_ROLE.get(role, "")
        place = "references.gtin" if role == "gtin" else role
        if domain in domains and f"{domain}.{place}" not in filled and (each := field_for(role, profile)) is not None:
            as_text = role != "gtin" and "text" not in each.kinds
            spec = {"from": each.name, **_SPECS[role]} if role in _SPECS and not as_text else each.name
            reason = f"its name says so, and the contract fills no {domain}.{place}"
            found.setdefault(each.name, []).append(Suggestion(each.name, domain, place, spec, ROLE_CONFIDENCE, reason))
    return found


def _as_attribute(path: str) -> Iterator[Suggestion]:
    code = path.removeprefix("$.").replace("\\.", "_").replace(".", "_")
    reason = "only its own name; `ignore` leaves it out"
    yield Suggestion(path, "catalog", dotted_key("attributes", code), path, WEAK_CONFIDENCE, reason)


def _similarity(one: str, other: str) -> float:
    return SequenceMatcher(None, squashed(one), squashed(other)).ratio()


def _equal_share(own: Mapping[str, str], other: Mapping[str, str]) -> float:
    """The share of SKUs with equal values, of those that have both; 0 if they are too few, or all alike."""
    both = own.keys() & other.keys()
    if len(both) < MIN_COMPARED or len({own[sku] for sku in both}) < MIN_DIFFERENT:
        return 0.0
    return sum(own[sku] == other[sku] for sku in both) / len(both)
