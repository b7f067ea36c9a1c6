"""The orphans of a recorded run: the streams that its snapshot lacks."""

from collections.abc import Callable

from pagefold.engine.rebuild.rebuild_service import RebuildService, RunReport


def proves_orphans(report: RunReport) -> bool:
    """Whether streams that the snapshot lacks are orphans: it is complete, and every row could be read."""
    return report.complete and not report.counts.unreadable


async def first_orphans(
    service: RebuildService, report: RunReport, limit: int, name: Callable[[str], str] = str
) -> list[str]:
    """The first orphans of a recorded run: their streams, or what `name` makes of those, each once."""
    found: dict[str, None] = {}
    if report.run is not None and report.counts.orphans and proves_orphans(report):
        async for streams in service.runs.orphans(report.run):
            found |= dict.fromkeys(map(name, streams))
            if len(found) >= limit:
                break
    return list(found)[:limit]
