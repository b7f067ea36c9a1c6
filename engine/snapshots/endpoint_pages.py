"""The pages of an endpoint, whose rows have their children: rows that other requests return for each."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from pagefold.engine.configuration.endpoint_config import EndpointConfig
from pagefold.engine.snapshots.endpoint_children import Children
from pagefold.engine.snapshots.endpoint_client import Endpoint
from pagefold.engine.snapshots.endpoint_export import ExportPages
from pagefold.engine.snapshots.page_sequence import Page, PageSequence
from pagefold.engine.snapshots.snapshot import End


def open_pages(
    endpoint: Endpoint, *, place: str | None = None, rows: int = 0, total: int | None = None
) -> PageSequence:
    """A pass over an endpoint's pages, or over the export that it prepares."""
    settings = endpoint.settings
    if isinstance(settings, EndpointConfig) and settings.export is not None:
        return ExportPages(endpoint, settings, settings.export)
    return EndpointPages(endpoint, place=place, rows=rows, total=total)


class EndpointPages(PageSequence):
    """The same with the children of each row. The end is complete only if all children were read."""

    def __init__(
        self, endpoint: Endpoint, *, place: str | None = None, rows: int = 0, total: int | None = None
    ) -> None:
        super().__init__(endpoint, place=place, rows=rows, total=total)
        self._children = Children(endpoint)

    async def pages(self) -> AsyncGenerator[Page, None]:
        """Every page. Raises `SourceFailed`, also if the children of many rows in succession cannot be read."""
        failures = 0
        async with self._children, aclosing(super().pages()) as pages:
            async for page in pages:
                rows, failed = await self._children.join(page.rows)
                failures += len(failed)
                yield page._replace(rows=rows, failed=failed)
        if failures:
            of = "1 row" if failures == 1 else f"{failures:,} rows"
            self.end = End(complete=False, reason=f"what belongs to {of} could not be read")
