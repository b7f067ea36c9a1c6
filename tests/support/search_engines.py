"""Small servers with the documented interfaces of search engines: with keys, tasks that take time and fail, limits.

No registry has a search engine itself that could run here. So these know what the engines' documentation says, and
refuse what it says that they refuse: ids with other characters, documents that are too large, wrong types of `price`.
"""

import re
from collections.abc import Callable
from typing import Any, TypeAlias

import orjson

from tests.support.fake_endpoint import Asked, Reply

KEY = "a-key-of-this-shop"
MAX_DOCUMENT, MAX_BODY = 10_000, 60_000

Document: TypeAlias = dict[str, Any]
"""A document of an index. `Any`: its fields are the page's."""


class Engine:
    """An engine with indexes. `down` answers everything; `looks` is how often a task is asked for before it is done."""

    def __init__(self) -> None:
        self.indexes: dict[str, dict[str, Document]] = {}
        self.down: Reply | None = None
        self.looks = 1
        self.failure: dict[str, str] | None = None
        self.tasks: dict[int, tuple[int, dict[str, str] | None]] = {}

    def __call__(self, asked: Asked) -> Reply:
        """The answer to a request."""
        if self.down is not None:
            return self.down
        if not self.knows(asked):
            return reply(403, message="Invalid API key")
        if len(asked.body) > MAX_BODY:
            return reply(413, message="The request body is too large")
        return self.answer(asked)

    def knows(self, asked: Asked) -> bool:
        """Whether it has the key."""
        raise NotImplementedError

    def answer(self, asked: Asked) -> Reply:
        """The answer to a request with the key."""
        raise NotImplementedError

    def index(self, name: str) -> dict[str, Document]:
        """The documents of an index, which is made if it is missing."""
        return self.indexes.setdefault(name, {})

    def new_task(self, failure: dict[str, str] | None = None) -> int:
        """A task that is done after some looks."""
        number = len(self.tasks) + 1
        self.tasks[number] = (self.looks, failure or self.failure)
        return number

    def looked_at(self, number: int) -> tuple[bool, dict[str, str] | None]:
        """Whether a task is done, and why it has failed."""
        looks, failure = self.tasks[number]
        self.tasks[number] = (looks - 1, failure)
        return looks <= 0, failure


def reply(code: int, body: object = None, /, **fields: object) -> Reply:
    """An answer in JSON."""
    return Reply(orjson.dumps(fields if body is None else body), code, {"content-type": "application/json"})


def fault_of(document: Document) -> str | None:
    """Why an engine does not take a document."""
    if not isinstance(document.get("price", 0), int | float):
        return "field price is not a number"
    return "the document is too large" if len(orjson.dumps(document)) > MAX_DOCUMENT else None


class Meilisearch(Engine):
    """Every change is a task. One document with a wrong id fails the whole task."""

    def knows(self, asked: Asked) -> bool:
        return asked.headers.get("authorization") == f"Bearer {KEY}"

    def answer(self, asked: Asked) -> Reply:
        if (found := re.fullmatch(r"/tasks/(\d+)", asked.path)) is not None:
            done, failure = self.looked_at(int(found[1]))
            status = "processing" if not done else "succeeded" if failure is None else "failed"
            return reply(200, uid=int(found[1]), status=status, error=failure if done else None)
        found = re.fullmatch(r"/indexes/([a-zA-Z0-9_-]+)/documents(?:/([^/]+))?", asked.path)
        assert found is not None, asked.path
        return self._documents(asked, found[1], found[2])

    def _documents(self, asked: Asked, name: str, document: str | None) -> Reply:
        if asked.method == "GET":
            if document not in self.indexes.get(name, {}):
                return reply(404, code="document_not_found")
            return reply(200, {key: self.indexes[name][document][key] for key in asked.query["fields"].split(",")})
        if document == "delete-batch":
            return self._withdraw(name, orjson.loads(asked.body))
        assert asked.query == {"primaryKey": "id"}
        documents = orjson.loads(asked.body)
        for each in documents:
            if not re.fullmatch(r"[a-zA-Z0-9_-]{1,511}", each["id"]):
                return self._accepted({"code": "invalid_document_id", "message": f"id {each['id']} is invalid"})
            if (fault := fault_of(each)) is not None:
                return self._accepted({"code": "invalid_document_fields", "message": fault})
        if self.failure is None:
            self.index(name).update({each["id"]: each for each in documents})
        return self._accepted()

    def _withdraw(self, name: str, ids: list[str]) -> Reply:
        if name not in self.indexes:
            return self._accepted({"code": "index_not_found", "message": f"Index {name} not found."})
        for each in ids:
            self.indexes[name].pop(each, None)
        return self._accepted()

    def _accepted(self, failure: dict[str, str] | None = None) -> Reply:
        return reply(202, taskUid=self.new_task(failure), status="enqueued")


