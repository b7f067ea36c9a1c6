"""The values of a section with their origins, and those that it does not have."""

from collections.abc import Sequence
from typing import Any

from pagefold.domains.domain import JSON
from pagefold.domains.fold_trace import Given, Path
from pagefold.engine.explanations.explanation import AbsentValue, ExplainedValue, Input, Reason, reason
from pagefold.engine.explanations.folded_section import FoldedSection
from pagefold.engine.explanations.uncounted_events import Offer
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.projections.explanations import ReasonCode, Taken, leaves, written_path

NOTHING: tuple[JSON, ...] = (None, [], {})
"""What a section has where no source has said anything."""

_LACKING = frozenset({"missing", "invalid", "unmapped"})


class SectionValues:
    """What is at each place of one section. `checkpoint` is how far the domain is folded."""

    def __init__(
        self, domain: str, body: JSON, folded: FoldedSection, offers: Sequence[Offer], checkpoint: int
    ) -> None:
        self._domain = domain
        self._body = body
        self._fold = folded.fold
        self._folded = folded
        self._offers = offers
        self._checkpoint = checkpoint

    def values(self) -> list[ExplainedValue]:
        """Every value, in the order of the section."""
        return [self._value(path, taken) for path, taken in self._origins().items()]

    def absent(self) -> list[AbsentValue]:
        """Every value that somebody has stated or asks for, by path, without those that the section has."""
        stated = {path for path, leaf in leaves(self._body) if leaf in NOTHING} - self._origins().keys()
        wanted = [
            *(each.path for each in self._fold.passed),
            *(each.path for each in self._fold.lacks),
            *(each.path for each in self._offers),
        ]
        paths = stated | {path for path in wanted if path and not self._has(path)}
        return [
            AbsentValue(self._written(path), self._reasons(path) or [reason("not-stated")])
            for path in sorted(paths, key=written_path)
        ]

    def lacking(self) -> list[AbsentValue]:
        """What keeps a section from being shown at all, and what else is wrong with it, by path."""
        lacks = [each for each in self._fold.lacks if each.path and each.reason in _LACKING]
        return [
            AbsentValue(self._written(path), [reason(each.reason, each.detail) for each in lacks if each.path == path])
            for path in sorted({each.path for each in lacks}, key=written_path)
        ]

    def _origins(self) -> dict[Path, Taken]:
        """The origin of each value, by path. What the fold did not report is made of all that it was given."""
        found: dict[Path, Taken] = {}
        for path, leaf in leaves(self._body):
            origin = self._fold.origin(path)
            if origin is not None:
                found.setdefault(*origin)
            elif leaf not in NOTHING:
                found[path] = Taken(tuple(Given(source, (), None) for source in self._folded.origins), "computed")
        return found

    def _value(self, path: Path, taken: Taken) -> ExplainedValue:
        origins = [(self._folded.origin_of(given), given.path) for given in taken.given]
        inputs = [Input(event.notification_id, written_path(place), value) for (event, value), place in origins]
        late = [each.event for each in inputs if each.event > self._checkpoint]
        reasons = [*self._reasons(path), *(reason("not-folded", event=position) for position in dict.fromkeys(late))]
        return ExplainedValue(self._written(path), self._at(path), taken.how, taken.rule, inputs, reasons)

    def _reasons(self, path: Path) -> list[Reason]:
        """What else there would be at a path, and what is wrong there."""
        value = self._at(path) if self._has(path) else None
        offers = [each for each in self._offers if each.path == path and self._is_of_interest(each, value)]
        return [
            *[
                _reason(each.reason, each.detail, event, each.given.path, value)
                for each in self._fold.passed
                if each.path == path
                for event, value in [self._folded.origin_of(each.given)]
            ],
            *[_reason(each.code, each.detail, each.event, each.given.path, each.given.value) for each in offers],
            *[reason(each.reason, each.detail) for each in self._fold.lacks if each.path == path],
        ]

    @staticmethod
    def _is_of_interest(offer: Offer, value: JSON) -> bool:
        """What is for other channels is of interest where there is nothing, what was before where it was different."""
        if offer.code == "other-channel":
            return value in NOTHING
        return offer.code != "superseded" or bool(offer.detail) or offer.given.value != value

    def _has(self, path: Path) -> bool:
        """Whether the section has something at a path, if only something empty."""
        at = self._body
        for name in path:
            is_member = isinstance(at, dict) and name in at
            if not is_member and not (isinstance(at, list) and isinstance(name, int) and name < len(at)):
                return False
            at = at[name]  # type: ignore[index]  # as was just found
        return True

    def _at(self, path: Path) -> JSON:
        """What the section has at a path that it has."""
        at = self._body
        for name in path:
            at = at[name]  # type: ignore[index]  # as `_has` has found
        return at

    def _written(self, path: Path) -> str:
        return written_path((self._domain, *path))


def _reason(code: ReasonCode, detail: str, event: StoredEvent, path: Path, value: Any) -> Reason:  # noqa: ANN401  # JSON
    return reason(code, detail, event=event.notification_id, path=written_path(path), value=value)
