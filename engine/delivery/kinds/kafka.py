"""Kafka: a message for each change, with channel and SKU as its key: a compacted topic keeps the newest pages."""

import time
from collections.abc import Collection, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from anyio.to_thread import run_sync

from pagefold.engine.configuration.target_config import KafkaTargetConfig, TargetConfig
from pagefold.engine.delivery.faults import MAX_TEXT
from pagefold.engine.delivery.outside import Outside, secret
from pagefold.engine.delivery.target_kind import Answer, Answers, Item, Refused, Taken, TargetKind, Unavailable
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.runtime.extras import needs_extra

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

POLL_SECONDS = 0.05
CLOSE_SECONDS = 2.0

MESSAGE_SHARE = 0.9
"""The part of the timeout after which the client gives a message up: before the delivery does, so that it is not sent
later, after a newer version that another process has delivered meanwhile."""


class KafkaTarget(TargetKind):
    """A topic. Every replica that is in sync has a message before it is acknowledged.

    Raises `ConfigurationError` for settings that the library refuses, and `ExtraMissing` without `pagefold[kafka]`.
    """

    def __init__(self, name: str, target: TargetConfig, config: KafkaTargetConfig, outside: Outside) -> None:
        with needs_extra(f"the target {name}", "kafka"):
            from confluent_kafka import KafkaError, KafkaException, Producer  # noqa: PLC0415  # an extra
        self._config, self._timeout = config, target.timeout_seconds
        self._refusing = frozenset([KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG, KafkaError.INVALID_RECORD])
        self._timed_out = KafkaError._MSG_TIMED_OUT  # noqa: SLF001  # the name of a constant
        self._exception = KafkaException
        self._problem = ""
        key = f"targets.{name}.kafka"
        secrets = {
            setting: secret(f"{key}.setting_variables.{setting}", variable, outside.environment)
            for setting, variable in config.setting_variables.items()
        }
        settings: dict[str, str | int | bool] = {
            "bootstrap.servers": ",".join(config.servers),
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 2,
            "partitioner": "murmur2_random",  # that of Java's clients, so that they find a page's partition
            "log_level": 0,
            **config.settings,
            "message.timeout.ms": max(int(self._timeout * MESSAGE_SHARE * 1000), 1),
        }
        try:
            self._producer: Producer = Producer({**settings, **secrets, "error_cb": self._note})
        except KafkaException as error:
            text = error.args[0].str()
            raise ConfigurationError(f"{key}.settings", _without(text, secrets.values())) from None
        self.max_batch = target.batch

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await run_sync(self._close)

    def _close(self) -> None:
        self._producer.flush(CLOSE_SECONDS)
        self._producer.purge()  # what is left is given up
        self._producer.close()

    async def deliver(self, items: Sequence[Item]) -> Answers:
        """As the contract says: all messages are sent, then their acknowledgements are awaited."""
        return Answers(await run_sync(self._produce, items))

    def _produce(self, items: Sequence[Item]) -> Sequence[Answer]:
        until = time.monotonic() + self._timeout
        found: list[Answer | None] = [None] * len(items)
        for index, item in enumerate(items):
            try:
                self._producer.produce(
                    self._config.topic,
                    key=f"{item.page.channel}/{item.page.sku}",
                    value=item.document,
                    headers={"tag": item.tag, "sequence": str(item.position), "idempotency-key": item.key},
                    on_delivery=partial(self._acknowledged, found, index),
                )
            except BufferError:
                found[index] = Unavailable("the queue of the client is full", received=False)
            except self._exception as error:
                found[index] = self._failed(error.args[0])
        while None in found and time.monotonic() < until:
            self._producer.poll(POLL_SECONDS)
        return [
            Unavailable(f"no acknowledgement within {self._timeout:g} s") if each is None else each for each in found
        ]

    def _acknowledged(
        self, found: list[Answer | None], index: int, error: "KafkaError | None", message: "Message"
    ) -> None:
        if error is not None:
            found[index] = self._failed(error)
        else:
            self._problem = ""
            found[index] = Taken(f"partition {message.partition()} offset {message.offset()}")

    def _failed(self, error: "KafkaError") -> Answer:
        text = f"{error.name()}: {error.str()}"
        if error.code() == self._timed_out and self._problem:
            text = self._problem  # why no broker has answered
        return Refused(text[:MAX_TEXT]) if error.code() in self._refusing else Unavailable(text[:MAX_TEXT])

    def _note(self, error: "KafkaError") -> None:
        """Keeps what is wrong with the connection: messages only say that their time is over."""
        self._problem = f"{error.name()}: {error.str()}"


def _without(text: str, secrets: Collection[str]) -> str:
    """A message without these secrets."""
    for each in secrets:
        text = text.replace(each, "***")
    return text[:MAX_TEXT]
