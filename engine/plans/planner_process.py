"""One process that plans: `python -m pagefold.engine.plans.planner_process`, started by `engine.plans.planner_pool`.

Its standard input is what it plans and then ranges, one a line; its standard output is the replies. It ends at the end
of its input.
"""

from collections.abc import Iterable

import msgspec

from pagefold.engine.plans.plan_task import PlanTask
from pagefold.engine.plans.planner import Planner
from pagefold.engine.replay.helper_process import run_helper, with_store, write_reply
from pagefold.engine.replay.section_verifier import StreamRange
from pagefold.engine.stores.store import Store


async def serve(lines: Iterable[bytes]) -> int:
    """Plans one range after the other. Ends if the store fails."""
    task = msgspec.json.decode(next(iter(lines)), type=PlanTask)
    before, after = task.before.view, task.after.view

    async def plan(store: Store) -> None:
        planner = Planner(store, before, after, every_change=task.every_change)
        for line in lines:
            await planner.plan(msgspec.json.decode(line, type=StreamRange), write_reply)
            write_reply(None)

    return await with_store(before.config, plan)


if __name__ == "__main__":
    run_helper(serve)
