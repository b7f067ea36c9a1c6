"""What search engines have in common: documents with an id and a tag, indexes by channel, bulk requests over HTTP."""

import hashlib
import re
import string
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import ClassVar, Self, TypeVar
from urllib.parse import quote

import anyio
import msgspec
import orjson

from pagefold.engine.configuration.target_config import SearchTargetConfig, TargetConfig
from pagefold.engine.delivery.faults import answer_of
from pagefold.engine.delivery.http_sender import HttpSender, NoResponse, Response
from pagefold.engine.delivery.kinds.json_lines import one_line
from pagefold.engine.delivery.outside import Outside, secret
from pagefold.engine.delivery.target_errors import TargetUnreadable
from pagefold.engine.delivery.target_kind import (
    NO_LIMITS,
    Answer,
    Answers,
    Item,
    Limits,
    PageKey,
    Taken,
    TargetKind,
    Unavailable,
)

TAG_FIELD, POSITION_FIELD = "pagefold_tag", "pagefold_position"
"""Fields of every document beside the page: by the first it is seen which version the engine holds."""

ID_CHARACTERS = frozenset(string.ascii_letters + string.digits + "-")
INDEX_CHARACTERS = frozenset(string.ascii_lowercase + string.digits + "-")
"""Of an index: some engines take no capital letters."""

MAX_ID_CHARACTERS = 480
"""Of an id. Engines take 511 or 512 bytes; the rest of a longer one is replaced by a digest."""


RESERVED = re.compile(rb'"(?:id|objectID|pagefold_\w+)"\s*:')
"""Names of a document's own fields, which a page may have, too."""

Given = TypeVar("Given")
Decoded = TypeVar("Decoded")


