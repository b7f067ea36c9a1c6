"""Requests the records that are to be fetched."""

from urllib.parse import urlsplit

import msgspec

from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.endpoint_config import inheriting
from pagefold.engine.configuration.fetch_config import FetchConfig
from pagefold.engine.errors import SourceFailed
from pagefold.engine.intake.contracts.contract import MAX_ELEMENTS
from pagefold.engine.intake.formats.request_parts import Wanted
from pagefold.engine.runtime.counters import Counters
from pagefold.engine.snapshots.endpoint_client import Endpoint, endpoint_at
from pagefold.engine.snapshots.endpoint_pages import open_pages
from pagefold.engine.snapshots.page_sequence import all_rows
from pagefold.engine.snapshots.request_limiter import RequestLimiter


class FetchEndpoints:
    """The endpoints of one shop's fetches. All of them keep to the limits of each server together.

    What a fetch does not say of headers, limits and authorization is as its source's snapshot has it.
    """

    def __init__(self, config: Config, counters: Counters) -> None:
        self._config = config
        self._traffic = RequestLimiter(counters)
        self._endpoints: dict[tuple[str, str], Endpoint] = {}

    async def rows(self, source: str, wanted: Wanted) -> list[msgspec.Raw]:
        """All rows of the answer: one if that is an object. Raises `SourceFailed`, `ConfigurationError`."""
        endpoint = self._endpoint(source, wanted)
        rows = await all_rows(open_pages(endpoint), endpoint.name, "the answer")
        if len(rows) > MAX_ELEMENTS:
            raise SourceFailed(endpoint.name, f"the answer has more than {MAX_ELEMENTS:,} rows")
        return rows

    def concurrency(self, source: str) -> int:
        """How many records of a source may be fetched at a time."""
        return max(
            self._inheriting(source, fetch).concurrency for fetch in self._config.sources[source].fetches.values()
        )

    def _endpoint(self, source: str, wanted: Wanted) -> Endpoint:
        """Where a record is. What authorizes the requests of a rule, such as a token, serves all of them."""
        if (source, wanted.rule) not in self._endpoints:
            key, rule = f"sources.{source}.{wanted.rule}", self._config.sources[source].fetches[wanted.rule]
            made = endpoint_at(self._config, key, self._inheriting(source, rule), self._traffic)
            self._endpoints[source, wanted.rule] = made
        fetch = self._inheriting(source, wanted.endpoint)
        settings = msgspec.structs.replace(fetch, items=fetch.rows)
        parts = urlsplit(settings.url or "")
        name = f"{parts.scheme}://{parts.netloc}{parts.path}"
        return self._endpoints[source, wanted.rule]._replace(name=name, settings=settings)

    def _inheriting(self, source: str, fetch: FetchConfig) -> FetchConfig:
        """A fetch with what it does not say of headers, limits and authorization."""
        snapshot = self._config.sources[source].snapshot
        return fetch if snapshot is None or snapshot.url is None else inheriting(fetch, snapshot)


def body_of(rows: list[msgspec.Raw]) -> bytes:
    """Rows as the body of a delivery: one by itself, several as an array."""
    return bytes(rows[0]) if len(rows) == 1 else b"[%b]" % b",".join(map(bytes, rows))
