"""The fields of records: what they have, and which of it a contract reads."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import NamedTuple

from pagefold.engine.intake.contracts.statement_mapping import Record
from pagefold.projections.transforms.nulls import Nulls
from pagefold.projections.transforms.paths import ROOT, path_names
from pagefold.projections.transforms.value_types import is_blank

MAX_SETTLED = 5_000
"""How many names are remembered as read, or left out."""

MAX_ELEMENTS = 20
"""How many elements of a list are looked into."""

TOP = f"{ROOT}."
"""Before the fields of a message around its records."""

_placeholder = re.compile(r"\\\{[^}]*\\\}")


class Field(NamedTuple):
    """A field of a record that has a value: its path, the value, and whether the contract reads it."""

    path: str
    value: object
    mapped: bool


class _Names:
    """Names that a contract reads in an object, and what it reads below them."""

    def __init__(self) -> None:
        self.whole = False
        self.below: dict[str, _Names] = {}
        self.patterns: list[re.Pattern[str]] = []

    def add(self, names: Iterable[str]) -> "_Names":
        """Adds a path."""
        here = self
        for name in names:
            here = here.below.setdefault(name, _Names())
        return here

    def matches(self, name: str) -> bool:
        """Whether a pattern reads the name."""
        return any(pattern.fullmatch(name) for pattern in self.patterns)


class RecordFields:
    """Lists the fields of records. Pure.

    Of an object of which the contract reads members, each member is a field; else the object is one. In a list, the
    members of its elements are fields without an index. A value that is blank is none, nor is an empty list or object.
    """

    def __init__(  # noqa: PLR0913  # what a contract says of names
        self,
        paths: Iterable[str],
        patterns: Iterable[str],
        ignored: Collection[str],
        *,
        columns: bool,
        items: Iterable[str],
        nulls: Nulls | None = None,
        hidden: Collection[str] = (),
    ) -> None:
        """Of a contract that reads these paths and patterns of a record; those around it begin with `$.`.

        `ignored` are paths that are left out on purpose; `*` stands for any characters. With `columns`, a path is one
        name. `items` are the paths of the records in a message; `nulls` are values that are blank, too. `hidden` are
        names that are no fields of the source.
        """
        self._columns = columns
        self._nulls = nulls or None
        self._record, self._message = _Names(), _Names()
        items = list(items)
        for path in paths:
            inside, names = self._located(path, has_message=bool(items))
            inside.add(names).whole = True
        for path in patterns:
            inside, names = self._located(path, has_message=bool(items))
            inside.add(names[:-1]).patterns.append(_pattern(names[-1]))
        for path in items:
            self._message.add(self._split(path)).whole = True
        self._has_message = bool(items)
        self._ignored = [_ignored_pattern(path) for path in ignored]
        self._hidden = frozenset(hidden)
        self._settled = {name for name, below in self._record.below.items() if below.whole} | self._hidden

    def ignore(self, names: Iterable[str]) -> None:
        """Leaves out names of every message, as those of its envelope, unless the contract reads them."""
        self._ignored += [_ignored_pattern(f"{beginning}{name}") for name in names for beginning in ("", TOP)]

    def of(self, record: Record) -> Iterator[Field]:
        """The fields of a record that have a value. A field may come several times, of several elements of a list."""
        inner, message = record if self._has_message and isinstance(record, tuple) else (record, None)
        yield from self._walk(self._record, inner, "")
        if message is not None:
            yield from self._walk(self._message, message, TOP)

    def is_mapped(self, record: Record) -> bool:
        """Whether a look at the names of a record is enough: each is read as a whole, or left out on purpose."""
        return type(record) is dict and self._settled.issuperset(record)

    def unmapped(self, record: Record) -> list[Field]:
        """The fields of a record that the contract does not read, each once."""
        return list({field.path: field for field in self.of(record) if not field.mapped}.values())

    def _located(self, path: str, *, has_message: bool) -> tuple[_Names, tuple[str, ...]]:
        if has_message and path.startswith(TOP):
            return self._message, self._split(path.removeprefix(TOP))
        return self._record, self._split(path)

    def _split(self, path: str) -> tuple[str, ...]:
        if self._columns:
            return (path,)
        return () if path == "." else path_names(path, "")

    def _walk(self, names: _Names, value: object, prefix: str) -> Iterator[Field]:
        if not isinstance(value, dict):
            return
        for name, each in value.items():
            if (
                is_blank(each)
                or (not each and type(each) in _CONTAINERS)
                or (self._nulls is not None and each in self._nulls)
            ):
                continue
            if name in self._hidden and names is self._record:
                continue
            path = prefix + (name if self._columns else name.replace(".", "\\."))
            below = names.below.get(name)
            if below is None:
                mapped = names.whole or names.matches(name)
                ignored = not mapped and any(pattern.fullmatch(path) for pattern in self._ignored)
                if (mapped or ignored) and names is self._record and len(self._settled) < MAX_SETTLED:
                    self._settled.add(name)
                if not ignored:
                    yield Field(path, each, mapped)
            elif below.whole or not isinstance(each, dict | list):
                yield Field(path, each, mapped=True)
            else:
                yield from self._within(below, each, path)

    def _within(self, below: _Names, value: object, path: str) -> Iterator[Field]:
        if isinstance(value, dict):
            yield from self._walk(below, value, f"{path}.")
            return
        elements: list[object] = value if isinstance(value, list) else []
        for index, element in enumerate(elements[:MAX_ELEMENTS]):
            own = below.below.get(str(index))
            if own is None:
                yield from self._walk(below, element, f"{path}.")
            elif own.whole:
                yield Field(f"{path}.{index}", element, mapped=True)
            else:
                yield from self._walk(own, element, f"{path}.{index}.")


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(_placeholder.sub(".+", re.escape(name)), re.DOTALL)


def _ignored_pattern(path: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, path.split("*"))), re.DOTALL)


def read_paths(mappings: Iterable[tuple[str | None, Collection[str]]]) -> set[str]:
    """The paths of records that tables of a contract read: each with its `each`, and its paths of an element."""
    found: set[str] = set()
    for each, paths in mappings:
        if each is None:
            found.update(paths)
            continue
        found.update(path.removeprefix(TOP) for path in paths if path.startswith(TOP))
        inside = [path for path in paths if not path.startswith(TOP)]
        found.update(each if path == "." else f"{each}.{path}" for path in inside)
    return found


KIND_BITS: Mapping[str, int] = {"text": 1, "number": 2, "boolean": 4, "list": 8, "object": 16}
"""The kinds of values, and their bits in the ledger of fields."""


_KINDS: Mapping[type, str] = {
    str: "text", int: "number", float: "number", Decimal: "number", bool: "boolean", list: "list", tuple: "list",
    dict: "object",
}  # fmt: skip
_CONTAINERS = frozenset([list, dict])


def kind_of(value: object) -> str:
    """The kind of a value that is not blank. A moment of a database is text, as it becomes."""
    return _KINDS.get(type(value), "text")


def kinds_in(bits: int) -> list[str]:
    """The kinds whose bits are set."""
    return [kind for kind, bit in KIND_BITS.items() if bits & bit]
