"""How Pagefold's own processes run: every command, and every process that a command starts."""

import ast
import subprocess
import sys

from tests.test_tidy import nodes

LOOPS = {("anyio", "run"), ("asyncio", "run"), ("asyncio", "Runner")}

PROGRAM = """
import gc
from pagefold.engine.runtime.event_loop import run

async def main():
    return 0 if gc.get_threshold() == (50_000, 20, 50) and gc.get_freeze_count() > 1_000 else 1

raise SystemExit(run(main))
"""

IMPORT = """
import gc
before = gc.get_threshold()
import pagefold.engine.runtime.event_loop
raise SystemExit(gc.get_threshold() != before)
"""


def test_garbage_collection_is_tuned() -> None:
    """Inside `run`, imported modules are not scanned again, and a batch is not scanned while it is worked on."""
    assert subprocess.run([sys.executable, "-c", IMPORT], check=False).returncode == 0, "an import tunes nothing"
    assert subprocess.run([sys.executable, "-c", PROGRAM], check=False).returncode == 0


def test_every_process_runs_in_this_way() -> None:
    """Nothing else in the engine starts an event loop."""
    started = [
        place
        for place, node in nodes("engine")
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and (node.func.value.id, node.func.attr) in LOOPS
    ]
    assert [place.partition(":")[0] for place in started] == ["engine/runtime/event_loop.py"]
