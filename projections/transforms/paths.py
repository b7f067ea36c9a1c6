"""How a contract names a place in a record, and how the value there is read."""

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from msgspec import UNSET

from pagefold.projections.transforms.errors import InvalidMapping

Reader: TypeAlias = Callable[[object], object]
"""Reads a record. UNSET where there is nothing."""

MAX_PATH_NAMES = 16
ROOT = "$"
MAX_INDEX_DIGITS = 4
_COLUMN = "column"


class Scope(Protocol):
    """The form of the records that a contract reads. Each kind of source has one."""

    def reader(self, path: str, key: str) -> Reader:
        """Reads the value at a path, or UNSET. Raises `InvalidMapping` for a path that no record can have."""

    def members(self, pattern: str, key: str) -> tuple[Reader, str]:
        """For names with a placeholder: a reader of the object that has them, and the pattern of a name in it."""

    def outermost(self, path: str) -> str:
        """The beginning of a path: its first name, as a path."""


def _value_of(name: str) -> Reader:
    def read(record: object) -> object:
        return record.get(name, UNSET) if type(record) is dict else UNSET

    read.__dict__[_COLUMN] = name
    return read


def column_of(read: Reader) -> str | None:
    """The one name that a reader reads, so that it can be read without a call; None of other readers."""
    column: str | None = getattr(read, _COLUMN, None)
    return column


class ColumnScope:
    """Records with columns: a path is the name of a column, whatever characters it has."""

    def reader(self, path: str, key: str) -> Reader:
        """Reads a column."""
        if not path:
            raise InvalidMapping(key, "names no column")
        return _value_of(path)

    def outermost(self, path: str) -> str:
        """The column."""
        return path

    def members(self, pattern: str, key: str) -> tuple[Reader, str]:
        """All columns."""
        self.reader(pattern, key)
        return _whole, pattern


def _whole(record: object) -> object:
    return record


class NestedScope:
    r"""JSON records: a path has names and indices separated by dots; `$` is the record itself.

    A dot inside a name is written `\.`.
    """

    def reader(self, path: str, key: str) -> Reader:
        """Reads along a path. A step into anything but an object or a list gives UNSET."""
        names = path_names(path, key)
        if not names:
            return _whole
        if len(names) == 1 and not names[0].isdecimal():
            return _value_of(names[0])
        return _along(names)

    def outermost(self, path: str) -> str:
        """The first name; `$` of the record itself."""
        names = path_names(path, "")
        return names[0].replace(".", "\\.") if names else ROOT

    def members(self, pattern: str, key: str) -> tuple[Reader, str]:
        """The object before the last name, and that name."""
        names = path_names(pattern, key)
        if not names:
            raise InvalidMapping(key, f"{pattern!r} has no name")
        return _along(names[:-1]) if names[1:] else _whole, names[-1]


def path_names(path: str, key: str) -> tuple[str, ...]:
    """The names of a path, `$` left out. Raises `InvalidMapping`."""
    names = [name.replace("\0", ".") for name in path.replace("\\.", "\0").split(".")]
    if names[0] == ROOT:
        del names[0]
    if "" in names:
        raise InvalidMapping(key, f"the path {path!r} has an empty name")
    if len(names) > MAX_PATH_NAMES:
        raise InvalidMapping(key, f"the path {path!r:.60} has more than {MAX_PATH_NAMES} names")
    return tuple(names)


def _along(names: tuple[str, ...]) -> Reader:
    indices = {
        name: int(name) for name in names if name.isdecimal() and name.isascii() and len(name) <= MAX_INDEX_DIGITS
    }
    if not indices:
        return _along_objects(names)

    def read(record: object) -> object:
        for name in names:
            if type(record) is dict:
                record = record.get(name, UNSET)
            elif type(record) is list and name in indices and indices[name] < len(record):
                record = record[indices[name]]
            else:
                return UNSET
        return record

    return read


def _along_objects(names: tuple[str, ...]) -> Reader:
    def read(record: object) -> object:
        for name in names:
            if type(record) is not dict:
                return UNSET
            record = record.get(name, UNSET)
        return record

    return read


class ItemScope:
    """Inside `each`: a record is a pair of an item and the record around it. `$.x` is read from the latter."""

    def __init__(self, outer: Scope) -> None:
        self.outer = outer
        self.inner = NestedScope()

    def reader(self, path: str, key: str) -> Reader:
        """`.` is the item itself, `x` a member of it, and `$.x` one of the record."""
        if path == ".":
            return _item
        if path.startswith(f"{ROOT}."):
            return _within(self.outer.reader(path[len(ROOT) + 1 :], key), 1)
        return _within(self.inner.reader(path, key), 0)

    def outermost(self, path: str) -> str:
        """The first name in the item, or in the record around it."""
        if path == ".":
            return path
        if path.startswith(f"{ROOT}."):
            return f"{ROOT}.{self.outer.outermost(path[len(ROOT) + 1 :])}"
        return self.inner.outermost(path)

    def members(self, pattern: str, key: str) -> tuple[Reader, str]:
        """The members of the item."""
        read, last = self.inner.members(pattern, key)
        return _within(read, 0), last


def _item(pair: object) -> object:
    return pair[0]  # type: ignore[index]  # it is a pair


def of_item(read: Reader) -> Reader:
    """The reader of the pair of an item and its record that reads the item."""
    return _within(read, 0)


def _within(read: Reader, place: int) -> Reader:
    return lambda pair: read(pair[place])  # type: ignore[index]  # it is a pair


def named_members(value: object) -> Mapping[str, object]:
    """The members of an object; none of anything else."""
    return value if type(value) is dict else {}
