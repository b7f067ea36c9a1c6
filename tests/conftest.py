"""What every test may ask for."""

from collections.abc import Iterator

import pytest

from tests.postgres import PostgresServer


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the whole session, without fsync, started when first asked for.

    A test that stops or restarts a server makes its own.
    """
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database that is the test's own."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)
