"""Redis and Valkey: a key for each page, set and deleted in pipelines; each change may be published."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import anyio

from pagefold.engine.configuration.target_config import RedisTargetConfig, TargetConfig
from pagefold.engine.delivery.faults import MAX_TEXT
from pagefold.engine.delivery.outside import Outside, secret
from pagefold.engine.delivery.target_errors import TargetUnreadable
from pagefold.engine.delivery.target_kind import Answer, Answers, Item, PageKey, Taken, TargetKind, Unavailable
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.reading.page_tags import tag_of
from pagefold.engine.runtime.extras import needs_extra

CLOSE_SECONDS = 2.0


class RedisTarget(TargetKind):
    """Keys of one server. Raises `ConfigurationError`, and `ExtraMissing` without `pagefold[redis]`."""

    def __init__(self, name: str, target: TargetConfig, config: RedisTargetConfig, outside: Outside) -> None:
        with needs_extra(f"the target {name}", "redis"):
            from redis.asyncio import Redis  # noqa: PLC0415  # an extra
            from redis.exceptions import RedisError  # noqa: PLC0415  # likewise
        self._name, self._config = name, config
        self._timeout = target.timeout_seconds
        self._errors: tuple[type[Exception], ...] = (RedisError, OSError, ValueError)  # ValueError: not its protocol
        key = f"targets.{name}.redis"
        password = None
        if config.password_variable is not None:
            password = secret(f"{key}.password_variable", config.password_variable, outside.environment)
        try:
            self._client: Redis = Redis.from_url(
                config.url,
                password=password,
                socket_timeout=self._timeout,
                socket_connect_timeout=self._timeout,
                retry=None,
            )
        except ValueError as error:
            raise ConfigurationError(f"{key}.url", str(error)) from None
        self.max_batch = target.batch

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def deliver(self, items: Sequence[Item]) -> Answers:
        """As the contract says, in one pipeline: a page has its own answer."""
        config = self._config
        pipeline = self._client.pipeline(transaction=False)
        for item in items:
            key = key_of(config.key, item.page)
            if item.document is None:
                pipeline.delete(key)
            else:
                pipeline.set(key, item.document, ex=config.expire_seconds)
        try:
            with anyio.fail_after(self._timeout):
                results = await pipeline.execute(raise_on_error=False)
                await self._publish([item for item, result in zip(items, results, strict=True) if not _failed(result)])
        except TimeoutError:
            return Answers([Unavailable(f"no complete answer within {self._timeout:g} s")] * len(items))
        except self._errors as error:
            return Answers([Unavailable(_text(error))] * len(items))
        return Answers([_answer(result) for result in results])

    async def _publish(self, items: Sequence[Item]) -> None:
        """Publishes which keys have changed. A message that is lost is not repeated: the keys are what counts."""
        if self._config.publish is None or not items:
            return
        pipeline = self._client.pipeline(transaction=False)
        for item in items:
            pipeline.publish(self._config.publish, key_of(self._config.key, item.page))
        await pipeline.execute(raise_on_error=False)

    async def read(self, pages: Sequence[PageKey]) -> Mapping[PageKey, str] | None:
        """As the contract says: the tag of the bytes under each key."""
        if not pages:
            return {}
        try:
            with anyio.fail_after(self._timeout):
                values: Sequence[Any] = await self._client.mget([key_of(self._config.key, page) for page in pages])
        except self._errors as error:
            raise TargetUnreadable(self._name, _text(error)) from error
        return {page: tag_of(value) for page, value in zip(pages, values, strict=True) if value is not None}


def key_of(template: str, page: PageKey) -> str:
    """The key of a page. Names are not encoded: a key may have any bytes."""
    return template.replace("{channel}", page.channel).replace("{sku}", page.sku)


def _failed(result: object) -> bool:
    return isinstance(result, Exception)


def _answer(result: object) -> Answer:
    """An error of one command, such as that there is no memory left, is not for a reason that lies in the page."""
    if isinstance(result, Exception):
        return Unavailable(_text(result), received=False)
    return Taken("OK" if result else "nothing was there")


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:MAX_TEXT]
