"""The part of an answer that is about one place of the page."""

import msgspec

from pagefold.domains import DOMAINS
from pagefold.domains.channel_view import ShownProduct
from pagefold.engine.explanations.explanation import (
    AbsentValue,
    ExplainedSection,
    ExplainedValue,
    PageExplanation,
    named_positions,
    reason,
)
from pagefold.projections.explanations import written_path

_DOMAINS = frozenset(domain.name for domain in DOMAINS)
_FIELDS = frozenset({"sku", "channel", "status", "ready", "readiness", "sourceVersions", "updatedAt"})
_CATALOG_FIELDS = frozenset(ShownProduct.__struct_fields__) - {"attributes"}


def explanation_of(page: PageExplanation, path: str) -> PageExplanation:
    """What the answer says of a place, such as `pricing.amount`, and of all that is in it.

    A name that is no field of a page is an attribute; one that only the catalog has as a field, such as `categories`,
    is that. A value that nobody has stated is absent, for the reasons of its section, or because no event has it.
    """
    first = path.partition(".")[0].partition("[")[0]
    if first in _FIELDS:
        values = [each for each in page.values if _overlap(each.path, path)]
        return _narrowed(page, values, [])
    place = path if first in _DOMAINS else _attribute(page, path)
    domain = place.partition(".")[0].partition("[")[0]
    sections = [_section(each, place) for each in page.sections if each.domain == domain]
    return _narrowed(page, [], sections)


def _narrowed(page: PageExplanation, values: list[ExplainedValue], sections: list[ExplainedSection]) -> PageExplanation:
    """The answer with only these parts of it, and the events that they name."""
    named = {*named_positions(values, sections), *(each.event for each in page.reasons)}
    events = [event for event in page.events if event.position in named]
    return msgspec.structs.replace(page, values=values, sections=sections, events=events)


def _attribute(page: PageExplanation, name: str) -> str:
    """The place of an attribute, or of a part of it, whose name may have dots; if there is none, of a catalog field."""
    places = [written_path(("catalog", "attributes", name)), f"catalog.attributes.{name}"]
    known = {each.path for section in page.sections for each in section.values}
    known |= {each.path for section in page.sections for each in section.absent}
    if found := [place for place in places if place in known]:
        return found[0]
    is_field = name.partition(".")[0].partition("[")[0] in _CATALOG_FIELDS
    return f"catalog.{name}" if is_field else places[1]


def _section(section: ExplainedSection, place: str) -> ExplainedSection:
    values = [each for each in section.values if _overlap(each.path, place)]
    absent = [each for each in section.absent if _overlap(each.path, place)]
    if not values and not absent and place != section.domain:
        reasons = [] if section.state == "shown" else section.reasons
        absent = [AbsentValue(place, reasons or [reason("not-stated")])]
    return msgspec.structs.replace(section, values=values, absent=absent)


def _overlap(one: str, other: str) -> bool:
    """Whether one place is the other, or in it."""
    shorter, longer = sorted((one, other), key=len)
    return longer == shorter or (longer.startswith(shorter) and longer[len(shorter)] in ".[")
