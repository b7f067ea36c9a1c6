"""One process that plans: `python -m pagefold.engine.plans.planner_process`, started by `engine.plans.planner_pool`.

Its standard input is what it plans and then ranges, one a line; its standard output is the replies. It ends at the end
of its input.
"""

import signal
import sys
from collections.abc import Iterable

import msgspec

from pagefold.engine.errors import StoreError
from pagefold.engine.plans.plan_task import PlanTask
from pagefold.engine.plans.planner import Planner
from pagefold.engine.replay.line_process import write_reply
from pagefold.engine.replay.section_verifier import StreamRange
from pagefold.engine.runtime import logs
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.stores import open_store


async def serve(lines: Iterable[bytes]) -> int:
    """Plans one range after the other. Ends if the store fails: the pool's process will notice the same."""
    task = msgspec.json.decode(next(iter(lines)), type=PlanTask)
    before, after = task.before.view, task.after.view
    try:
        store = await open_store(before.config, create=False)
        try:
            planner = Planner(store, before, after, every_change=task.every_change)
            for line in lines:
                await planner.plan(msgspec.json.decode(line, type=StreamRange), write_reply)
                write_reply(None)
        finally:
            await store.close()
    except (StoreError, BrokenPipeError):
        return 1
    return 0


if __name__ == "__main__":
    logs.configure("error")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the process that started it
    sys.exit(run(lambda: serve(sys.stdin.buffer)))
