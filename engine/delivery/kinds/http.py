"""A web service: a request for each page, or for many, signed as Standard Webhooks defines it.

With a `path`, the service has an address for each page: the document is put there, as it is, and a withdrawal is a
DELETE, or a body that says so. Without one, it is a webhook: each request says what has changed.
"""

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Self
from urllib.parse import quote

import msgspec
import orjson

from pagefold.engine.configuration.target_config import HttpTargetConfig, TargetConfig
from pagefold.engine.delivery.faults import answer_of
from pagefold.engine.delivery.http_sender import HttpSender, NoResponse, Response
from pagefold.engine.delivery.outside import OUTSIDE, Outside, secret
from pagefold.engine.delivery.target_errors import TargetUnreadable
from pagefold.engine.delivery.target_kind import (
    Answer,
    Answers,
    Item,
    PageKey,
    Refused,
    TargetKind,
    Unavailable,
)
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.reading.page_tags import tag_of

TAG_HEADER = "pagefold-tag"
"""The tag of a page that a request delivers. A service that keeps it and answers a GET with it is compared exactly."""

SECRET_PREFIX = "whsec_"  # noqa: S105  # a prefix, not a secret

_entity_tag = re.compile('(?:W/)?"?([0-9a-f]{32})"?')


class _Result(msgspec.Struct):
    status: int
    error: str = ""


class _Results(msgspec.Struct):
    results: list[_Result]


class HttpTarget(TargetKind):
    """A web service. Raises `ConfigurationError` if the environment lacks its secrets."""

    def __init__(self, name: str, target: TargetConfig, config: HttpTargetConfig, outside: Outside = OUTSIDE) -> None:
        key = f"targets.{name}.http"
        self._name, self._config = name, config
        self._secret = _signing_secret(key, config, outside.environment)
        self._sender = HttpSender(key, config, target, outside)
        self.max_batch = target.batch if config.batches else 1

    async def __aenter__(self) -> Self:
        await self._sender.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._sender.__aexit__(kind, error, trace)

    async def deliver(self, items: Sequence[Item]) -> Answers:
        """As the contract says."""
        if self._config.batches:
            return await self._deliver_batch(items)
        [item] = items
        if not is_below(address_of(self._config.path, item.page) if item.request is None else item.request.path):
            return Answers([Refused("a part of its address would be . or .., which leads elsewhere")])
        response = await self._send_one(item)
        if isinstance(response, NoResponse):
            return Answers([Unavailable(response.text, response.sent)], response.limits)
        withdrawal = item.document is None and item.request is None
        answer = answer_of(response.status, response.text, withdrawal=withdrawal)
        return Answers([answer], response.limits)

    async def _send_one(self, item: Item) -> Response | NoResponse:
        if (request := item.request) is not None:
            return await self._send(request.method, request.path, request.body.encode() or None, [item])
        return await self._send_page(item) if self._config.path else await self._send_event(item)

    async def _send_page(self, item: Item) -> Response | NoResponse:
        """The document, to the page's own address."""
        config = self._config
        withdrawal = item.document is None
        method = config.withdraw_method if withdrawal else config.method
        body = None if withdrawal and method == "DELETE" else item.document or orjson.dumps(_event(item))
        return await self._send(method, address_of(config.path, item.page), body, [item])

    async def _send_event(self, item: Item) -> Response | NoResponse:
        """What has changed, as a webhook."""
        body = b'{"type":"%b","timestamp":"%b","data":%b}' % (
            b"page.withdrawn" if item.document is None else b"page.changed",
            _timestamp(),
            _change(item),
        )
        return await self._send(self._config.method, "", body, [item])

    async def _deliver_batch(self, items: Sequence[Item]) -> Answers:
        """Many changes in one request. 207 answers each of them, in the same order; 2xx has taken all."""
        body = b'{"type":"pages.changed","timestamp":"%b","data":[%b]}' % (
            _timestamp(),
            b",".join([_change(item) for item in items]),
        )
        response = await self._send(self._config.method, "", body, items)
        if isinstance(response, NoResponse):
            return Answers([Unavailable(response.text, response.sent)] * len(items), response.limits)
        if response.status == HTTPStatus.MULTI_STATUS:
            return Answers(_results(response, items), response.limits)
        answer = answer_of(response.status, response.text, alone=len(items) == 1)
        return Answers([answer] * len(items), response.limits)

    async def _send(self, method: str, path: str, body: bytes | None, items: Sequence[Item]) -> Response | NoResponse:
        key = items[0].key if len(items) == 1 else batch_key([item.key for item in items])
        headers = dict(self._config.headers) | {
            "idempotency-key": key,
            "pagefold-sequence": str(max(item.position for item in items)),
        }
        if len(items) == 1 and items[0].request is None:
            headers[TAG_HEADER] = items[0].tag
        if body is not None:
            headers["content-type"] = "application/json"
        if self._secret is not None:
            headers |= signature_headers(self._secret, key, int(time.time()), body or b"")
        return await self._sender.send(method, path, content=body, headers=headers)

    async def read(self, pages: Sequence[PageKey]) -> Mapping[PageKey, str] | None:
        """As the contract says, with a GET for each page."""
        if not self._config.read:
            return None
        found: dict[PageKey, str] = {}
        for page in pages:
            if not is_below(path := address_of(self._config.path, page)):
                continue
            response = await self._sender.send("GET", path)
            if isinstance(response, NoResponse):
                raise TargetUnreadable(self._name, response.text)
            if response.status == HTTPStatus.OK:
                found[page] = _held_tag(response)
            elif response.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
                raise TargetUnreadable(self._name, f"it answers {response.status}")
        return found


