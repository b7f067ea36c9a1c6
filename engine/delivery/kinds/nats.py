"""NATS JetStream: a message for each change, acknowledged by the stream, and stored once under its id."""

import asyncio
import errno
import string
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio

from pagefold.engine.configuration.target_config import NatsTargetConfig, TargetConfig
from pagefold.engine.delivery.faults import MAX_TEXT
from pagefold.engine.delivery.http_sender import Outside, secret
from pagefold.engine.delivery.target_kind import Answer, Answers, Item, PageKey, Refused, Taken, TargetKind, Unavailable
from pagefold.engine.errors import TargetUnreadable
from pagefold.engine.runtime.extras import needs_extra

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext

CLOSE_SECONDS = 2.0
TOKEN_CHARACTERS = frozenset(string.ascii_letters + string.digits + "-_")
TAG_HEADER, POSITION_HEADER, WITHDRAWN_HEADER = "Pagefold-Tag", "Pagefold-Sequence", "Pagefold-Withdrawn"


class NatsTarget(TargetKind):
    """A stream. Connects with the first delivery, and again whenever it is lost. Raises `ExtraMissing`."""

    def __init__(self, name: str, target: TargetConfig, config: NatsTargetConfig, outside: Outside) -> None:
        with needs_extra(f"the target {name}", "nats"):
            import nats.errors  # noqa: PLC0415  # an extra
            import nats.js.errors  # noqa: PLC0415  # likewise
        self._name, self._config, self._timeout = name, config, target.timeout_seconds
        self._too_large = nats.errors.MaxPayloadError
        self._missing = nats.js.errors.NotFoundError
        self._errors: tuple[type[Exception], ...] = (nats.errors.Error, OSError, asyncio.TimeoutError)
        key, environment = f"targets.{name}.nats", outside.environment
        self._options: dict[str, str] = {}
        if config.token_variable is not None:
            self._options["token"] = secret(f"{key}.token_variable", config.token_variable, environment)
        if config.credentials_variable is not None:
            place = secret(f"{key}.credentials_variable", config.credentials_variable, environment)
            self._options["user_credentials"] = place
        self._client: Client | None = None
        self._turn = anyio.Lock()
        self.max_batch = target.batch

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            with anyio.move_on_after(CLOSE_SECONDS, shield=True), suppress(*self._errors):
                await self._client.close()

    async def _stream(self) -> "JetStreamContext":
        """The connected client's streams. Raises an error of `_errors`."""
        import nats  # noqa: PLC0415  # an extra

        async with self._turn:
            if self._client is None or self._client.is_closed:
                self._client = await nats.connect(
                    self._config.servers,
                    connect_timeout=max(1, int(self._timeout)),
                    max_reconnect_attempts=-1,
                    allow_reconnect=True,
                    error_cb=_ignore,
                    **self._options,
                )
            elif not self._client.is_connected:
                raise ConnectionResetError(errno.ENOTCONN, "not connected")
            return self._client.jetstream(timeout=self._timeout)

    async def deliver(self, items: Sequence[Item]) -> Answers:
        """As the contract says: all messages are sent, then their acknowledgements are awaited."""
        try:
            with anyio.fail_after(self._timeout):
                stream = await self._stream()
        except (*self._errors, TimeoutError) as error:
            return Answers([Unavailable(_text(error), received=False)] * len(items))
        return Answers(await asyncio.gather(*(self._publish(stream, item) for item in items)))

    async def _publish(self, stream: "JetStreamContext", item: Item) -> Answer:
        headers = {"Nats-Msg-Id": item.key, TAG_HEADER: item.tag, POSITION_HEADER: str(item.position)}
        if item.document is None:
            headers[WITHDRAWN_HEADER] = "true"
        try:
            found = await stream.publish(
                subject_of(self._config.subject, item.page),
                item.document or b"",
                timeout=self._timeout,
                headers=headers,
            )
        except self._too_large:
            return Refused("the server takes no message of that size")
        except self._errors as error:
            return Unavailable(_text(error))
        return Taken(f"{found.stream} {found.seq}" + (", a duplicate" if found.duplicate else ""))

    async def read(self, pages: Sequence[PageKey]) -> Mapping[PageKey, str] | None:
        """As the contract says: the tag of the last message of each subject."""
        found: dict[PageKey, str] = {}
        try:
            stream = await self._stream()
            for page in pages:
                subject = subject_of(self._config.subject, page)
                with suppress(self._missing):
                    name = await stream.find_stream_name_by_subject(subject)
                    headers = (await stream.get_last_msg(name, subject)).headers or {}
                    if WITHDRAWN_HEADER not in headers:
                        found[page] = headers.get(TAG_HEADER, "")
        except self._errors as error:
            raise TargetUnreadable(self._name, _text(error)) from error
        return found


def subject_of(template: str, page: PageKey) -> str:
    """The subject of a page. In SKU and channel, what is no letter, digit, `-` or `_` is `%` and its number."""
    return template.replace("{channel}", token(page.channel)).replace("{sku}", token(page.sku))


def token(text: str) -> str:
    """A part of a subject between dots. Different texts differ."""
    if TOKEN_CHARACTERS.issuperset(text):
        return text
    return "".join(chr(byte) if chr(byte) in TOKEN_CHARACTERS else f"%{byte:02X}" for byte in text.encode())


async def _ignore(_: Exception) -> None:
    """The library prints errors of the connection otherwise. Each delivery reports its own."""


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")[:MAX_TEXT]
