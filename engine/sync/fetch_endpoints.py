"""Requests the records that are to be fetched."""

from urllib.parse import urlsplit

import msgspec

from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.endpoint_config import inheriting
from pagefold.engine.errors import SourceFailed
from pagefold.engine.intake.contracts.contract import MAX_ELEMENTS
from pagefold.engine.intake.formats.request_parts import Wanted
from pagefold.engine.snapshots.endpoint_client import Endpoint, endpoint_at
from pagefold.engine.snapshots.endpoint_pages import EndpointPages
from pagefold.engine.snapshots.request_limiter import RequestLimiter
from pagefold.engine.snapshots.snapshot import UNPROVEN


class FetchEndpoints:
    """The endpoints of one shop's fetches. All of them keep to the limits of each server together.

    What a fetch does not say of headers, limits and authorization is as its source's snapshot has it.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._traffic = RequestLimiter()
        self._endpoints: dict[tuple[str, str], Endpoint] = {}

    async def rows(self, source: str, wanted: Wanted) -> list[msgspec.Raw]:
        """All rows of the answer: one if that is an object. Raises `SourceFailed`, `ConfigurationError`."""
        endpoint = self._endpoint(source, wanted)
        pages = EndpointPages(endpoint)
        rows: list[msgspec.Raw] = []
        async for page in pages.pages():
            rows += page.rows
            if len(rows) > MAX_ELEMENTS:
                raise SourceFailed(endpoint.name, f"the answer has more than {MAX_ELEMENTS:,} rows")
        if not pages.end.complete and pages.end.reason not in UNPROVEN:
            raise SourceFailed(endpoint.name, f"the answer is incomplete: {pages.end.reason}")
        return rows

    def _endpoint(self, source: str, wanted: Wanted) -> Endpoint:
        """Where a record is. What authorizes the requests of a rule, such as a token, serves all of them."""
        snapshot = self._config.sources[source].snapshot
        parent = snapshot if snapshot is not None and snapshot.url is not None else None
        if (source, wanted.rule) not in self._endpoints:
            key, rule = f"sources.{source}.{wanted.rule}", self._config.sources[source].fetches[wanted.rule]
            self._endpoints[source, wanted.rule] = endpoint_at(self._config, key, rule, self._traffic, parent)
        settings = wanted.endpoint if parent is None else inheriting(wanted.endpoint, parent)
        settings = msgspec.structs.replace(settings, items=settings.rows)
        parts = urlsplit(settings.url or "")
        name = f"{parts.scheme}://{parts.netloc}{parts.path}"
        return self._endpoints[source, wanted.rule]._replace(name=name, settings=settings)


def body_of(rows: list[msgspec.Raw]) -> bytes:
    """Rows as the body of a delivery: one by itself, several as an array."""
    return bytes(rows[0]) if len(rows) == 1 else b"[%b]" % b",".join(map(bytes, rows))
