"""Algolia: batches of operations; each is a task, and a receipt only for one that is published."""

from collections.abc import Mapping, Sequence
from functools import partial
from http import HTTPStatus

import msgspec
import orjson

from pagefold.engine.configuration.target_config import AlgoliaTargetConfig, TargetConfig
from pagefold.engine.delivery.faults import MAX_TEXT, shown_status
from pagefold.engine.delivery.http_sender import NoResponse
from pagefold.engine.delivery.kinds.search_engine import TAG_FIELD, SearchEngine, fill, path_part
from pagefold.engine.delivery.kinds.task_waiting import applied
from pagefold.engine.delivery.outside import Outside
from pagefold.engine.delivery.target_errors import TargetUnreadable
from pagefold.engine.delivery.target_kind import Answer, Item, Limits, PageKey, Taken, Unavailable


class _Accepted(msgspec.Struct):
    task: int = msgspec.field(name="taskID")


class _Task(msgspec.Struct):
    status: str


_accepted = msgspec.json.Decoder(_Accepted)
_task = msgspec.json.Decoder(_Task)


class _Objects(msgspec.Struct):
    results: list[dict[str, object] | None]


class AlgoliaTarget(SearchEngine):
    """An index of Algolia."""

    id_field = "objectID"

    def __init__(self, name: str, target: TargetConfig, config: AlgoliaTargetConfig, outside: Outside) -> None:
        self._application = config.application
        super().__init__(name, target, config, outside)

    def credentials(self, api_key: str) -> Mapping[str, str]:
        """The key and the application in Algolia's own headers."""
        return {"x-algolia-api-key": api_key, "x-algolia-application-id": self._application}

    async def deliver_to(self, index: str, items: Sequence[Item], answers: dict[PageKey, Answer]) -> Limits:
        """One batch, of documents and withdrawals in their order."""
        operations = b",".join(map(self._operation, items))
        response = await self.request("POST", f"/1/indexes/{path_part(index)}/batch", b'{"requests":[%b]}' % operations)
        accepted = self.answers_of(response, items, _accepted.decode)
        if isinstance(accepted, _Accepted):
            fill(answers, items, await applied(partial(self._look, index, accepted.task)))
        else:
            fill(answers, items, accepted)
        return response.limits

    def _operation(self, item: Item) -> bytes:
        if item.document is None:
            return orjson.dumps({"action": "deleteObject", "body": {"objectID": self.id_of(item.page)}})
        return b'{"action":"updateObject","body":%b}' % self.document_of(item)

    async def _look(self, index: str, task: int) -> Answer | None:
        response = await self.request("GET", f"/1/indexes/{path_part(index)}/task/{task}")
        if isinstance(response, NoResponse) or response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return None  # the task may be done meanwhile
        if response.status != HTTPStatus.OK:
            return Unavailable(
                f"the task {task} cannot be read: {shown_status(response.status, response.text)}"[:MAX_TEXT]
            )
        try:
            status = _task.decode(response.body).status
        except msgspec.MsgspecError:
            return None
        return Taken(f"task {task}") if status == "published" else None

    async def read_tags(self, index: str, ids: Sequence[str]) -> Mapping[str, str]:
        """One request for all."""
        asked = [{"indexName": index, "objectID": each, "attributesToRetrieve": [TAG_FIELD]} for each in ids]
        response = await self.request("POST", "/1/indexes/*/objects", orjson.dumps({"requests": asked}))
        results = self.decoded(self.readable(response), _Objects).results
        if len(results) != len(ids):
            raise TargetUnreadable(self._name, "its answer is not that of this engine")
        return {
            each: str(found.get(TAG_FIELD, "")) for each, found in zip(ids, results, strict=True) if found is not None
        }
