"""What every handler needs: the shop, authorization, limits and counters."""

import os
from collections.abc import Mapping

from pagefold.engine.configuration.config import Config
from pagefold.engine.http.allowed_hosts import AllowedHosts
from pagefold.engine.http.authorization import EVERYTHING, Authenticator
from pagefold.engine.http.cache_control import CachePolicy
from pagefold.engine.http.headers import Header, values_of
from pagefold.engine.http.large_responses import LargeResponses
from pagefold.engine.http.process_counters import ProcessCounters, SiblingCounters, counters_of
from pagefold.engine.http.process_links import WORKER
from pagefold.engine.http.request_body import BodyBudget
from pagefold.engine.http.request_intake import RequestIntake
from pagefold.engine.http.request_log import RequestLog
from pagefold.engine.http.server_readiness import ServerReadiness
from pagefold.engine.monitoring.measurements import REFUSED
from pagefold.engine.runtime.store_timeout import TIMEOUT_SECONDS, with_timeout
from pagefold.engine.shop import Shop
from pagefold.engine.stores.grants import Grant

BODY_BYTES = 64 * 1024 * 1024
"""Bytes of all bodies held in memory, from arrival until they are answered."""


class ServerContext:
    """One server over one open shop. `worker` is its number among the processes that share a port, from 1.

    `reads_open`: pages are readable without a token. `description` is the OpenAPI document; `reported` has the counters
    of the other processes. Once it `is_ending`, no response waits for something new. `environment` has the secrets of
    webhooks; raises `ConfigurationError` if one is missing, and as `RequestIntake` does.
    """

    def __init__(
        self,
        shop: Shop,
        access: Authenticator,
        *,
        reads_open: bool = False,
        worker: int = WORKER,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        shop.answer_within(TIMEOUT_SECONDS)
        self.shop = shop
        self.access = access
        self.reads_open = reads_open
        self.worker = worker
        self.incoming = BodyBudget(max(BODY_BYTES, 2 * shop.config.http.max_body_bytes))
        self.large_answers = LargeResponses()
        self.traffic = RequestLog(shop.config.http.access_log_sample)
        self.reported = SiblingCounters()
        self.readiness = ServerReadiness(shop)
        self.intake = RequestIntake(shop, environment)
        self.caching = CachePolicy(shop.config, public=reads_open)
        self.description = b""
        self.is_ending = False
        shop.kpis.counts.add_source(self._turned_away)
        self._hosts = AllowedHosts(shop.config.http.hosts)

    def end(self) -> None:
        """From now on, requests that wait for changes are answered, and streams end."""
        self.is_ending = True
        self.shop.feed.wake()

    def restrict(self, anonymous: Grant | None) -> None:
        """Sets the grant without a token, from now on."""
        self.access.anonymous = anonymous
        self.reads_open = anonymous is not None
        self.caching.share(public=self.reads_open)

    def answers_to(self, headers: list[Header]) -> bool:
        """Whether a request's `Host` is this server's."""
        return all(map(self.is_called, values_of(headers, b"host")))

    def is_called(self, host: bytes) -> bool:
        """Whether a `Host` is accepted. If tokens are needed, every name is."""
        return self.access.anonymous is not EVERYTHING or self._hosts.allows(host)

    async def check_store_answers(self) -> None:
        """Raises `StoreUnavailable` within the time limit if the store does not answer: call it before long work."""
        await with_timeout(self.shop.store.log.generation())

    def counters(self) -> ProcessCounters:
        """The counters of this process."""
        return counters_of(self.worker, self.traffic, self.shop)

    def _turned_away(self) -> dict[tuple[str, str], float]:
        """The requests that this server could not take, in all of its processes. One of them stores the number."""
        return {(REFUSED, ""): sum(each.turned_away for each in self.reported.beside(self.counters()))}

    @property
    def config(self) -> Config:
        """The shop's configuration."""
        return self.shop.config
