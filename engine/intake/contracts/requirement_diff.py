"""What changed between two requirement sets: what becomes required, and what no longer is.

A change is breaking if it may keep a page from being ready that was, and compatible otherwise.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import msgspec

from pagefold.engine.configuration.toml_documents import Document
from pagefold.engine.intake.contracts.contract_diff import Change, Effect, loosened
from pagefold.engine.intake.contracts.toml_text import dotted_key, inline_value
from pagefold.projections.requirement_needs import labels
from pagefold.projections.requirement_sets import Requirement, RequirementSet
from pagefold.projections.requirements import parse_requirements

_ABOUT = ("family", "only", "locale", "in_tree", "in_catalog")


def requirement_changes(old: Document, new: Document) -> list[Change]:
    """The changes from one set to another. Names and versions do not count. Raises `InvalidMapping`."""
    before, after = parse_requirements(old), parse_requirements(new)
    changes = [*_day_changes(before.valid_from, after.valid_from), *_family_changes(before.families, after.families)]
    for table in ("requires", "checks"):
        asked, asked_anew = _by_label(before, table), _by_label(after, table)
        for label in sorted({*asked, *asked_anew}):
            changes += _changes(table, label, asked.get(label, []), asked_anew.get(label, []))
    return sorted(changes)


def _day_changes(old: date | None, new: date | None) -> Iterator[Change]:
    """A set that counts earlier may lack something on a page that is ready until then."""
    if old != new:
        effect: Effect = "compatible" if (new or date.min) > (old or date.min) else "breaking"
        yield Change("valid_from", effect, f"from {new} on" if new else "at once")


def _by_label(document: RequirementSet, table: str) -> dict[str, list[Requirement]]:
    found: dict[str, list[Requirement]] = {}
    for index, each in enumerate(getattr(document, table)):
        for label in labels(each, f"{table}[{index}]"):
            found.setdefault(label, []).append(each)
    return found


def _changes(table: str, label: str, old: Sequence[Requirement], new: Sequence[Requirement]) -> Iterator[Change]:
    place = dotted_key(table, label)
    rest = [each for each in old if _spec(each) not in map(_spec, new)]
    for each in new:
        if _spec(each) in map(_spec, old):
            continue
        before = next((other for other in rest if _about(other) == _about(each)), None)
        if before is not None:
            rest.remove(before)
        milder = before is not None and loosened(before.check, each.check) and before.severity == "blocks"
        effect: Effect = "compatible" if each.severity == "warns" or milder else "breaking"
        is_asked = "is required" if table == "requires" else "is checked"
        yield Change(place, effect, f"{is_asked}{_conditions(each)}{'' if before is None else ', and was otherwise'}")
    for each in rest:
        yield Change(place, "compatible", f"is no longer {table.removesuffix('s')}d{_conditions(each)}")


def _spec(written: Requirement) -> dict[str, object]:
    return {**_about(written), "severity": written.severity, "check": written.check}


def _about(written: Requirement) -> dict[str, object]:
    """Of which products it is, and in which language."""
    return {name: getattr(written, name) for name in _ABOUT}


def _conditions(written: Requirement) -> str:
    """What the requirement says beside the attribute."""
    said = msgspec.to_builtins(written)
    shown = {name: said[name] for name in (*_ABOUT, "severity", "check") if said[name] != _DEFAULTS[name]}
    return f" {inline_value(shown)}" if shown else ""


_DEFAULTS: Mapping[str, object] = msgspec.to_builtins(Requirement())


def _family_changes(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Change]:
    """A family that comes below another one gets what is asked of that one."""
    for family in sorted({*old, *new}):
        before, after = old.get(family), new.get(family)
        if before != after:
            text = "is below no other" if after is None else f"is below {inline_value(after)}"
            yield Change(dotted_key("families", family), "compatible" if after is None else "breaking", text)
