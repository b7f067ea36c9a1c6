"""How a process of Pagefold's own runs: one event loop, which gets Python back soon, and less looking for garbage."""

import gc
import importlib.util
import sys
from collections.abc import Awaitable, Callable

import anyio

SWITCH_INTERVAL_SECONDS = 0.0005
"""How long a thread computes while another wants to: below what a page read over HTTP takes as a whole."""


def tune_gc() -> None:
    """Lets Python look for cycles in its objects less often.

    A batch is thousands of small objects that go with the batch. To look through all of them again and again, and
    through all that was imported, costs a sixth of the time, and finds nothing.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def shorten_switch_interval() -> None:
    """Lets the event loop have Python back soon from threads that compute.

    They keep it for 5 ms each otherwise, one after the other, and the loop asks for it anew whenever it was in a system
    call: while much is read and folded, whoever asks for a page would wait for that again and again.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)


def run(main: Callable[[], Awaitable[int]]) -> int:
    """Runs to an exit code, on uvloop where there is one."""
    tune_gc()
    return anyio.run(main, backend_options={"use_uvloop": importlib.util.find_spec("uvloop") is not None})
