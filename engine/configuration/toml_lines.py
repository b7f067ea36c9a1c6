"""Where the keys of a TOML file are."""

import tomllib
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property

MAX_VALUE_LINES = 1_000
"""The lines after which the end of a value is no longer searched for."""


class KeyPlaces:
    """The places of keys in a file, such as `pagefold.toml:12`. Lines are searched when the first place is asked for.

    Keys in `overridden` have none: their values come from elsewhere. `file` is the file's name.
    """

    def __init__(self, file: str, text: str, overridden: Collection[str] = ()) -> None:
        self.file = file
        self._text = text
        self._overridden = overridden

    def place_of(self, key: str) -> str | None:
        """The file, and the line of the key or of the innermost table around it, if there is one."""
        if key in self._overridden:
            return None
        line = self._lines.line_of(key)
        return self.file if line is None else f"{self.file}:{line}"

    @cached_property
    def _lines(self) -> "KeyLines":
        return KeyLines(self._text)


class KeyLines:
    """The lines of a TOML document by dotted key. The document is valid."""

    def __init__(self, text: str) -> None:
        self._lines: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        table = ""
        for number, statement in _statements(text):
            if statement.startswith("["):
                [table] = list(_keys(tomllib.loads(statement)))[-1:]
                if statement.startswith("[["):
                    array = self._numbered(table)
                    self._sizes[array] = self._sizes.get(array, 0) + 1
                    self._note(f"{table}[{self._sizes[array] - 1}]", number)
                self._note(table, number)
            else:
                for key in _keys(tomllib.loads(statement)):
                    self._note(f"{table}.{key}" if table else key, number)

    def _note(self, key: str, line: int) -> None:
        """Notes the line of a key: with the numbers of the tables around it, and, of the first, without."""
        self._lines.setdefault(key, line)
        self._lines.setdefault(self._numbered(key), line)

    def _numbered(self, key: str) -> str:
        """The key, with the number of the newest table of each array around it."""
        numbered = ""
        for name in key.split("."):
            numbered += f".{name}" if numbered else name
            if numbered != key and numbered in self._sizes:
                numbered += f"[{self._sizes[numbered] - 1}]"
        return numbered

    def line_of(self, key: str) -> int | None:
        """The line of a key, else of the innermost table around it; None if the document has neither."""
        while key:
            if key in self._lines:
                return self._lines[key]
            key = key[:-1].rpartition("[")[0] if key.endswith("]") else key.rpartition(".")[0]
        return None


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yields each table header, and each key with its value, with the number of its first line."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        first = lines[at].strip()
        size = 1
        if first and not first.startswith("#"):
            while not _is_whole(statement := "\n".join([first, *lines[at + 1 : at + size]])):
                size += 1
                if size > MAX_VALUE_LINES or at + size > len(lines):
                    return
            yield at + 1, statement
        at += size


def _is_whole(statement: str) -> bool:
    try:
        tomllib.loads(statement)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _keys(document: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    """Yields every dotted key, outer tables first."""
    for name, value in document.items():
        yield prefix + name
        if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
            value = value[0]  # noqa: PLW2901  # of an array of tables, the first
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{name}.")
