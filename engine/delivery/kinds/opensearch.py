"""OpenSearch and Elasticsearch: the bulk API, which answers each document after it was indexed."""

from collections.abc import Mapping, Sequence

import msgspec
import orjson

from pagefold.engine.delivery.faults import answer_of
from pagefold.engine.delivery.kinds.search_engine import TAG_FIELD, SearchEngine, fill, path_part
from pagefold.engine.delivery.target_kind import Answer, Item, Limits, PageKey, Unavailable

TOO_MANY = 429


class _Reason(msgspec.Struct):
    type: str = ""
    reason: str = ""


class _Outcome(msgspec.Struct):
    status: int
    error: _Reason | None = None


class _Bulk(msgspec.Struct):
    items: list[dict[str, _Outcome]]


_bulk = msgspec.json.Decoder(_Bulk)


class _Source(msgspec.Struct):
    pagefold_tag: str = ""


class _Document(msgspec.Struct):
    id: str = msgspec.field(name="_id")
    found: bool = False
    source: _Source = msgspec.field(name="_source", default_factory=_Source)


class _Documents(msgspec.Struct):
    docs: list[_Document]


class OpenSearchTarget(SearchEngine):
    """An index of OpenSearch or Elasticsearch. The id is that of the document, and no field of it."""

    id_field = "pagefold_id"

    def credentials(self, api_key: str) -> Mapping[str, str]:
        """The key as Elasticsearch takes it; OpenSearch has users, whose header is an own variable."""
        return {"authorization": f"ApiKey {api_key}"}

    async def deliver_to(self, index: str, items: Sequence[Item], answers: dict[PageKey, Answer]) -> Limits:
        """One bulk request."""
        lines: list[bytes] = []
        for item in items:
            action = "delete" if item.document is None else "index"
            lines.append(orjson.dumps({action: {"_id": self.id_of(item.page)}}))
            if item.document is not None:
                lines.append(self.document_of(item))
        response = await self.request("POST", f"/{path_part(index)}/_bulk", b"\n".join([*lines, b""]), "x-ndjson")
        bulk = self.answers_of(response, items, _bulk.decode)
        if not isinstance(bulk, _Bulk):
            fill(answers, items, bulk)
            return response.limits
        outcomes = [next(iter(each.values())) for each in bulk.items if each]
        if len(outcomes) != len(items):
            fill(answers, items, Unavailable(f"its answer does not have an outcome for each of {len(items)} pages"))
            return response.limits
        answers |= {item.page: _answer(item, outcome) for item, outcome in zip(items, outcomes, strict=True)}
        throttled = response.limits.throttled or any(outcome.status == TOO_MANY for outcome in outcomes)
        return response.limits._replace(throttled=throttled)

    async def read_tags(self, index: str, ids: Sequence[str]) -> Mapping[str, str]:
        """One request for all."""
        body = orjson.dumps({"ids": list(ids)})
        path = f"/{path_part(index)}/_mget?_source_includes={TAG_FIELD}"
        response = self.readable(await self.request("POST", path, body), missing=True)
        if response.status >= 400:  # noqa: PLR2004  # there is no such index yet
            return {}
        return {each.id: each.source.pagefold_tag for each in self.decoded(response, _Documents).docs if each.found}


def _answer(item: Item, outcome: _Outcome) -> Answer:
    """A withdrawal of what is not there is done."""
    reason = outcome.error or _Reason()
    text = f"{reason.type}: {reason.reason}".strip(": ")
    return answer_of(outcome.status, text, withdrawal=item.document is None)
