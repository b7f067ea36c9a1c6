"""How Pagefold's own processes run: one event loop, a short switch interval, and less garbage collection."""

import gc
import importlib.util
import sys
from collections.abc import Awaitable, Callable

import anyio

SWITCH_INTERVAL_SECONDS = 0.0005
"""How long a thread computes while another waits: less than a page read over HTTP takes."""


def tune_gc() -> None:
    """Makes Python look for reference cycles less often.

    A batch is thousands of small objects that are freed with the batch. Scanning all of them and all imported modules
    again and again takes a sixth of the time, and finds nothing.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def shorten_switch_interval() -> None:
    """Makes computing threads yield to the event loop sooner.

    Otherwise each keeps Python's lock for 5 ms, and the loop competes for it after every system call: during large
    reads and folds, page reads would wait for that again and again.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)


def run(main: Callable[[], Awaitable[int]]) -> int:
    """Runs to an exit code, on uvloop if installed."""
    tune_gc()
    return anyio.run(main, backend_options={"use_uvloop": importlib.util.find_spec("uvloop") is not None})