class OpenSearch(Engine):
    """Each line of a bulk request is answered."""

    def knows(self, asked: Asked) -> bool:
        return asked.headers.get("authorization") == f"ApiKey {KEY}"

    def answer(self, asked: Asked) -> Reply:
        _, name, action = asked.path.split("/")
        assert name == name.lower()
        if action == "_mget":
            held = self.indexes.get(name)
            if held is None:
                return reply(404, error={"type": "index_not_found_exception"})
            return reply(200, docs=[self._shown(held, each) for each in orjson.loads(asked.body)["ids"]])
        assert (action, asked.headers["content-type"]) == ("_bulk", "application/x-ndjson")
        assert asked.body.endswith(b"\n")
        lines = iter(asked.body.splitlines())
        items = []
        for line in lines:
            [(verb, about)] = orjson.loads(line).items()
            items.append({verb: self._done(name, verb, about["_id"], lines)})
        return reply(200, errors=any("error" in each for item in items for each in item.values()), items=items)

    def _done(self, name: str, verb: str, number: str, lines: Any) -> Document:  # noqa: ANN401  # an iterator of lines
        if verb == "delete":
            return {"_id": number, "status": 200 if self.index(name).pop(number, None) is not None else 404}
        document = orjson.loads(next(lines))
        if self.failure is not None:
            return {"_id": number, "status": 429, "error": self.failure}
        if (fault := fault_of(document)) is not None:
            error = {"type": "mapper_parsing_exception", "reason": fault}
            return {"_id": number, "status": 400, "error": error}
        self.index(name)[number] = document
        return {"_id": number, "status": 201}

    def _shown(self, held: dict[str, Document], number: str) -> Document:
        if number not in held:
            return {"_id": number, "found": False}
        return {"_id": number, "found": True, "_source": {"pagefold_tag": held[number]["pagefold_tag"]}}


class Typesense(Engine):
    """Each line of an import is answered by a line. Collections are not made by it."""

    def knows(self, asked: Asked) -> bool:
        return asked.headers.get("x-typesense-api-key") == KEY

    def answer(self, asked: Asked) -> Reply:
        found = re.fullmatch(r"/collections/([^/]+)/documents/([^/]+)", asked.path)
        assert found is not None, asked.path
        if (held := self.indexes.get(found[1])) is None:
            return reply(404, message="Not Found")
        if asked.method == "DELETE":
            gone = held.pop(found[2], None)
            return reply(404, message="Could not find a document") if gone is None else reply(200, gone)
        if asked.method == "GET":
            if found[2] not in held:
                return reply(404, message="Could not find a document")
            return reply(200, pagefold_tag=held[found[2]]["pagefold_tag"])
        assert (found[2], asked.query["action"]) == ("import", "upsert")
        lines = []
        for line in asked.body.splitlines():
            document = orjson.loads(line)
            if (fault := fault_of(document)) is not None:
                lines.append({"success": False, "error": fault, "code": 400})
            else:
                held[document["id"]] = document
                lines.append({"success": True})
        return Reply(b"\n".join(map(orjson.dumps, lines)))


class Algolia(Engine):
    """A batch is a task. One record that is too large refuses the whole batch."""

    def knows(self, asked: Asked) -> bool:
        names = ("x-algolia-api-key", "x-algolia-application-id")
        return [asked.headers.get(name) for name in names] == [KEY, "A1"]

    def answer(self, asked: Asked) -> Reply:
        if (found := re.fullmatch(r"/1/indexes/([^/]+)/task/(\d+)", asked.path)) is not None:
            return reply(200, status="published" if self.looked_at(int(found[2]))[0] else "notPublished")
        if asked.path == "/1/indexes/*/objects":
            wanted = orjson.loads(asked.body)["requests"]
            return reply(200, results=[self.index(each["indexName"]).get(each["objectID"]) for each in wanted])
        found = re.fullmatch(r"/1/indexes/([^/]+)/batch", asked.path)
        assert found is not None, asked.path
        requests = orjson.loads(asked.body)["requests"]
        for each in requests:
            if (fault := fault_of(each["body"])) is not None:
                return reply(400, message=f"Record objectID={each['body']['objectID']}: {fault}")
        for each in requests:
            if each["action"] == "deleteObject":
                self.index(found[1]).pop(each["body"]["objectID"], None)
            else:
                assert each["action"] == "updateObject"
                self.index(found[1])[each["body"]["objectID"]] = each["body"]
        return reply(200, taskID=self.new_task(), objectIDs=[])


ENGINES: dict[str, Callable[[], Engine]] = {
    "meilisearch": Meilisearch,
    "opensearch": OpenSearch,
    "typesense": Typesense,
    "algolia": Algolia,
}
