"""Requests the records that are to be fetched."""

import os
from urllib.parse import urlsplit

import msgspec

from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.fetch_config import FetchConfig
from pagefold.engine.errors import SourceFailed
from pagefold.engine.intake.contracts.contract import MAX_ELEMENTS
from pagefold.engine.intake.formats.request_parts import Wanted
from pagefold.engine.snapshots.endpoint_client import Credentials, Endpoint, credentials
from pagefold.engine.snapshots.endpoint_pages import EndpointPages
from pagefold.engine.snapshots.request_limiter import RequestLimiter
from pagefold.engine.snapshots.snapshot import NO_PROOF


class FetchEndpoints:
    """The endpoints of one shop's fetches. All of them keep to the limits of each server together."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._traffic = RequestLimiter()
        self._credentials: dict[tuple[str, str], Credentials] = {}

    async def rows(self, source: str, wanted: Wanted) -> list[msgspec.Raw]:
        """All rows of the answer: one if that is an object. Raises `SourceFailed`, `ConfigurationError`."""
        fetch: FetchConfig = msgspec.structs.replace(wanted.endpoint, items=wanted.endpoint.rows)
        parts = urlsplit(fetch.url or "")
        name = f"{parts.scheme}://{parts.netloc}{parts.path}"
        pages = EndpointPages(Endpoint(name, fetch, self._authorized(source, wanted.rule), self._traffic))
        rows: list[msgspec.Raw] = []
        async for page in pages.pages():
            rows += page.rows
            if len(rows) > MAX_ELEMENTS:
                raise SourceFailed(name, f"the answer has more than {MAX_ELEMENTS:,} rows")
        if not pages.end.complete and pages.end.reason != NO_PROOF:
            raise SourceFailed(name, f"the answer is incomplete: {pages.end.reason}")
        return rows

    def _authorized(self, source: str, rule: str) -> Credentials:
        """How the requests of a rule are authorized: a token that was fetched serves all of them."""
        if (source, rule) not in self._credentials:
            fetch = self._config.sources[source].fetches[rule]
            key = f"sources.{source}.{rule}"
            self._credentials[source, rule] = credentials(self._config, key, fetch, os.environ)
        return self._credentials[source, rule]


def body_of(rows: list[msgspec.Raw]) -> bytes:
    """Rows as the body of a delivery: one by itself, several as an array."""
    return bytes(rows[0]) if len(rows) == 1 else b"[%b]" % b",".join(map(bytes, rows))
