"""Meilisearch: documents are added and deleted in batches; each is a task, which a receipt says has succeeded."""

from collections.abc import Mapping, Sequence
from functools import partial
from http import HTTPStatus

import msgspec
import orjson

from pagefold.engine.delivery.faults import MAX_TEXT, shown_status
from pagefold.engine.delivery.http_sender import NoResponse
from pagefold.engine.delivery.kinds.search_engine import TAG_FIELD, SearchEngine, fill, newest_limits, path_part
from pagefold.engine.delivery.kinds.task_waiting import applied
from pagefold.engine.delivery.target_kind import NO_LIMITS, Answer, Item, Limits, PageKey, Refused, Taken, Unavailable

DOCUMENT_CODES = ("invalid_document", "missing_document_id", "max_fields_limit_exceeded", "document_fields_limit")
"""How the codes of errors begin whose reason lies in a document. Other tasks fail for the index or the server."""

NO_INDEX = "index_not_found"


class _Accepted(msgspec.Struct, rename="camel"):
    task_uid: int


class _Failure(msgspec.Struct):
    message: str = ""
    code: str = ""


class _Task(msgspec.Struct):
    status: str
    error: _Failure | None = None


_accepted = msgspec.json.Decoder(_Accepted)
_task = msgspec.json.Decoder(_Task)


class MeilisearchTarget(SearchEngine):
    """An index of Meilisearch."""

    def credentials(self, api_key: str) -> Mapping[str, str]:
        """The key as a bearer token."""
        return {"authorization": f"Bearer {api_key}"}

    async def deliver_to(self, index: str, items: Sequence[Item], answers: dict[PageKey, Answer]) -> Limits:
        """One task for the documents, and one for the withdrawals."""
        limits = NO_LIMITS
        path = f"/indexes/{path_part(index)}/documents"
        if documents := [item for item in items if item.document is not None]:
            body = b"[%b]" % b",".join(map(self.document_of, documents))
            limits = await self._do(f"{path}?primaryKey={self.id_field}", body, documents, answers)
        if withdrawn := [item for item in items if item.document is None]:
            body = orjson.dumps([self.id_of(item.page) for item in withdrawn])
            limits = newest_limits(limits, await self._do(f"{path}/delete-batch", body, withdrawn, answers))
        return limits

    async def _do(self, path: str, body: bytes, items: Sequence[Item], answers: dict[PageKey, Answer]) -> Limits:
        """Asks for something, and waits until it is done."""
        response = await self.request("POST", path, body)
        accepted = self.answers_of(response, items, _accepted.decode)
        if isinstance(accepted, _Accepted):
            fill(answers, items, await applied(partial(self._look, accepted.task_uid, items)))
        else:
            fill(answers, items, accepted)
        return response.limits

    async def _look(self, task: int, items: Sequence[Item]) -> Answer | None:
        response = await self.request("GET", f"/tasks/{task}")
        if isinstance(response, NoResponse) or response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return None  # the task may be done meanwhile
        if response.status != HTTPStatus.OK:
            return Unavailable(
                f"the task {task} cannot be read: {shown_status(response.status, response.text)}"[:MAX_TEXT]
            )
        try:
            found = _task.decode(response.body)
        except msgspec.MsgspecError:
            return None
        if found.status in {"enqueued", "processing"}:
            return None
        if found.status == "succeeded":
            return Taken(f"task {task}")
        return _failed(task, found, items)

    async def read_tags(self, index: str, ids: Sequence[str]) -> Mapping[str, str]:
        """A request for each document: older versions cannot be asked for several."""
        found: dict[str, str] = {}
        for each in ids:
            path = f"/indexes/{path_part(index)}/documents/{path_part(each)}?fields={TAG_FIELD}"
            response = self.readable(await self.request("GET", path), missing=True)
            if response.status == HTTPStatus.OK:
                found[each] = self.decoded(response, dict[str, str]).get(TAG_FIELD, "")
        return found


def _failed(number: int, task: _Task, items: Sequence[Item]) -> Answer:
    """Whose fault a task is that has failed. There is nothing to withdraw from an index that does not exist."""
    failure = task.error or _Failure(task.status)
    if failure.code == NO_INDEX and items[0].document is None:
        return Taken(f"task {number}: there is no such index")
    text = f"task {number}: {failure.message}"[:MAX_TEXT]
    if failure.code.startswith(DOCUMENT_CODES):
        return Refused(text, alone=len(items) == 1)
    return Unavailable(text, received=False)
