"""What every handler stands on: the shop, who may do what, and what is counted."""

import os
from collections.abc import Mapping

from engine.config import Config
from engine.grants import Grant
from engine.http.access import EVERYTHING, Authenticator
from engine.http.bodies import Incoming
from engine.http.caching import CachePolicy
from engine.http.headers import Header, values_of
from engine.http.hosts import Hosts
from engine.http.ingest.intake import Intake
from engine.http.large_answers import LargeAnswers
from engine.http.numbers import Numbers, Reported, numbers_of
from engine.http.peers import WORKER
from engine.http.readiness import ServerReadiness
from engine.http.traffic import Traffic
from engine.patience import ANSWER_SECONDS, answered
from engine.shop import Shop

BODY_BYTES = 64 * 1024 * 1024
"""Bytes of all bodies that are kept in memory, from their first byte until they are answered."""


class Service:
    """One server over one open shop. `worker` is its number among the processes that share a port, from 1.

    `reads_open` tells that pages are read without asking who reads; `description` is the OpenAPI document; `reported`
    has the numbers of the other processes. The `environment` has the secrets of webhooks. Raises `ConfigurationError`
    when it has not, and as `Intake` does.
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
        shop.answer_within(ANSWER_SECONDS)
        self.shop = shop
        self.access = access
        self.reads_open = reads_open
        self.worker = worker
        self.incoming = Incoming(max(BODY_BYTES, 2 * shop.config.http.max_body_bytes))
        self.large_answers = LargeAnswers()
        self.traffic = Traffic(shop.config.http.access_log_sample)
        self.reported = Reported()
        self.readiness = ServerReadiness(shop)
        self.intake = Intake(shop, environment)
        self.caching = CachePolicy(shop.config, public=reads_open)
        self.description = b""
        self._hosts = Hosts(shop.config.http.hosts)

    def restrict(self, anonymous: Grant | None) -> None:
        """From now on, no more than this may be done without a token."""
        self.access.anonymous = anonymous
        self.reads_open = anonymous is not None
        self.caching.share(public=self.reads_open)

    def answers_to(self, headers: list[Header]) -> bool:
        """Whether a request is for this server."""
        return all(map(self.is_called, values_of(headers, b"host")))

    def is_called(self, host: bytes) -> bool:
        """Whether a `Host` is a name that this server goes by. Where a token is needed, any name will do."""
        return self.access.anonymous is not EVERYTHING or self._hosts.admits(host)

    async def check_store_answers(self) -> None:
        """Raises `StoreUnavailable`, in time, where the store says nothing: in front of what may take long."""
        await answered(self.shop.store.log.generation())

    def numbers(self) -> Numbers:
        """What this process has counted."""
        return numbers_of(self.worker, self.traffic, self.shop)

    @property
    def config(self) -> Config:
        """The shop's."""
        return self.shop.config
