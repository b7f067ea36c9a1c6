"""Algolia: batches of operations; each is a task, and a receipt only for one that is published."""

from collections.abc import Mapping, Sequence
from functools import partial

import msgspec
import orjson

from pagefold.engine.configuration.target_config import AlgoliaTargetConfig, TargetConfig
from pagefold.engine.delivery.faults import answer_of
from pagefold.engine.delivery.http_sender import NoResponse, Outside
from pagefold.engine.delivery.kinds.search_engine import TAG_FIELD, SearchEngine, path_part
from pagefold.engine.delivery.kinds.task_waiting import applied
from pagefold.engine.delivery.target_kind import Answer, Answers, Item, Taken, Unavailable


class _Accepted(msgspec.Struct):
    task: int = msgspec.field(name="taskID")


class _Task(msgspec.Struct):
    status: str


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

    async def deliver_to(self, index: str, items: Sequence[Item]) -> Answers:
        """One batch, of documents and withdrawals in their order."""
        operations = b",".join(map(self._operation, items))
        response = await self.request("POST", f"/1/indexes/{path_part(index)}/batch", b'{"requests":[%b]}' % operations)
        if isinstance(response, NoResponse):
            return Answers([Unavailable(response.text, response.sent)] * len(items), response.limits)
        answer = answer_of(response.status, response.text, alone=len(items) == 1)
        if isinstance(answer, Taken):
            try:
                task = msgspec.json.decode(response.body, type=_Accepted).task
                answer = await applied(partial(self._look, index, task), str(task), self._timeout)
            except msgspec.MsgspecError:
                answer = Unavailable("its answer is not that of Algolia")
        return Answers([answer] * len(items), response.limits)

    def _operation(self, item: Item) -> bytes:
        if item.document is None:
            return orjson.dumps({"action": "deleteObject", "body": {"objectID": self.id_of(item.page)}})
        return b'{"action":"updateObject","body":%b}' % self.document_of(item)

    async def _look(self, index: str, task: int) -> Answer | None:
        response = await self.request("GET", f"/1/indexes/{path_part(index)}/task/{task}")
        if isinstance(response, NoResponse):
            return None  # the task goes on meanwhile
        try:
            status = msgspec.json.decode(response.body, type=_Task).status
        except msgspec.MsgspecError:
            return None
        return Taken(f"task {task}") if status == "published" else None

    async def read_tags(self, index: str, ids: Sequence[str]) -> Mapping[str, str]:
        """One request for all."""
        asked = [{"indexName": index, "objectID": each, "attributesToRetrieve": [TAG_FIELD]} for each in ids]
        response = await self.request("POST", "/1/indexes/*/objects", orjson.dumps({"requests": asked}))
        results = self.decoded(self.readable(response), _Objects).results
        return {
            each: str(found.get(TAG_FIELD, "")) for each, found in zip(ids, results, strict=False) if found is not None
        }
