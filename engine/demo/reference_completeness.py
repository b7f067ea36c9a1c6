"""What a page lacks, by the requirement sets of its channel, in plain dictionaries: a part of the independent model.

It knows the rules that the demo's sets use: attributes, fields, families, the channel's language, the lengths of texts,
and SKUs that must exist.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

Document: TypeAlias = dict[str, Any]


class Measured(NamedTuple):
    """The `completeness` of a section, and whether something is lacking that blocks."""

    completeness: Document
    blocked: bool


def measured(
    section: Mapping[str, Any],
    foreign: Collection[str],
    sets: Sequence[Mapping[str, Any]],
    exists: Callable[[str], bool],
) -> Measured:
    """The completeness of a catalog section.

    `foreign` are the texts that are not in the channel's own language; `exists` says whether the channel has a SKU.
    """
    asked: set[str] = set()
    missing: set[str] = set()
    invalid: set[str] = set()
    blocking: set[str] = set()
    families = lineage(section["family"], sets)
    required = [(rule, True) for each in sets for rule in each.get("requires", [])]
    for rule, is_required in required + [(rule, False) for each in sets for rule in each.get("checks", [])]:
        if rule.get("family") and families.isdisjoint(rule["family"]):
            continue
        for name, value in values(section, rule):
            if not is_required and not filled(value):
                continue
            asked.add(name)
            is_foreign = rule.get("locale") == "channel" and name in foreign
            if not filled(value) or is_foreign:
                missing.add(name)
            elif not passes(value, rule.get("check", {})) or not all(map(exists, skus(value, rule))):
                invalid.add(name)
            else:
                continue
            if rule.get("severity", "blocks") == "blocks":
                blocking.add(name)
    invalid -= missing
    lacking = missing | invalid
    found: Document = {"percent": 100 * (len(asked) - len(lacking)) // len(asked) if asked else 100}
    lists = {"missing": missing, "invalid": invalid, "warns": lacking - blocking}
    found |= {key: sorted(names) for key, names in lists.items() if names or key == "missing"}
    return Measured(found, bool(blocking))


def values(section: Mapping[str, Any], rule: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Each thing that a rule asks for, with the page's value."""
    attributes = [
        (name, at(section["attributes"], name) if rule.get("in_catalog") else section["attributes"].get(name))
        for name in rule.get("attributes", [])
    ]
    return attributes + [(name, section[name]) for name in rule.get("fields", [])]


def at(value: Any, path: str) -> Any:  # noqa: ANN401  # JSON
    """What is at a path into objects."""
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def skus(value: object, rule: Mapping[str, Any]) -> list[str]:
    """The SKUs of an attribute that must exist: one, or a list of several. None by rules that do not ask for that."""
    if not rule.get("in_catalog"):
        return []
    found = value if isinstance(value, list) else [value]
    return [str(each) for each in found if filled(each)]


def lineage(family: str | None, sets: Sequence[Mapping[str, Any]]) -> set[str]:
    """A family and all above it."""
    above = {name: parent for each in sets for name, parent in each.get("families", {}).items()}
    found: set[str] = set()
    while family is not None and family not in found:
        found.add(family)
        family = above.get(family)
    return found


def filled(value: object) -> bool:
    """Whether a value counts: numbers and booleans do, blank texts and empty lists do not."""
    if isinstance(value, str):
        return value.strip() != ""
    if isinstance(value, (list, dict)):
        return any(filled(each) for each in (value.values() if isinstance(value, dict) else value))
    return value is not None


def passes(value: object, check: Mapping[str, Any]) -> bool:
    """Whether a text has a length that is allowed."""
    return not isinstance(value, str) or check.get("min_length", 0) <= len(value) <= check.get("max_length", len(value))
