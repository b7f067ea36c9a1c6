"""Typesense: documents are imported line by line, and each line is answered; a withdrawal is a DELETE of its own."""

from collections.abc import Mapping, Sequence

import msgspec

from pagefold.engine.delivery.faults import answer_of
from pagefold.engine.delivery.http_sender import NoResponse
from pagefold.engine.delivery.kinds.search_engine import TAG_FIELD, SearchEngine, path_part
from pagefold.engine.delivery.target_kind import NO_LIMITS, Answer, Answers, Item, Limits, Taken, Unavailable


class _Line(msgspec.Struct):
    success: bool
    error: str = ""
    code: int = 400


_line = msgspec.json.Decoder(_Line)


class TypesenseTarget(SearchEngine):
    """A collection of Typesense."""

    def credentials(self, api_key: str) -> Mapping[str, str]:
        """The key in Typesense's own header."""
        return {"x-typesense-api-key": api_key}

    async def deliver_to(self, index: str, items: Sequence[Item]) -> Answers:
        """One import for the documents, then the withdrawals."""
        documents = [item for item in items if item.document is not None]
        found: dict[int, Answer] = {}
        limits = NO_LIMITS
        if documents:
            answers, limits = await self._import(index, documents)
            found |= {id(item): answer for item, answer in zip(documents, answers, strict=True)}
        for item in items:
            if item.document is None:
                answer, told = await self._delete(index, item)
                limits = told if told != NO_LIMITS else limits
                found[id(item)] = answer
        return Answers([found[id(item)] for item in items], limits)

    async def _import(self, index: str, items: Sequence[Item]) -> tuple[Sequence[Answer], Limits]:
        path = f"/collections/{path_part(index)}/documents/import?action=upsert&dirty_values=coerce_or_reject"
        response = await self.request("POST", path, b"\n".join(map(self.document_of, items)), "x-ndjson")
        if isinstance(response, NoResponse):
            return [Unavailable(response.text, response.sent)] * len(items), response.limits
        answer = answer_of(response.status, response.text, alone=len(items) == 1)
        if not isinstance(answer, Taken):
            return [answer] * len(items), response.limits
        try:
            lines = [_line.decode(line) for line in response.body.splitlines() if line.strip()]
        except msgspec.MsgspecError:
            lines = []
        if len(lines) != len(items):
            return [Unavailable("its answer is not that of an import")] * len(items), response.limits
        return [answer_of(200 if line.success else line.code, line.error) for line in lines], response.limits

    async def _delete(self, index: str, item: Item) -> tuple[Answer, Limits]:
        path = f"/collections/{path_part(index)}/documents/{path_part(self.id_of(item.page))}"
        response = await self.request("DELETE", path)
        if isinstance(response, NoResponse):
            return Unavailable(response.text, response.sent), response.limits
        return answer_of(response.status, response.text, withdrawal=True), response.limits

    async def read_tags(self, index: str, ids: Sequence[str]) -> Mapping[str, str]:
        """A request for each document."""
        found: dict[str, str] = {}
        for each in ids:
            path = f"/collections/{path_part(index)}/documents/{path_part(each)}?include_fields={TAG_FIELD}"
            response = self.readable(await self.request("GET", path), missing=True)
            if response.status < 400:  # noqa: PLR2004  # it is there
                found[each] = self.decoded(response, dict[str, str]).get(TAG_FIELD, "")
        return found
