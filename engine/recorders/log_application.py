"""Aggregates of the shop's own, by an application of the `eventsourcing` library over the store that is open."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import anyio
from anyio.from_thread import BlockingPortal
from anyio.to_thread import run_sync
from eventsourcing.application import Application
from eventsourcing.persistence import InfrastructureFactory, IntegrityError, PersistenceError, StoredEvent
from eventsourcing.utils import Environment, EnvType

from pagefold.engine.recorders.datastore import Datastore
from pagefold.engine.recorders.factory import PagefoldFactory
from pagefold.engine.runtime.task_groups import unwrap_group
from pagefold.engine.stores.store import Store

THREADS = 2
"""Threads for the library's blocking calls. The store needs threads of its own."""

Result = TypeVar("Result")
Opened = TypeVar("Opened", bound="LogApplication")


class LogApplication(Application[str]):
    """An application. Its methods block: call them outside the thread of the portal's event loop."""

    def __init__(self, store: Store, portal: BlockingPortal) -> None:
        self._datastore = Datastore(store, portal, uuids=False)
        super().__init__()

    def construct_env(self, name: str, env: EnvType | None = None) -> Environment:
        """Ignores the process's environment, which is meant for the user's own applications."""
        return Environment(name, {InfrastructureFactory.IS_SNAPSHOTTING_ENABLED: "yes", **(env or {})})

    def construct_factory(self, env: Environment) -> InfrastructureFactory[Any]:
        """Recorders over the open store."""
        return PagefoldFactory(env, self._datastore)

    def insert_once(self, pending: Sequence[StoredEvent]) -> bool:
        """Records events of one aggregate exactly once, even if an earlier attempt recorded some of them unnoticed.

        False if others were recorded instead.
        """
        while pending:
            try:
                self.recorder.insert_events(pending)
            except IntegrityError:
                first = pending[0].originator_version
                there = list(
                    self.recorder.select_events(pending[0].originator_id, gt=first - 1, limit=len(pending) + 1)
                )
                if not there or there != list(pending[: len(there)]):
                    return False
                pending = pending[len(there) :]
            else:
                break
        return True


class BlockingCalls:
    """Calls an application's blocking methods in threads, and raises the store's errors."""

    def __init__(self) -> None:
        self._threads = anyio.CapacityLimiter(THREADS)

    async def call(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Calls a blocking function in a thread. It is never abandoned midway."""

        def call() -> Result:
            with _pagefold_errors():
                return function(*arguments)

        return await run_sync(call, limiter=self._threads)


@asynccontextmanager
async def open_application(kind: Callable[[Store, BlockingPortal], Opened], store: Store) -> AsyncIterator[Opened]:
    """Opens an application over an open store, for the length of an `async with`. The store stays open afterwards."""
    with unwrap_group():
        async with BlockingPortal() as portal:
            application = await run_sync(kind, store, portal)
            try:
                yield application
            finally:
                with anyio.CancelScope(shield=True):
                    await run_sync(application.close)


@contextmanager
def _pagefold_errors() -> Iterator[None]:
    """Raises the store's error instead of the library's that wraps it."""
    try:
        yield
    except PersistenceError as error:
        if error.__cause__ is None:
            raise
        raised = error.__cause__
    else:
        return
    raise raised
