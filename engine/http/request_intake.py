"""What all ingest routes share: bodies are parsed in turn, and only while there is capacity."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.webhook_config import Busy
from pagefold.engine.dead_letters.webhook_retrier import Entrance, Outcome, Reader, Request
from pagefold.engine.errors import Rejected
from pagefold.engine.events import AppendResult, DomainEvent
from pagefold.engine.http.problems import Problem, overloaded
from pagefold.engine.intake.appender import append_parsed
from pagefold.engine.intake.formats.cloudevents import CloudEventReader
from pagefold.engine.intake.formats.webhook_pings import WebhookPings
from pagefold.engine.intake.formats.webhook_signatures import webhook_settings
from pagefold.engine.intake.strict_json import BYTE_ORDER_MARK
from pagefold.engine.intake.webhook_verifier import SignatureVerifier
from pagefold.engine.runtime.compute_thread import compute_in_thread
from pagefold.engine.runtime.store_timeout import with_timeout
from pagefold.engine.shop import Shop

Value = TypeVar("Value")

MIN_THREAD_BYTES = 16 * 1024
"""Bodies of at least this many bytes are parsed in a thread, not on the event loop."""

MAX_WAITING = 32
"""Large bodies that may wait to be parsed."""

LAG_RETRY_SECONDS = 5
"""`Retry-After` while folding is too far behind."""


class Hook(NamedTuple):
    """How a source's webhooks are verified and parsed, and what is done with them if there is no room."""

    signatures: SignatureVerifier
    pings: WebhookPings
    reader: Reader
    busy: Busy
    answer_seconds: float | None


class RequestIntake:
    """Parses and appends what sources send to one shop.

    `hooks`, `tables` and `foreign_events` are those of the sources that have any. Raises `ConfigurationError` for
    contracts that cannot work, and for secrets that the `environment` lacks.
    """

    def __init__(self, shop: Shop, environment: Mapping[str, str]) -> None:
        config = shop.config
        self._shop = shop
        self._waiting = 0
        self._foreign = {
            name: each.cloudevents for name, each in config.sources.items() if each.cloudevents is not None
        }
        self._configure(shop.applied.config)
        shop.applied.on_change(self._configure)
        self.hooks = {name: self._hook(name, reader, environment) for name, reader in self._readers("webhook")}
        self.tables = dict(self._readers("cdc"))
        self.foreign_events = dict(self._readers("cloudevents"))

    def _configure(self, config: Config) -> None:
        """Reads CloudEvents of the sources that count, and of those that the validator says are not applied yet."""
        sources = {*config.sources, *self._shop.config.sources}
        self.cloudevents = CloudEventReader(sources, self._foreign)

    async def check_room(self) -> None:
        """Raises `Overloaded` or `Problem`, 429, if nothing can be accepted at the moment; `StoreUnavailable`.

        Call it before the body is read, so that a sender that must repeat its request has sent little.
        """
        self._shop.check_capacity()
        if self._waiting > MAX_WAITING:
            raise _many_waiting()
        limit, behind = self._shop.config.http.lag_seconds, await self._shop.lag.seconds()
        if behind > limit:
            raise _far_behind(behind, limit)

    def _readers(self, via: Entrance) -> list[tuple[str, Reader]]:
        """The readers of the sources that have this entrance."""
        found = [(name, self._shop.webhooks.reader(via, name)) for name in self._shop.config.sources]
        return [(name, reader) for name, reader in found if reader is not None]

    def _hook(self, source: str, reader: Reader, environment: Mapping[str, str]) -> Hook:
        config = self._shop.config
        settings, signatures = webhook_settings(config, source), SignatureVerifier(config, source, environment)
        return Hook(signatures, WebhookPings(config, source), reader, settings.busy, settings.answer_seconds)

    async def keep(self, request: Request, reader: Reader, reason: str) -> Outcome:
        """Keeps a whole request, durably, for the workers to take. Raises `StoreUnavailable`."""
        return await with_timeout(self._shop.webhooks.keep(request, reader, reason))

    async def take(self, request: Request, reader: Reader) -> list[list[Outcome]]:
        """Takes everything in a request, durably, and returns the outcomes of each part.

        Raises `Overloaded`, `StoreUnavailable`.
        """
        is_large = len(request.body) >= MIN_THREAD_BYTES

        async def run(work: Callable[[], Value]) -> Value:
            return await self._run(work, is_large=is_large)

        return await self._shop.webhooks.take(request, reader, run, self._shop.append_atomically)

    async def read(self, codec: Callable[[bytes], Value], body: bytes) -> Value:
        """Parses a body with a codec. Large ones are parsed in turn, off the event loop."""
        body = body.removeprefix(BYTE_ORDER_MARK)
        return await self._run(partial(codec, body), is_large=len(body) >= MIN_THREAD_BYTES)

    async def _run(self, work: Callable[[], Value], *, is_large: bool) -> Value:
        if not is_large:
            return work()
        self._waiting += 1
        try:
            return await compute_in_thread(work)
        finally:
            self._waiting -= 1

    async def append(self, found: Sequence[DomainEvent | Rejected]) -> list[AppendResult]:
        """Appends the events in one transaction, and returns one result per item, in order. Raises `Overloaded`.

        Also raises `StoreUnavailable`, after which any of them may be in the log.
        """
        results = await append_parsed(found, self._shop.append_atomically)
        self._shop.counters.add_outcomes(
            result for each, result in zip(found, results, strict=True) if isinstance(each, Rejected)
        )
        return results


def _many_waiting() -> Problem:
    return overloaded(f"{MAX_WAITING} large requests are waiting already")


def _far_behind(seconds: float, limit: float) -> Problem:
    return overloaded(f"folding is {seconds:.0f} s behind, more than {limit:g} s", LAG_RETRY_SECONDS)
