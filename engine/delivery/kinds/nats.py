"""NATS JetStream: a message for each change, acknowledged by the stream, and stored once under its id."""

import asyncio
import string
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypedDict

import anyio

from pagefold.engine.configuration.target_config import NatsTargetConfig, TargetConfig
from pagefold.engine.delivery.faults import MAX_TEXT
from pagefold.engine.delivery.outside import Outside, secret
from pagefold.engine.delivery.target_errors import TargetUnreadable
from pagefold.engine.delivery.target_kind import Answer, Answers, Item, PageKey, Refused, Taken, TargetKind, Unavailable
from pagefold.engine.runtime.extras import needs_extra

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext

CLOSE_SECONDS = 2.0
PING_SECONDS = 10
TOKEN_CHARACTERS = frozenset(string.ascii_letters + string.digits + "-_")
ID_HEADER, TAG_HEADER = "Nats-Msg-Id", "Pagefold-Tag"
POSITION_HEADER, WITHDRAWN_HEADER = "Pagefold-Sequence", "Pagefold-Withdrawn"

MESSAGE_TOO_LARGE = 10054
"""The number of JetStream's error for a message beyond what the stream takes."""


class _Secrets(TypedDict, total=False):
    token: str
    user_credentials: str


class NatsTarget(TargetKind):
    """A stream. Connects with the first delivery, and again after the connection was lost. Raises `ExtraMissing`."""

    def __init__(self, name: str, target: TargetConfig, config: NatsTargetConfig, outside: Outside) -> None:
        with needs_extra(f"the target {name}", "nats"):
            import nats.errors  # noqa: PLC0415  # an extra
            import nats.js.errors  # noqa: PLC0415  # likewise
        self._name, self._config, self._timeout = name, config, target.timeout_seconds
        self._refusal = nats.js.errors.APIError
        self._missing = nats.js.errors.NotFoundError
        self._errors: tuple[type[Exception], ...] = (
            nats.errors.Error,
            OSError,
            ValueError,
        )  # TimeoutError is an OSError
        key, environment = f"targets.{name}.nats", outside.environment
        self._secrets = _Secrets()
        if config.token_variable is not None:
            self._secrets["token"] = secret(f"{key}.token_variable", config.token_variable, environment)
        if config.credentials_variable is not None:
            place = secret(f"{key}.credentials_variable", config.credentials_variable, environment)
            self._secrets["user_credentials"] = place
        self._client: Client | None = None
        self._turn = anyio.Lock()
        self.max_batch = target.batch

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._close(self._client)

    async def _connected(self) -> "Client":
        """The client, connected. Raises an error of `_errors`.

        A lost connection is not opened again by the library, which would hold back what was to be sent, and send it
        later: after a newer version, which another process has delivered meanwhile.
        """
        from nats.aio.client import Client  # noqa: PLC0415  # an extra

        async with self._turn:
            if self._client is not None and self._client.is_connected:
                return self._client
            client = Client()
            try:
                await client.connect(
                    self._config.servers,
                    connect_timeout=max(1, int(self._timeout)),
                    allow_reconnect=False,
                    ping_interval=PING_SECONDS,
                    error_cb=_ignore,
                    **self._secrets,
                )
            finally:
                if not client.is_connected:
                    await self._close(client)
            self._client = client
            return client

    async def _close(self, client: "Client") -> None:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True), suppress(*self._errors):
            await client.close()

    async def deliver(self, items: Sequence[Item]) -> Answers:
        """As the contract says: all messages are sent, then their acknowledgements are awaited."""
        until = time.monotonic() + self._timeout
        try:
            with anyio.fail_after(self._timeout):
                client = await self._connected()
        except self._errors as error:
            return Answers([Unavailable(_text(error), received=False)] * len(items))
        stream = client.jetstream(timeout=self._timeout)
        limit = client.max_payload
        return Answers(await asyncio.gather(*(self._publish(stream, item, limit, until) for item in items)))

    async def _publish(self, stream: "JetStreamContext", item: Item, limit: int, until: float) -> Answer:
        headers = {ID_HEADER: item.key, TAG_HEADER: item.tag, POSITION_HEADER: str(item.position)}
        if item.document is None:
            headers[WITHDRAWN_HEADER] = "true"
        body = item.document or b""
        if len(body) + _bytes_of(headers) > limit:  # the server would end the connection, and all that is under way
            return Refused(f"the server takes no message with more than {limit} bytes")
        try:
            found = await stream.publish(
                subject_of(self._config.subject, item.page),
                body,
                timeout=max(until - time.monotonic(), 0.001),
                headers=headers,
            )
        except self._refusal as error:
            if error.err_code == MESSAGE_TOO_LARGE:
                return Refused(_text(error))
            return Unavailable(_text(error), received=False)
        except self._errors as error:
            return Unavailable(_text(error))
        return Taken(f"{found.stream} {found.seq}" + (", a duplicate" if found.duplicate else ""))

    async def read(self, pages: Sequence[PageKey]) -> Mapping[PageKey, str] | None:
        """As the contract says: the tag of the last message of each subject."""
        found: dict[PageKey, str] = {}
        try:
            with anyio.fail_after(self._timeout):
                stream = (await self._connected()).jetstream(timeout=self._timeout)
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


def _bytes_of(headers: Mapping[str, str]) -> int:
    """The size of headers in a message: each is a line, between the version and an empty one."""
    return len("NATS/1.0\r\n\r\n") + sum(len(f"{name}: {value}\r\n") for name, value in headers.items())


async def _ignore(_: Exception) -> None:
    """The library prints errors of the connection otherwise. Each delivery reports its own."""


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")[:MAX_TEXT]