class SearchEngine(TargetKind):
    """An engine that is filled through a bulk API. `id_field` is the name of a document's id there."""

    id_field: ClassVar[str] = "id"

    def __init__(self, name: str, target: TargetConfig, config: SearchTargetConfig, outside: Outside) -> None:
        self._name, self._config = name, config
        self._timeout = target.timeout_seconds
        key = f"targets.{name}.{target.kind}"
        api_key = ""
        if config.key_variable is not None:
            api_key = secret(f"{key}.key_variable", config.key_variable, outside.environment)
        self._sender = HttpSender(key, config, target, outside, self.credentials(api_key) if api_key else None)
        self.max_batch = target.batch

    async def __aenter__(self) -> Self:
        await self._sender.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._sender.__aexit__(kind, error, trace)

    @abstractmethod
    def credentials(self, api_key: str) -> Mapping[str, str]:
        """The headers that have the key of the API."""

    @abstractmethod
    async def deliver_to(self, index: str, items: Sequence[Item], answers: dict[PageKey, Answer]) -> Limits:
        """Delivers pages of one index, and adds the answer to each page as soon as it is known."""

    async def deliver(self, items: Sequence[Item]) -> Answers:
        """As the contract says: one index after another, where each channel has its own."""
        found: dict[PageKey, Answer] = {}
        limits: Limits = NO_LIMITS
        with anyio.move_on_after(self._timeout):
            for index, own in self._by_index(items, lambda item: item.page.channel).items():
                limits = newest_limits(limits, await self.deliver_to(index, own, found))
        late = Unavailable(f"not applied within {self._timeout:g} s")
        return Answers([found.get(item.page, late) for item in items], limits)

    async def read(self, pages: Sequence[PageKey]) -> Mapping[PageKey, str] | None:
        """As the contract says, by the tags in the documents."""
        found: dict[PageKey, str] = {}
        for index, own in self._by_index(pages, lambda page: page.channel).items():
            tags = await self.read_tags(index, [self.id_of(page) for page in own])
            found.update({page: tags[self.id_of(page)] for page in own if self.id_of(page) in tags})
        return found

    @abstractmethod
    async def read_tags(self, index: str, ids: Sequence[str]) -> Mapping[str, str]:
        """The tags of the documents that are there, by id. Raises `TargetUnreadable`."""

    def _by_index(self, given: Iterable[Given], channel: Callable[[Given], str]) -> dict[str, list[Given]]:
        found: dict[str, list[Given]] = {}
        for each in given:
            index = self._config.index.replace("{channel}", encoded(channel(each), INDEX_CHARACTERS))
            found.setdefault(index, []).append(each)
        return found

    def id_of(self, page: PageKey) -> str:
        """The id of a page's document."""
        template = self._config.id
        found = template.replace("{channel}", encoded(page.channel)).replace("{sku}", encoded(page.sku))
        if len(found) <= MAX_ID_CHARACTERS:
            return found
        return f"{found[: MAX_ID_CHARACTERS - 33]}-{hashlib.sha256(found.encode()).hexdigest()[:32]}"

    def document_of(self, item: Item) -> bytes:
        """The document: the page's own fields behind its id, its tag and its position."""
        head = orjson.dumps({self.id_field: self.id_of(item.page), TAG_FIELD: item.tag, POSITION_FIELD: item.position})
        body = one_line(item.document or b"{}").strip()
        if RESERVED.search(body) is not None:  # some engines take the second of two fields with a name, some neither
            fields = orjson.loads(body)
            body = orjson.dumps({name: fields[name] for name in fields if name not in orjson.loads(head)})
        rest = body[1:].lstrip()
        return head[:-1] + (b"" if rest == b"}" else b",") + rest

    async def request(
        self, method: str, path: str, body: bytes | None = None, kind: str = "json"
    ) -> Response | NoResponse:
        """One request to the engine's API."""
        headers = {} if body is None else {"content-type": f"application/{kind}"}
        return await self._sender.send(method, path, content=body, headers=headers)

    def readable(self, response: Response | NoResponse, *, missing: bool = False) -> Response:
        """A response with what was asked for. With `missing`, also that there is nothing. Raises `TargetUnreadable`."""
        if isinstance(response, NoResponse):
            raise TargetUnreadable(self._name, response.text)
        if response.status >= 400 and not (missing and response.status == 404):  # noqa: PLR2004  # errors; not found
            raise TargetUnreadable(self._name, f"it answers {response.status}")
        return response

    def decoded(self, response: Response, kind: type[Decoded]) -> Decoded:
        """The body of a response. Raises `TargetUnreadable` if it is another one than the API has."""
        try:
            return msgspec.json.decode(response.body, type=kind, strict=False)
        except msgspec.MsgspecError:
            raise TargetUnreadable(self._name, "its answer is not that of this engine") from None

    def answers_of(
        self, response: Response | NoResponse, items: Sequence[Item], decode: Callable[[bytes], Decoded]
    ) -> Decoded | Answer:
        """What a response to a request with several pages has: its body if it was accepted, else the answer to each."""
        if isinstance(response, NoResponse):
            return Unavailable(response.text, response.sent)
        answer = answer_of(response.status, response.text, alone=len(items) == 1)
        if not isinstance(answer, Taken):
            return answer
        try:
            return decode(response.body)
        except msgspec.MsgspecError:
            return Unavailable(f"{answer.text}: its answer is not that of this engine")


def encoded(text: str, kept: Collection[str] = ID_CHARACTERS) -> str:
    """A part of an id: what is no letter, digit or `-` is `_` and the number of its byte. Different texts differ."""
    return "".join(chr(byte) if chr(byte) in kept else f"_{byte:02x}" for byte in text.encode())


def newest_limits(earlier: Limits, later: Limits) -> Limits:
    """What an engine said last about its limits; that too much was sent is not forgotten."""
    said = earlier if later == NO_LIMITS else later
    return said._replace(throttled=earlier.throttled or later.throttled)


def fill(answers: dict[PageKey, Answer], items: Sequence[Item], answer: Answer) -> None:
    """The same answer to several pages."""
    answers.update(dict.fromkeys((item.page for item in items), answer))


def path_part(text: str) -> str:
    """A part of a path, percent-encoded."""
    return quote(text, safe="")
