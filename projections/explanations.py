"""What a fold decided: the origin of each value of a section, and why the rest is not used. Pure.

`RecordedFold` is the trace of one fold for one channel. Why something does not count is one of `REASONS`:
of the fold itself, or of what compares it with the rest of the log.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Literal, NamedTuple, TypeAlias

from pagefold.domains.domain import JSON
from pagefold.domains.fold_trace import FoldReason, FoldTrace, Given, How, Path

ReasonCode: TypeAlias = (
    FoldReason
    | Literal[
        "superseded",
        "kept",
        "not-listened",
        "other-channel",
        "unpublished",
        "unknown-source",
        "unknown-channel",
        "cannot-fold",
        "not-inherited",
        "dead-letter",
        "waiting",
        "fetching",
        "not-folded",
        "not-applied",
        "wrong",
        "not-stated",
        "no-event",
        "not-ready",
    ]
)
"""Why a value, a section or a page is not there, or not ready; or why an event does not count."""

REASONS: Mapping[ReasonCode, str] = {
    "lower-rank": "Another source with a higher rank has it.",
    "own-text": "The same event has a text for it in a language of the channel.",
    "no-language": "There is no text in a language that the channel tries.",
    "no-parent": "The parent does not exist, or nothing that it states counts here.",
    "withdrawn": "The source withdrew it.",
    "own-statement": "The source has an event for this channel, which counts in place of that for every channel.",
    "other-currency": "The price is in another currency than the channel's.",
    "disabled": "The source has disabled the product.",
    "not-in-contract": "The channel's contract does not show it.",
    "unmapped": "The channel's contract cannot map the value.",
    "nothing-to-map": "The channel's contract makes it of something that the product does not have.",
    "missing": "The channel requires it.",
    "invalid": "The value breaks a rule of the channel.",
    "incomplete": "The channel shows no product that lacks something that blocks.",
    "filtered": "A filter of the channel hides the product.",
    "empty": "The sources have sent an empty list.",
    "superseded": "The source has sent a newer version.",
    "kept": "It lacks something that blocks; the page keeps an older version that is complete.",
    "not-listened": "The channel does not listen to this source.",
    "other-channel": "The event is for another channel.",
    "unpublished": "The event is of a release that is not published.",
    "unknown-source": "The configuration has no such source for this domain.",
    "unknown-channel": "The configuration has no such channel.",
    "cannot-fold": "The newest version cannot be folded, so that an older one counts.",
    "not-inherited": "Nothing is inherited: the parents form a cycle, or there are too many.",
    "dead-letter": "Something of it is in dead letters.",
    "waiting": "Something waits for a reference under which no product is known.",
    "fetching": "A record is to be fetched from the source.",
    "not-folded": "The stored page is behind the log.",
    "not-applied": "The stored page was folded under another configuration.",
    "wrong": "The stored page is not what the log gives: `pagefold verify` and `pagefold recover`.",
    "not-stated": "No event that counts has it.",
    "no-event": "No source has sent an event that counts.",
    "not-ready": "A domain that the channel requires is not ready.",
}
"""Each reason as a text for people."""


class Taken(NamedTuple):
    """Where a value is from: what it is made of, and how; `rule` says it in words where it is not the same."""

    given: tuple[Given, ...]
    how: How
    rule: str = ""


class Passed(NamedTuple):
    """What is not used at a path of the section, and why."""

    path: Path
    given: Given
    reason: ReasonCode
    detail: str = ""


class Lack(NamedTuple):
    """What is wrong at a path of the section, or with all of it (`()`); `source` is whose payload does it, if any."""

    path: Path
    reason: FoldReason
    detail: str = ""
    source: str | None = None


class RecordedFold(FoldTrace):
    """The decisions of one fold for one channel.

    `used` and `skipped` are the suffixes of the streams that count, and of those that do not. `taken` has the origin of
    each value of the section, by its path; what is in a value is from the same origin.
    """

    def __init__(self) -> None:
        self.used: list[str] = []
        self.skipped: dict[str, tuple[ReasonCode, str]] = {}
        self.taken: dict[Path, Taken] = {}
        self.passed: list[Passed] = []
        self.lacks: list[Lack] = []
        self._made: Mapping[Path, tuple[Collection[str], str]] | None = None

    def use(self, suffix: str) -> None:
        """See `FoldTrace`, as for the rest."""
        self.used.append(suffix)

    def skip(self, suffix: str, reason: FoldReason, detail: str = "") -> None:
        """Likewise."""
        self.skipped[suffix] = reason, detail

    def take(self, path: Path, *given: Given, how: How = "stated", rule: str = "") -> None:
        """Likewise."""
        self.taken[path] = Taken(given, how, rule)

    def pass_over(self, path: Path, given: Given, reason: FoldReason, detail: str = "") -> None:
        """Likewise."""
        self.passed.append(Passed(path, given, reason, detail))

    def stop(self, reason: FoldReason, detail: str = "", source: str | None = None) -> None:
        """Likewise."""
        self.lacks.append(Lack((), reason, detail, source))

    def lack(self, path: Path, reason: FoldReason, detail: str = "") -> None:
        """Likewise."""
        self.lacks.append(Lack(path, reason, detail))
        if reason == "unmapped":
            self.taken[("unmapped",)] = Taken((), "contract", "what cannot be mapped")

    def derive(self, path: Path, rule: str, *, of: Path | None = None) -> None:
        """Likewise."""
        if (before := self.taken.get(path if of is None else of)) is not None:
            self.taken[path] = Taken(before.given, "computed", rule)

    def apply_contract(self, contract: str, made: Mapping[Path, tuple[Collection[str], str]]) -> None:
        """Likewise."""
        self._made = made
        before, passed = self.taken, self.passed
        self.taken = {path: taken for path, taken in before.items() if path[0] != _ATTRIBUTES}
        self.passed = [each for each in passed if each.path[0] != _ATTRIBUTES]
        for path, (codes, rule) in made.items():
            sources = [_path_before(code) for code in codes]
            if rule:
                given = tuple(each for source in sources if source in before for each in before[source].given)
                self.taken[path] = Taken(given, "contract", f"{contract}: {path[-1]} = {rule}")
            else:
                self.taken[path] = before[path]
            if path[0] == _ATTRIBUTES:
                self.passed += [each._replace(path=path) for each in passed if each.path in sources]
        self.taken[("contract",)] = Taken((), "contract", contract)
        read = {_path_before(code) for codes, _ in made.values() for code in codes}
        for path, taken in before.items():
            if path[0] == _ATTRIBUTES and path not in read:
                self.passed += [Passed(path, given, "not-in-contract", contract) for given in taken.given]

    def keep(self, suffix: str, newest: "RecordedFold") -> None:
        """An older version of a stream counts alone, in place of the `newest` versions, which are incomplete."""
        lacking = [written_path(each.path) for each in newest.lacks if each.reason in {"missing", "invalid"}]
        detail = ", ".join(dict.fromkeys(lacking))
        self.used = [suffix]
        self.skipped = {**newest.skipped, **dict.fromkeys(newest.used, ("kept", detail))}

    def places_of(self, path: Path) -> list[Path]:
        """Where the section shows what a product has at a path: under the names of the channel's contract, if any."""
        if self._made is None or path[0] != _ATTRIBUTES:
            return [path]
        return [place for place, (codes, _) in self._made.items() if any(_path_before(code) == path for code in codes)]

    def origin(self, path: Path) -> tuple[Path, Taken] | None:
        """The origin of the value at a path, and the path that it was recorded for. None if there is none."""
        for length in range(len(path), -1, -1):
            if (found := self.taken.get(path[:length])) is not None:
                return path[:length], found
        return None


_ATTRIBUTES = "attributes"


def _path_before(code: str) -> Path:
    """The path of what a contract reads, before it is applied."""
    if code == "@paths":
        return ("categories",)
    return (code[1:],) if code.startswith("@") else (_ATTRIBUTES, code)


def leaves(document: JSON, path: Path = ()) -> Iterator[tuple[Path, JSON]]:
    """The leaves of a document, with their paths: what is no object and no list, and empty ones."""
    if isinstance(document, dict) and document:
        for name, value in document.items():
            yield from leaves(value, (*path, name))
    elif isinstance(document, list) and document:
        for index, value in enumerate(document):
            yield from leaves(value, (*path, index))
    else:
        yield path, document


def written_path(path: Path) -> str:
    r"""A path as people write it: `attributes.name`, `assets[0].url`. Before `.`, `[` and `\` in a name is a `\`."""
    parts = [f"[{each}]" if isinstance(each, int) else "." + _special.sub(r"\\\g<0>", each) for each in path]
    return "".join(parts).removeprefix(".")


_special = re.compile(r"[.\[\\]")
