"""Plans of PostgreSQL for statements of a store: which indexes they use, and how much they read."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from pagefold.engine.stores.postgres.connections import Session

SCANS = frozenset({"Index Scan", "Index Only Scan"})


class Hot(NamedTuple):
    """A statement with bindings, as SQL; the indexes it may use; the blocks it may touch; the rows it may sort."""

    name: str
    bindings: str
    indexes: set[str]
    blocks: int
    sorted: int = 1_000


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A node of a plan, and all nodes below it."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


async def explained(session: Session, hot: Hot, number: int) -> dict[str, Any]:
    """The plan of a statement, prepared as `hot_NUMBER`, that is executed and rolled back."""
    bindings = f"({hot.bindings})" if hot.bindings else ""
    await session.run("BEGIN")
    try:
        [row] = await session.connection.fetch(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE hot_{number}{bindings}"
        )
    finally:
        await session.run("ROLLBACK")
    plan: dict[str, Any] = json.loads(row[0])[0]["Plan"]
    return plan


def judge(plan: dict[str, Any], hot: Hot) -> None:
    """Tables are read by these indexes only, within the number of blocks, and no more rows than that are sorted."""
    read = [node for node in nodes(plan) if node["Node Type"].endswith("Scan") and "Relation Name" in node]
    assert {node["Node Type"] for node in read} <= SCANS, hot
    assert {node["Index Name"] for node in read} == hot.indexes, hot
    touched = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    assert touched <= hot.blocks, f"{hot.name} touched {touched} blocks"
    for node in nodes(plan):
        if node["Node Type"] == "Sort":
            given = next(each for each in node["Plans"] if each["Parent Relationship"] == "Outer")
            rows = given["Actual Rows"] * given["Actual Loops"]
            assert rows <= hot.sorted, f"{hot.name} sorts {rows} rows"
