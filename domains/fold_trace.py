"""What a fold says of itself while somebody asks why: which value is from where, and what stopped another.

A fold takes a trace as its last parameter, and calls it where it decides. Without one it only folds, at no cost; with
one it gives the same bytes.
"""

from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""A place in a document: names of members, and indices of items."""

How: TypeAlias = Literal["stated", "text", "computed", "contract", "requirements", "configuration", "page"]
"""How a value of a page was made.

`stated`: as an event states it. `text`: one of several languages of it. `computed`: by the rule of its domain.
`contract`: by a mapping of the channel's contract. `requirements`: measured against the channel's requirement sets.
`configuration`: as the configuration says. `page`: it describes the page itself, such as `ready`.
"""

FoldReason: TypeAlias = Literal[
    "lower-rank",
    "own-text",
    "no-language",
    "no-parent",
    "withdrawn",
    "own-statement",
    "other-currency",
    "disabled",
    "not-in-contract",
    "unmapped",
    "nothing-to-map",
    "missing",
    "invalid",
    "incomplete",
    "filtered",
    "empty",
]
"""Why a fold does not use something. The texts are in `projections/explanations.py`."""


class Given(NamedTuple):
    """What a source's payload has at a path. `Any`, because it is JSON, which has no type of its own here."""

    source: str
    path: Path
    value: Any


class FoldTrace(Protocol):
    """Receives each decision of a fold, in its order. It must change nothing.

    Paths of values are those in the section, `()` for all of it.
    """

    def use(self, suffix: str) -> None:
        """The head of the stream with this suffix counts: it is what its source says."""

    def skip(self, suffix: str, reason: FoldReason, detail: str = "") -> None:
        """The head of the stream with this suffix does not count."""

    def take(self, path: Path, *given: Given, how: How = "stated", rule: str = "") -> None:
        """The value at a path, with all that is in it, is made of these, by a rule in words if it is not the same."""

    def pass_over(self, path: Path, given: Given, reason: FoldReason, detail: str = "") -> None:
        """A value is not used at a path."""

    def stop(self, reason: FoldReason, detail: str = "", source: str | None = None) -> None:
        """The section is disabled, or not ready, for all of it; by a source, if it is its payload's doing."""

    def derive(self, path: Path, rule: str, *, of: Path | None = None) -> None:
        """The value at a path is made of what was there before, or at another path, by a rule in words."""

    def apply_contract(self, contract: str, made: Mapping[Path, tuple[Collection[str], str]]) -> None:
        """From here on, attributes are those of a contract: at each path, of what it is made, and the rule.

        It is made of attributes, by their codes before, and of fields such as `@family`. Without a rule it is the
        attribute as it was. Attributes of which nothing is made are not shown; nor is what the section does not have.
        """

    def lack(self, path: Path, reason: FoldReason, detail: str = "") -> None:
        """Something is wrong with the value at a path, or there is none."""
