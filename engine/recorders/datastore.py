"""A store for callers without an event loop: the loop runs in another thread, with a blocking portal."""

import weakref
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from threading import RLock, Thread, get_ident, main_thread
from typing import Any, Self, TypeVar

from anyio import CancelScope
from anyio.from_thread import BlockingPortal, start_blocking_portal
from eventsourcing.persistence import (
    DatabaseError,
    IntegrityError,
    InterfaceError,
    NotSupportedError,
    OperationalError,
)

from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.work_config import WorkConfig
from pagefold.engine.errors import AlreadyRecorded, ConfigurationError, StoreNotFound, StoreTooNew, StoreUnavailable
from pagefold.engine.stores import open_store
from pagefold.engine.stores.store import Store

Result = TypeVar("Result")

POLL_SECONDS = WorkConfig().poll_seconds
"""The longest time that a subscription waits before it polls the log."""


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turns a store's errors into the library's equivalents. Configuration errors stay as they are."""
    try:
        yield
    except (CancelledError, ConfigurationError):
        raise
    except AlreadyRecorded as error:
        raise IntegrityError(str(error)) from error
    except (StoreUnavailable, StoreNotFound) as error:
        raise OperationalError(str(error)) from error
    except StoreTooNew as error:
        raise NotSupportedError(str(error)) from error
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        raise DatabaseError(problem) from error


class Datastore:
    """One open store, and how its identifiers are read: as UUIDs if they are UUIDs, or always as text.

    Usable from every thread except that of its portal's event loop, and created in such a thread, too. Over a store
    that is already open, in a program with its own event loop, closing it leaves the store open; `open` makes one that
    owns its store. It is closed by `close`, by garbage collection, or at the end of the program.
    """

    def __init__(
        self,
        store: Store,
        portal: BlockingPortal,
        *,
        poll_seconds: float = POLL_SECONDS,
        uuids: bool = True,
        opened: ExitStack | None = None,
    ) -> None:
        self.store = store
        self.uuids = uuids
        self.poll_seconds = poll_seconds
        self._portal = portal
        self._lock = RLock()
        self._waiting: set[Future[Any]] = set()
        own = ExitStack() if opened is None else opened
        self._close = weakref.finalize(self, _close, own, self._lock, self._waiting, portal.call(get_ident))

    @classmethod
    def open(cls, config: Config, *, create: bool = True, uuids: bool = True) -> Self:
        """A datastore with its own store and event loop.

        Its threads are daemons, so that an unclosed one does not keep the program alive.
        """
        with translate_errors(), ExitStack() as opening:
            options = {"use_uvloop": find_spec("uvloop") is not None}
            portal = opening.enter_context(start_blocking_portal(backend_options=options, name="pagefold-recorders"))
            store = portal.call(partial(open_store, config, create=create))
            opening.callback(portal.call, store.close)
            poll_seconds = config.work.poll_seconds
            return cls(store, portal, poll_seconds=poll_seconds, uuids=uuids, opened=opening.pop_all())

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return not self._close.alive

    def call(self, function: Callable[[], Awaitable[Result]]) -> Result:
        """The result of an asynchronous function. Raises the library's errors.

        Work that was started is completed, even while the program around the portal is cancelled: the waiting thread
        cannot be.
        """
        self._check_open()
        with translate_errors():
            return self._portal.call(_finished, function)

    def start(self, function: Callable[[], Awaitable[Result]]) -> "Future[Result]":
        """As `call` without waiting, for work that may be cancelled, also by `close`. Raises the store's own errors."""
        with self._lock:
            self._check_open()
            future = self._portal.start_task_soon(function)
            self._waiting.add(future)
        future.add_done_callback(self._waiting.discard)
        return future

    def close(self) -> None:
        """Cancels waiting work, and closes the store and its thread if it owns them. A no-op if it is closed."""
        self._close()

    def _check_open(self) -> None:
        if self.closed:
            problem = f"the store {self.store.name} has been closed"
            raise InterfaceError(problem)


async def _finished(function: Callable[[], Awaitable[Result]]) -> Result:
    with CancelScope(shield=True):
        result = await function()
    return result  # noqa: RET504  # to mypy, a scope may swallow an error


def _close(opened: ExitStack, lock: AbstractContextManager[object], waiting: "set[Future[Any]]", thread: int) -> None:
    if get_ident() == thread:  # garbage collection runs in any thread, and none can wait for its own end
        Thread(target=_close, args=(opened, lock, waiting, 0), name="pagefold-recorders-close").start()
        return
    with lock:
        for future in tuple(waiting):
            future.cancel()
    try:
        opened.close()
    except RuntimeError:  # at the end of the program, no thread can be started to close SQLite's connections
        if main_thread().is_alive():
            raise
