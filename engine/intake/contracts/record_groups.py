"""Collects the records of a snapshot, or of one message, and joins them once all of them are there.

They are in an unlinked temporary SQLite file, so that a million of them need little memory: it is gone when the process
ends, however that happens.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, Self, cast

import apsw

from pagefold.engine.errors import SpillFailed
from pagefold.engine.intake.contracts.export_rows import encode_json
from pagefold.engine.intake.contracts.record_join import RECORDS, Join
from pagefold.engine.intake.contracts.statement_mapping import Record
from pagefold.engine.runtime.spill_file import open_spill_file
from pagefold.projections.transforms import InvalidValue
from pagefold.projections.transforms.json_text import decode_exactly

MAX_GROUP_RECORDS = 10_000
MAX_GROUP_BYTES = 64 * 1024 * 1024

BUFFERED_RECORDS = 500
"""Records that are stored in one transaction."""

_TABLES = """
CREATE TABLE records (number INTEGER PRIMARY KEY, part TEXT, row INTEGER, content INTEGER, text BLOB);
CREATE TABLE keys (number INTEGER, name TEXT, value TEXT);
CREATE TABLE links (number INTEGER, role TEXT, name TEXT, value TEXT);
CREATE TABLE nodes (number INTEGER PRIMARY KEY, id TEXT, parent TEXT, left_out INTEGER);
CREATE TABLE members (head INTEGER, role TEXT, number INTEGER, PRIMARY KEY (head, role, number)) WITHOUT ROWID;
"""
_INSERT_RECORD = "INSERT INTO records VALUES (?, ?, ?, ?, ?)"
_INSERT_KEY = "INSERT INTO keys VALUES (?, ?, ?)"
_INSERT_LINK = "INSERT INTO links VALUES (?, ?, ?, ?)"
_INSERT_NODE = "INSERT INTO nodes VALUES (?, ?, ?, ?)"

_REPEATED = """
CREATE TEMP TABLE repeated AS
SELECT number FROM (
    SELECT number, row_number() OVER (PARTITION BY content ORDER BY number) AS place FROM records WHERE part = ?
)
WHERE place > 1
"""
_FORGET_REPEATED = """
DELETE FROM records WHERE number IN (SELECT number FROM repeated);
DELETE FROM keys WHERE number IN (SELECT number FROM repeated);
DELETE FROM links WHERE number IN (SELECT number FROM repeated);
DELETE FROM nodes WHERE number IN (SELECT number FROM repeated);
"""
_JOIN_GROUPS = """
INSERT INTO members
SELECT min(number) OVER (PARTITION BY value), '', number FROM keys ORDER BY 1, 3
"""
_JOIN_TREES = """
DELETE FROM nodes
WHERE id IS NOT NULL AND number NOT IN (SELECT max(number) FROM nodes WHERE id IS NOT NULL GROUP BY id);
CREATE INDEX nodes_by_parent ON nodes (parent);
CREATE TABLE tree AS
WITH RECURSIVE tree (head, number, id, left_out) AS (
    SELECT number, number, id, left_out FROM nodes WHERE parent IS NULL
    UNION ALL
    SELECT tree.head, nodes.number, nodes.id, max(tree.left_out, nodes.left_out)
    FROM tree JOIN nodes ON nodes.parent = tree.id
)
SELECT head, number, left_out FROM tree;
INSERT INTO members SELECT head, '', number FROM tree WHERE left_out = 0 ORDER BY head, number;
"""
_JOIN_ROLES = """
CREATE INDEX keys_by_value ON keys (value, name);
INSERT INTO members
SELECT DISTINCT keys.number, links.role, links.number
FROM links CROSS JOIN keys ON keys.value = links.value AND keys.name = links.name
UNION ALL
SELECT DISTINCT number, '', number FROM keys
ORDER BY 1, 2, 3;
"""
_LEFT_OUT_OF_TREES = "SELECT count(*) FROM tree WHERE left_out = 1"
_WITHOUT_MAIN = "SELECT count(*) FROM (SELECT number FROM records EXCEPT SELECT number FROM members)"
_WITHOUT_ROOT = """
SELECT row, parent FROM nodes JOIN records USING (number)
WHERE number NOT IN (SELECT number FROM tree) ORDER BY number
"""
_MEMBERS = """
SELECT members.head, members.role, members.number, row, text
FROM members CROSS JOIN records ON records.number = members.number
ORDER BY members.head, members.role, members.number
"""


class Group(NamedTuple):
    """A joined record, the row of its head, the records that it was made of, and their bytes.

    `problem` says why there is no such record.
    """

    row: int
    value: Record
    records: Sequence[Record] = ()
    size: int = 0
    problem: InvalidValue | None = None


class RecordGroups:
    """The records of one reading, and what they become by a join. Use it in a `with`. Raises `SpillFailed`.

    `left_out` counts the records that take no part, or join to nothing.
    """

    def __init__(self, join: Join) -> None:
        self._join = join
        self.left_out = 0
        self._number = 0
        self._records: list[tuple[int, str, int, int, bytes]] = []
        self._keys: list[tuple[int, str, str]] = []
        self._links: list[tuple[int, str, str, str]] = []
        self._nodes: list[tuple[int, str | None, str | None, int]] = []
        self._last_key: str | None = None
        self._last_left_out = False
        self._named: set[str] = set()
        self._parts: set[str] = set()
        self._connection = open_spill_file(_TABLES)

    def __enter__(self) -> Self:
        """The groups themselves."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Deletes the file."""
        self._connection.close()

    def add(self, part: str, row: int, record: Record) -> None:
        """Takes a record of a part of the snapshot, from the given row. Raises `InvalidValue` for one without place."""
        self._number += 1
        self._parts.add(part)
        taken = {"group": self._add_to_group, "tree": self._add_to_tree, "roles": self._add_to_roles}[self._join.kind](
            part, record
        )
        if not taken:
            self.left_out += 1
            return
        text = encode_json(record)
        self._records.append((self._number, part, row, hash(text), text))
        if len(self._records) >= BUFFERED_RECORDS:
            self._store()

    def _add_to_group(self, _part: str, record: Record) -> bool:
        join, number = self._join, self._number
        key, taken = join.key(record), join.takes(record)
        if key is not None:
            self._named.add("join.by")
            self._last_key, self._last_left_out = key, not taken
        elif join.continued and self._last_key is not None:
            key, taken = self._last_key, taken and not self._last_left_out
        if taken:
            self._keys.append((number, "", f"={key}" if key is not None else f"#{number}"))
        return taken

    def _add_to_tree(self, _part: str, record: Record) -> bool:
        node = self._join.node(record)
        self._named.update(["join.id"] if node.id is not None else [])
        self._nodes.append((self._number, node.id, node.parent, int(not self._join.takes(record))))
        return True  # else what is below it would have no root

    def _add_to_roles(self, part: str, record: Record) -> bool:
        join, number = self._join, self._number
        if part == RECORDS and not join.takes(record):
            return False
        links = join.links(part, record)
        self._named.update(f"join.with.{link.role}" for link in links)
        self._links += [(number, *link) for link in links]
        if part == RECORDS:
            keys = join.keys(record)
            self._named.update(f"join.keys.{name}" for name, _ in keys)
            self._keys += [(number, *each) for each in keys]
        return part == RECORDS or bool(links)

    def unnamed(self) -> list[str]:
        """The keys of the contract that no record has, although others are to be joined by them."""
        match self._join.kind:
            case "group":
                wanted = ["join.by"]
            case "tree":
                wanted = ["join.id"]
            case "roles":
                roles = self._join.roles.items()
                others = {name: role for name, role in roles if role.part in self._parts - {RECORDS}}
                wanted = [f"join.with.{name}" for name in others]
                wanted += [f"join.keys.{key}" for role in others.values() for key in role.keys]
        return [name for name in dict.fromkeys(wanted) if name not in self._named] if self._number else []

    def repeated(self, part: str, *, forget: bool) -> int:
        """How many records of a part repeat an earlier one of it; with `forget`, they count once."""
        self._store()
        self._run(_REPEATED, (part,))
        number = cast("int", self._connection.execute("SELECT count(*) FROM repeated").get)
        if forget and number:
            self._run(_FORGET_REPEATED)
        self._run("DROP TABLE repeated")
        return number

    def join(self) -> None:
        """Joins the records that were taken."""
        self._store()
        self._run({"group": _JOIN_GROUPS, "tree": _JOIN_TREES, "roles": _JOIN_ROLES}[self._join.kind])
        count = {"group": None, "tree": _LEFT_OUT_OF_TREES, "roles": _WITHOUT_MAIN}[self._join.kind]
        if count is not None:
            self.left_out += cast("int", self._connection.execute(count).get)

    def __iter__(self) -> Iterator[Group]:
        """What the records became, in the order of the heads; and what belongs to no tree."""
        if self._join.kind == "tree":
            for row, parent in self._query(_WITHOUT_ROOT):
                problem = InvalidValue("no_root", parent, "is the parent that it names, and no root is above it")
                problem = problem.located("join.parent", "")
                yield Group(cast("int", row), None, problem=problem)
        for _, members in groupby(self._query(_MEMBERS), key=lambda member: member[0]):
            yield self._group(members)

    def _group(self, members: Iterator[tuple[object, ...]]) -> Group:
        """One group. No more of its members are held than a group may have."""
        held: list[tuple[str, bool, bytes]] = []
        row, number, size = 0, 0, 0
        for head, role, own, at, text in members:
            is_head = head == own and role == ""
            row = cast("int", at) if is_head else row
            number += 1
            size += len(cast("bytes", text))
            if number > MAX_GROUP_RECORDS or size > MAX_GROUP_BYTES:
                held.clear()
            else:
                held.append((cast("str", role), is_head, cast("bytes", text)))
        if number > MAX_GROUP_RECORDS or size > MAX_GROUP_BYTES:
            limit = f"records would become one; at most {MAX_GROUP_RECORDS:,} of {MAX_GROUP_BYTES // 1024**2} MiB may"
            return Group(row, None, problem=InvalidValue("too_many", number, limit).located("join", ""))
        return self._joined(row, held)._replace(size=size)

    def _joined(self, row: int, held: Sequence[tuple[str, bool, bytes]]) -> Group:
        head = next(self._decoded(text) for _, is_head, text in held if is_head)
        own = [head, *(self._decoded(text) for role, is_head, text in held if role == "" and not is_head)]
        roles: dict[str, list[Record]] = {}
        for role, _, text in held:
            if role:
                roles.setdefault(role, []).append(self._decoded(text, role))
        return Group(row, self._join.joined(head, own, roles), own)

    def _decoded(self, text: bytes, role: str = "") -> Record:
        value = decode_exactly(text)
        paired = self._join.paired and (not role or self._join.roles[role].part == RECORDS)
        return tuple(cast("list[object]", value)) if paired else value

    def _store(self) -> None:
        """Writes what is held in memory."""
        try:
            with self._connection:
                self._connection.executemany(_INSERT_RECORD, self._records)
                self._connection.executemany(_INSERT_KEY, self._keys)
                self._connection.executemany(_INSERT_LINK, self._links)
                self._connection.executemany(_INSERT_NODE, self._nodes)
        except apsw.Error as error:
            raise SpillFailed(error) from error
        for held in (self._records, self._keys, self._links, self._nodes):
            held.clear()

    def _run(self, statements: str, values: tuple[object, ...] = ()) -> None:
        try:
            for _ in self._connection.execute(statements, values):
                pass
        except apsw.Error as error:
            raise SpillFailed(error) from error

    def _query(self, statement: str) -> Iterator[tuple[object, ...]]:
        try:
            yield from self._connection.execute(statement)
        except apsw.Error as error:
            raise SpillFailed(error) from error


def joined_records(join: Join, records: Sequence[Record]) -> tuple[list[Group], int]:
    """What the records of one message become, and how many of them take no part. Raises `InvalidValue`."""
    with RecordGroups(join) as groups:
        for record in records:
            groups.add(RECORDS, 1, record)
        groups.join()
        return list(groups), groups.left_out
