"""Exports that a system prepares when it is asked: started, watched, downloaded, and read line by line."""

from collections.abc import Callable, Sequence

import orjson
import pytest

from pagefold.engine.configuration import endpoint_config
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import ConfigurationError, SourceFailed
from pagefold.engine.snapshots import endpoint_export, open_snapshot
from pagefold.engine.snapshots.snapshot import End
from tests.support.fake_endpoint import Asked, Reply, Server, serving
from tests.support.snapshot_fixtures import Document, Read, configured, prices, read

COMPLETE = End(complete=True)
ROWS = prices(25)
TOKEN = "s3cr3t-t0k3n"  # noqa: S105  # it opens nothing
EXPORT: Document = {
    "body": {"query": "status", "variables": {"id": "{job.id}"}},
    "status": "job.status",
    "done": ["COMPLETED"],
    "failed": ["FAILED"],
    "address": "job.url",
    "partial": "job.partialUrl",
    "count": "job.count",
    "every": 0.01,
}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives up after three requests."""
    monkeypatch.setattr(endpoint_config, "ATTEMPTS", 3)
    monkeypatch.setenv("SHOP_TOKEN", TOKEN)


def lines(rows: Sequence[object]) -> bytes:
    """A file with a row in each line."""
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


class System:
    """A system that prepares exports: `states` are what it says of one, the last again and again."""

    def __init__(self, *states: Document, files: Callable[[Asked], Reply] | None = None) -> None:
        self._states = list(states)
        self._files = files or (lambda _: Reply(lines(ROWS)))
        self.files = ""

    def __call__(self, asked: Asked) -> Reply:
        if asked.method == "GET":
            return self._files(asked)
        body: dict[str, object] = orjson.loads(asked.body)
        if body["query"] == "start":
            return Reply(orjson.dumps({"job": {"id": 7}}))
        assert body == {"query": "status", "variables": {"id": 7}}
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        state = {name: f"{self.files}{each}" if str(each).startswith("/") else each for name, each in state.items()}
        return Reply(orjson.dumps({"job": state}))


RUNNING: Document = {"status": "RUNNING", "url": None, "count": "3"}
DONE: Document = {"status": "COMPLETED", "url": "/file", "count": "25"}


def at(server: Server, **export: object) -> Config:
    """A snapshot that is an export of the server."""
    return configured(
        url=f"{server.url}/graphql",
        body={"query": "start"},
        token_variable="SHOP_TOKEN",  # noqa: S106  # a name
        requests_per_second=1000.0,
        export={**EXPORT, **export},
    )


async def taken(system: System, **export: object) -> Read:
    """The rows read of an export."""
    async with serving(system) as server:
        return await read(at(server, **export))


async def test_an_export_is_awaited_and_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is started once; each line of its file is a row, in batches; it cannot be resumed."""
    monkeypatch.setattr(endpoint_export, "BATCH_ROWS", 10)
    async with serving(System({"status": "CREATED"}, RUNNING, RUNNING, DONE)) as server:
        found = await read(at(server))
        assert [each.sku for each in found.events] == [row["sku"] for row in ROWS]
        assert [len(batch.rows) for batch in found.batches] == [10, 10, 5]
        assert found.end == COMPLETE
        assert [asked.method for asked in server.asked] == ["POST"] * 5 + ["GET"]
        async with open_snapshot(at(server), "erp") as snapshot:
            assert not snapshot.resumable


async def test_the_file_is_elsewhere() -> None:
    """At another host, which has to be named, and gets no token."""
    async with serving(lambda _: Reply(lines(ROWS))) as storage:
        system = System(DONE)
        system.files = storage.url
        async with serving(system) as server:
            with pytest.raises(SourceFailed, match="which is not an allowed host; add it to hosts"):
                await read(at(server))
            config = at(server)
            snapshot = config.sources["erp"].snapshot
            assert snapshot is not None
            found = await read(
                configured(
                    url=snapshot.url,
                    body={"query": "start"},
                    token_variable="SHOP_TOKEN",  # noqa: S106  # a name
                    hosts=[storage.url],
                    export=EXPORT,
                )
            )
            assert found.end == COMPLETE
            assert {asked.headers["authorization"] for asked in server.asked} == {f"Bearer {TOKEN}"}
        assert [asked.headers.get("authorization") for asked in storage.asked] == [None]