def _held_tag(response: Response) -> str:
    """The tag of what a service holds: as it says, else by the bytes."""
    if (said := response.headers.get(TAG_HEADER)) is not None:
        return said
    entity = _entity_tag.fullmatch(response.headers.get("etag", ""))
    return tag_of(response.body) if entity is None else entity[1]


def address_of(template: str, page: PageKey) -> str:
    """The path of a page. Each part is percent-encoded, slashes included."""
    return template.replace("{sku}", quote(page.sku, safe="")).replace("{channel}", quote(page.channel, safe=""))


def is_below(path: str) -> bool:
    """Whether a path stays below the address of the target when parts that are dots are taken out."""
    return {".", ".."}.isdisjoint(path.partition("?")[0].split("/"))


def batch_key(keys: Sequence[str]) -> str:
    """The idempotency key of a request with several pages: the same for the same documents in the same order."""
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:32]


def signature_headers(secret_bytes: bytes, message: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks: the id is the same for every attempt, the signature is over the bytes."""
    signed = b"%b.%d.%b" % (message.encode(), timestamp, body)
    signature = base64.b64encode(hmac.digest(secret_bytes, signed, "sha256")).decode()
    return {"webhook-id": message, "webhook-timestamp": str(timestamp), "webhook-signature": f"v1,{signature}"}


def _signing_secret(key: str, config: HttpTargetConfig, environment: Mapping[str, str]) -> bytes | None:
    if config.secret_variable is None:
        return None
    text = secret(f"{key}.secret_variable", config.secret_variable, environment).removeprefix(SECRET_PREFIX)
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if len(found) < 16:  # noqa: PLR2004  # of 24 to 64 that the specification asks for, some services give fewer
        problem = (
            f"{config.secret_variable} is not a secret of Standard Webhooks: whsec_ and at least 16 bytes in base64"
        )
        raise ConfigurationError(f"{key}.secret_variable", problem)
    return found


def _results(response: Response, items: Sequence[Item]) -> list[Answer]:
    """The answer to each page. An answer that does not fit says nothing about any of them."""
    try:
        results = msgspec.json.decode(response.body, type=_Results).results
    except msgspec.MsgspecError:
        results = []
    if len(results) != len(items):
        problem = f"it answers 207, but not with a result for each of {len(items)} pages"
        return [Unavailable(problem)] * len(items)
    return [
        answer_of(result.status, result.error, withdrawal=item.document is None)
        for item, result in zip(items, results, strict=True)
    ]


def _event(item: Item) -> dict[str, object]:
    return {"sku": item.page.sku, "channel": item.page.channel, "withdrawn": True, "position": item.position}


def _change(item: Item) -> bytes:
    """What has changed of one page: `page` is its document, null for a withdrawal."""
    head = orjson.dumps(
        {
            "sku": item.page.sku,
            "channel": item.page.channel,
            "tag": item.tag or None,
            "position": item.position,
            "key": item.key,
        }
    )
    return head[:-1] + b',"page":' + (item.document or b"null") + b"}"


def _timestamp() -> bytes:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()).encode()
