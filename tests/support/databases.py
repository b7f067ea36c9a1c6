"""Direct access to the database of the PostgreSQL store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from pagefold import Config
from pagefold.engine.stores.postgres import PostgresStore


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[PostgresStore]:
    """An open store."""
    store = await PostgresStore.open(config)
    try:
        yield store
    finally:
        await store.close()


def query(url: str, statement: str, *bindings: object, search_path: str = "public") -> list[tuple[Any, ...]]:
    """The rows of a statement, through a separate connection."""
    with psycopg.connect(url, autocommit=True, options=f"-c search_path={search_path}") as connection:
        cursor = connection.execute(statement.encode(), bindings)
        return cursor.fetchall() if cursor.description else []


def database(url: str) -> str:
    """The name of the database."""
    return str(query(url, "SELECT current_database()")[0][0])


def end_sessions(url: str) -> None:
    """Ends every session of the store, as an administrator can."""
    ask = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE application_name = 'pagefold' AND datname = current_database()"
    )
    assert query(url, ask)[0][0] > 0
