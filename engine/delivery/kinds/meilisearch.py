"""Meilisearch: documents are added and deleted in batches; each is a task, which a receipt says has succeeded."""

from collections.abc import Mapping, Sequence
from functools import partial

import msgspec
import orjson

from pagefold.engine.delivery.faults import MAX_TEXT, answer_of
from pagefold.engine.delivery.http_sender import NoResponse
from pagefold.engine.delivery.kinds.search_engine import TAG_FIELD, SearchEngine, path_part
from pagefold.engine.delivery.kinds.task_waiting import applied
from pagefold.engine.delivery.target_kind import NO_LIMITS, Answer, Answers, Item, Limits, Refused, Taken, Unavailable


class _Accepted(msgspec.Struct, rename="camel"):
    task_uid: int


class _Failure(msgspec.Struct):
    message: str = ""
    type: str = ""


class _Task(msgspec.Struct):
    status: str
    error: _Failure | None = None


class MeilisearchTarget(SearchEngine):
    """An index of Meilisearch."""

    def credentials(self, api_key: str) -> Mapping[str, str]:
        """The key as a bearer token."""
        return {"authorization": f"Bearer {api_key}"}

    async def deliver_to(self, index: str, items: Sequence[Item]) -> Answers:
        """One task for the documents, and one for the withdrawals."""
        documents = [item for item in items if item.document is not None]
        withdrawn = [item for item in items if item.document is None]
        found: dict[int, Answer] = {}
        limits = NO_LIMITS
        if documents:
            body = b"[%b]" % b",".join(map(self.document_of, documents))
            path = f"/indexes/{path_part(index)}/documents?primaryKey={self.id_field}"
            answer, limits = await self._do("POST", path, body, documents)
            found |= {id(item): answer for item in documents}
        if withdrawn:
            body = orjson.dumps([self.id_of(item.page) for item in withdrawn])
            answer, told = await self._do(
                "POST", f"/indexes/{path_part(index)}/documents/delete-batch", body, withdrawn
            )
            limits = told if told != NO_LIMITS else limits
            found |= {id(item): answer for item in withdrawn}
        return Answers([found[id(item)] for item in items], limits)

    async def _do(self, method: str, path: str, body: bytes, items: Sequence[Item]) -> tuple[Answer, Limits]:
        """Asks for something, and waits until it is done."""
        response = await self.request(method, path, body)
        if isinstance(response, NoResponse):
            return Unavailable(response.text, response.sent), response.limits
        answer = answer_of(response.status, response.text, alone=len(items) == 1)
        if not isinstance(answer, Taken):
            return answer, response.limits
        try:
            task = msgspec.json.decode(response.body, type=_Accepted).task_uid
        except msgspec.MsgspecError:
            return Unavailable("its answer is not that of Meilisearch"), response.limits
        look = partial(self._look, task, alone=len(items) == 1)
        return await applied(look, str(task), self._timeout), response.limits

    async def _look(self, task: int, *, alone: bool) -> Answer | None:
        response = await self.request("GET", f"/tasks/{task}")
        if isinstance(response, NoResponse):
            return None  # the task goes on meanwhile
        try:
            found = msgspec.json.decode(response.body, type=_Task)
        except msgspec.MsgspecError:
            return None
        if found.status == "succeeded":
            return Taken(f"task {task}")
        if found.status not in {"failed", "canceled"}:
            return None
        failure = found.error or _Failure(found.status)
        text = f"task {task}: {failure.message}"[:MAX_TEXT]
        return Refused(text, alone) if failure.type == "invalid_request" else Unavailable(text)

    async def read_tags(self, index: str, ids: Sequence[str]) -> Mapping[str, str]:
        """A request for each document: older versions cannot be asked for several."""
        found: dict[str, str] = {}
        for each in ids:
            path = f"/indexes/{path_part(index)}/documents/{path_part(each)}?fields={TAG_FIELD}"
            response = self.readable(await self.request("GET", path), missing=True)
            if response.status < 400:  # noqa: PLR2004  # it is there
                found[each] = self.decoded(response, dict[str, str]).get(TAG_FIELD, "")
        return found
