"""The fixtures of all tests."""

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import psycopg
import pytest
import structlog
from hypothesis import HealthCheck, settings

import pagefold
from pagefold import Config, Shop
from pagefold.engine.configuration.config import CONFIG_VARIABLE, STORE_VARIABLE
from pagefold.engine.snapshots import endpoint_client
from pagefold.engine.stores import open_store
from pagefold.engine.stores.sqlite import folder_of
from pagefold.engine.stores.store import Store
from tests.support.postgres import PostgresServer, name_of
from tests.support.small_shop import configured

STORES = ("sqlite", "postgres")
SECONDS_TO_HANG_UP = 5.0

settings.register_profile(
    "pagefold",
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("pagefold")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The benchmarks are first: their one run takes longest, and at the end other workers would wait for it."""
    items.sort(key=lambda item: item.path.name != "test_benchmarks.py")


@pytest.fixture(autouse=True)
def _plain_logging() -> Iterator[None]:
    """Resets structlog after a test, so that the next one logs to its own streams."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the whole session, without fsync, started on first use.

    A test that stops or restarts a server makes its own.
    """
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database of the test's own."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(scope="session")
def prepared_database(postgres_server: PostgresServer) -> str:
    """The name of a database with an empty store, to be copied: copying takes a third of the time of creating one."""

    async def prepare() -> None:
        await (await open_store(configured(url))).close()

    url = postgres_server.create_database()
    anyio.run(prepare)
    return name_of(url)


@pytest.fixture
def prepared_url(postgres_server: PostgresServer, prepared_database: str) -> Iterator[str]:
    """The URL of a database with an empty store, of the test's own."""
    url = postgres_server.create_database(prepared_database)
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes the settings of stores from the caller's environment."""
    monkeypatch.delenv(STORE_VARIABLE, raising=False)
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)


@pytest.fixture(autouse=True)
def _near_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Endpoints are asked without the machine's proxy, and asked again at once: real waits would add up to minutes."""
    monkeypatch.setenv("NO_PROXY", "*")
    for name in ("FIRST_WAIT_SECONDS", "MAX_WAIT_SECONDS", "JITTER"):
        monkeypatch.setattr(endpoint_client, name, 0.01)


@pytest.fixture(params=STORES)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of store in turn."""
    return str(request.param)


@pytest.fixture
def new_store_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that does not exist yet."""
    return f"sqlite:///{tmp_path / 'shop'}" if kind == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def store_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store. On SQLite it is created when it is first opened, which takes no time."""
    return f"sqlite:///{tmp_path / 'shop'}" if kind == "sqlite" else str(request.getfixturevalue("prepared_url"))


@pytest.fixture
def config(store_url: str) -> Config:
    """The small shop of `tests.support.small_shop`, on each kind of store."""
    return configured(store_url)


@pytest.fixture
async def store(config: Config) -> AsyncIterator[Store]:
    """A new store, which leaves no connection open."""
    opened = await open_store(config)
    try:
        yield opened
    finally:
        await opened.close()
    assert_nothing_is_open(config)


@pytest.fixture
async def shop(config: Config) -> AsyncIterator[Shop]:
    """A new shop, which leaves no connection open."""
    async with pagefold.open(config) as opened:
        yield opened
    assert_nothing_is_open(config)


def assert_nothing_is_open(config: Config) -> None:
    """No connection to the store is open, and no lock held."""
    deadline = time.monotonic() + SECONDS_TO_HANG_UP
    if config.store.url.startswith("sqlite:"):
        # The last connection to close folds the write-ahead log into the file, and removes it.
        while list(folder_of(config.store.url).glob("*-wal")):
            assert time.monotonic() < deadline, "a connection is still open"
            time.sleep(0.01)
        return
    while left := sessions(config.store.url):
        assert time.monotonic() < deadline, f"still connected: {left}"
        time.sleep(0.01)


def sessions(url: str) -> list[str]:
    """The last statements of the other sessions of a PostgreSQL database."""
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        )
        return [query for (query,) in rows]
