"""Checks whether the indexes of a schema match their tables.

The extension `amcheck` does it, where installed and permitted: `CREATE EXTENSION amcheck`. Otherwise each table is read
twice, in order and by the index, and the results are compared.
"""

import asyncpg

from pagefold.engine.errors import StoreDamaged, StoreUnusable
from pagefold.engine.stores.postgres.connections import Connections, Record, Session, translate_errors
from pagefold.engine.stores.store_health import DamagedPart, Inspection

NO_BTREE = "not a B-tree index"
NOT_READ_BY = "the planner does not use it; install the extension amcheck to check it"

FORWARD = {"enable_seqscan": "on", "enable_indexscan": "off", "enable_indexonlyscan": "off", "enable_sort": "on"}
BY_INDEX = {"enable_seqscan": "off", "enable_indexscan": "on", "enable_indexonlyscan": "on", "enable_sort": "off"}


async def inspect(connections: Connections) -> Inspection:
    """Checks every index of the schema."""
    session = await connections.session(command_seconds=None)
    try:
        return await _inspect(session)
    finally:
        await session.close()


async def _inspect(session: Session) -> Inspection:
    found = Inspection([], [])
    checker = await session.fetch("index_checker")
    for index in await session.fetch("indexes"):
        try:
            problem = await (_checked(session, index, checker[0][0]) if checker else _compared(session, index))
        except _Unchecked as unchecked:
            found.unchecked.append(f"{index['name']}: {unchecked}")
        else:
            if problem is not None:
                found.damage.append(DamagedPart("an index", f"{index['name']} of {index['relation']}: {problem}"))
    return found


class _Unchecked(Exception):  # not an error: it is reported
    """An index cannot be checked, and why."""


async def _checked(session: Session, index: Record, checker: str) -> str | None:
    """What amcheck reports."""
    try:
        with translate_errors(session.name):
            await session.connection.fetch(checker, index["oid"])
    except StoreDamaged as damaged:
        return str(damaged.__cause__)
    except StoreUnusable:
        return await _compared(session, index)
    except asyncpg.PostgresError as error:
        raise _Unchecked(str(error)) from error
    return None


async def _compared(session: Session, index: Record) -> str | None:
    """How an index scan differs from a table scan, both from one snapshot."""
    if index["comparison"] is None:
        raise _Unchecked(NO_BTREE)
    async with session.transaction():
        await session.fetch("see_one_moment")
        await _plan(session, BY_INDEX)
        if index["name"] not in await _planned(session, index["comparison"]):
            raise _Unchecked(NOT_READ_BY)
        by_index = await _counted(session, index["comparison"])
        await _plan(session, FORWARD)
        in_order = await _counted(session, index["comparison"] + "\n")  # a different text gets a plan of its own
    if by_index == in_order:
        return None
    if by_index[0] != in_order[0]:
        return f"it has {by_index[0]:,} entries, and the table {in_order[0]:,} rows"
    return "its entries are not those of the table's rows"


async def _plan(session: Session, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        await session.fetch("change_setting", name, value)


async def _planned(session: Session, query: str) -> str:
    with translate_errors(session.name):
        return "\n".join([row[0] for row in await session.connection.fetch(f"EXPLAIN {query}")])


async def _counted(session: Session, query: str) -> tuple[int, object]:
    with translate_errors(session.name):
        [(count, digest)] = await session.connection.fetch(query)
    return int(count), digest
