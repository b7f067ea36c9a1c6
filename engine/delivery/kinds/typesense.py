"""Typesense: documents are imported line by line, and each line is answered; a withdrawal is a DELETE of its own."""

from collections.abc import Mapping, Sequence

import msgspec

from pagefold.engine.delivery.faults import answer_of
from pagefold.engine.delivery.http_sender import NoResponse
from pagefold.engine.delivery.kinds.search_engine import TAG_FIELD, SearchEngine, fill, newest_limits, path_part
from pagefold.engine.delivery.target_kind import NO_LIMITS, Answer, Item, Limits, PageKey, Unavailable


class _Line(msgspec.Struct):
    success: bool
    error: str = ""
    code: int = 400


NO_RESOURCES = "Rejecting write"

_line = msgspec.json.Decoder(_Line)


class TypesenseTarget(SearchEngine):
    """A collection of Typesense."""

    def credentials(self, api_key: str) -> Mapping[str, str]:
        """The key in Typesense's own header."""
        return {"x-typesense-api-key": api_key}

    async def deliver_to(self, index: str, items: Sequence[Item], answers: dict[PageKey, Answer]) -> Limits:
        """One import for the documents, then the withdrawals."""
        limits = NO_LIMITS
        if documents := [item for item in items if item.document is not None]:
            limits = await self._import(index, documents, answers)
        for item in items:
            if item.document is None:
                limits = newest_limits(limits, await self._delete(index, item, answers))
        return limits

    async def _import(self, index: str, items: Sequence[Item], answers: dict[PageKey, Answer]) -> Limits:
        path = f"/collections/{path_part(index)}/documents/import?action=upsert&dirty_values=coerce_or_reject"
        response = await self.request("POST", path, b"\n".join(map(self.document_of, items)), "x-ndjson")
        lines = self.answers_of(response, items, _lines)
        if not isinstance(lines, list):
            fill(answers, items, _own(lines))
        elif len(lines) != len(items):
            fill(answers, items, Unavailable(f"its answer does not have a line for each of {len(items)} pages"))
        else:
            found = [_own(answer_of(200 if line.success else line.code, line.error)) for line in lines]
            answers |= dict(zip([item.page for item in items], found, strict=True))
        return response.limits

    async def _delete(self, index: str, item: Item, answers: dict[PageKey, Answer]) -> Limits:
        path = f"/collections/{path_part(index)}/documents/{path_part(self.id_of(item.page))}"
        response = await self.request("DELETE", path)
        if isinstance(response, NoResponse):
            answers[item.page] = Unavailable(response.text, response.sent)
        else:
            answers[item.page] = _own(answer_of(response.status, response.text, withdrawal=True))
        return response.limits

    async def read_tags(self, index: str, ids: Sequence[str]) -> Mapping[str, str]:
        """A request for each document."""
        found: dict[str, str] = {}
        for each in ids:
            path = f"/collections/{path_part(index)}/documents/{path_part(each)}?include_fields={TAG_FIELD}"
            response = self.readable(await self.request("GET", path), missing=True)
            if response.status < 400:  # noqa: PLR2004  # it is there
                found[each] = self.decoded(response, dict[str, str]).get(TAG_FIELD, "")
        return found


def _lines(body: bytes) -> list[_Line]:
    return [_line.decode(line) for line in body.splitlines() if line.strip()]


def _own(answer: Answer) -> Answer:
    """An answer as Typesense means it: without memory or disk it answers 422, as if the document were wrong."""
    return Unavailable(answer.text, received=False) if NO_RESOURCES in answer.text else answer