@pytest.mark.parametrize("count", [0, "0"])
async def test_an_export_without_rows(count: object) -> None:
    """It has no file, and is complete."""
    found = await taken(System({"status": "COMPLETED", "url": None, "count": count}))
    assert (found.rows, found.end) == ([], COMPLETE)


async def test_a_file_with_other_rows_than_were_counted() -> None:
    """It is not complete."""
    found = await taken(System({**DONE, "count": "26"}))
    assert len(found.events) == 25
    assert found.end == End(complete=False, reason="the export has 26 rows; its file has 25")


async def test_a_part_of_an_export_is_never_complete() -> None:
    """What there is is read, also if it has as many rows as were counted."""
    found = await taken(System(RUNNING, {"status": "FAILED", "url": None, "partialUrl": "/part", "count": "25"}))
    assert len(found.events) == 25
    assert found.end == End(complete=False, reason="the export failed; only a part of it could be read")


@pytest.mark.parametrize(
    ("state", "export", "problem"),
    [
        ({"status": "FAILED"}, {}, "the export has failed: its status is 'FAILED'"),
        ({"status": "FAILED", "partialUrl": "/part"}, {"partial": None}, "the export has failed"),
        ({"status": "COMPLETED", "url": None, "count": "3"}, {}, "the export is done, but has no address at 'job.url'"),
        (RUNNING, {"within": 0.1}, "the export was not done within 0.1"),
        (DONE, {"body": {"id": "{job.name}"}}, "the export was not started: there is no text, number or boolean at"),
    ],
)
async def test_exports_that_fail(state: Document, export: Document, problem: str) -> None:
    """The run fails, and has read no row."""
    with pytest.raises(SourceFailed, match=problem):
        await taken(System(state), **export)


async def test_a_download_that_breaks() -> None:
    """It begins anew, and no row is read twice."""
    replies = iter([Reply(lines(ROWS), cut=1_000), Reply(status=503)])
    found = await taken(System(DONE, files=lambda _: next(replies, Reply(lines(ROWS)))))
    assert (len(found.events), found.end) == (25, COMPLETE)
    with pytest.raises(SourceFailed, match="the response is incomplete"):
        await taken(System(DONE, files=lambda _: Reply(lines(ROWS), cut=1_000)))


async def test_lines_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that would exceed memory ends the run; blank lines are none; a damaged line is refused alone."""
    found = await taken(System({**DONE, "count": 3}, files=lambda _: Reply(lines(ROWS[:2]) + b"\n\r\n{\n")))
    assert [type(row.event).__name__ for row in found.rows] == ["DomainEvent", "DomainEvent", "Rejected"]
    assert found.end == COMPLETE
    monkeypatch.setattr(endpoint_export, "MAX_RESPONSE_BYTES", 1_000)
    with pytest.raises(SourceFailed, match="a line of the export has more than"):
        await taken(System(DONE, files=lambda _: Reply(b"x" * 2_000)))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"export": {**EXPORT, "done": []}}, "export.done: is empty"),
        ({"export": {**EXPORT, "status": "a..b"}}, "export.status: 'a..b' is not a dotted path"),
        ({"export": {**EXPORT, "every": "x"}}, "export.every: 'x' is neither a number of seconds"),
        ({"export": {**EXPORT, "url": "https://{a}/x"}}, "export.url: has a place for a value where it says which"),
        ({"export": EXPORT, "items": "rows"}, "snapshot.items: goes with pages"),
        (
            {"export": EXPORT, "children": {"x": {"url": "https://x.example/{id}"}}},
            "snapshot.children: goes with pages",
        ),
    ],
)
def test_what_cannot_be_configured(settings: Document, problem: str) -> None:
    """Each contradiction has its message."""
    with pytest.raises(ConfigurationError) as caught:
        configured(url="https://x.example", **settings)
    assert problem in str(caught.value)
