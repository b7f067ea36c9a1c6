"""Releases over HTTP: prepared, compared, published, scheduled, rolled back, under the name of the caller's token."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx2
import msgspec
import pytest

import pagefold
from pagefold import Shop
from pagefold.engine.releases import release_comparer
from pagefold.engine.runtime.clock import moment
from tests.folding.test_inheritance import inheriting, product
from tests.releases.test_releases import planned_of
from tests.support.http_clients import client_of, problem_in, service_of
from tests.support.small_shop import say, section

RELEASES = "/v1/releases"
SUMMER = f"{RELEASES}/summer"
REASON = {"reason": "a test"}


@pytest.fixture
async def family(store_url: str) -> AsyncIterator[Shop]:
    """A parent with two variants, and another product."""
    async with pagefold.open(inheriting(store_url)) as shop:
        variants = (product(sku, parent="P", attributes={"size": sku}) for sku in "VW")
        await say(shop, product("P", attributes={"care": "cold"}), product("Z", attributes={"care": "cold"}), *variants)
        yield shop


@pytest.fixture
async def client(family: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    """An operator's client; there is a release about the parent and the other product."""
    async with client_of(service_of(family, None), "operator") as opened:
        created = await opened.post(RELEASES, json={"name": "summer", **REASON})
        assert (created.status_code, created.json()["createdBy"]) == (200, "tok_operator")
        said = (product(sku, attributes={"care": "none"}, source="release/summer") for sku in "PZ")
        await say(family, *said)
        yield opened


async def decided(client: httpx2.AsyncClient, what: str, **more: object) -> Any:  # noqa: ANN401  # JSON
    """Decides something of the release, which must be possible."""
    answer = await client.post(f"{SUMMER}:{what}", json=REASON | more)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def state(client: httpx2.AsyncClient) -> str:
    """Whether the release counts, from the list and by itself."""
    [listed] = (await client.get(RELEASES)).json()["items"]
    assert (await client.get(SUMMER)).json() == listed
    return str(listed["state"])


async def test_a_release_is_published_and_rolled_back(family: Shop, client: httpx2.AsyncClient) -> None:
    """The pages change once they are folded; who decided it is in the log."""
    assert await state(client) == "draft"
    page = await client.get(f"{SUMMER}/pages/web-de/V")
    assert page.json()["catalog"]["attributes"] == {"care": "none", "size": "V"}
    published = await decided(client, "publish")
    assert (published["by"], published["reason"]) == ("tok_operator", "a test")
    assert await state(client) == "published"
    await family.catch_up()
    assert await family.pages.get_json("V", "web-de") == page.content
    assert family.applied.status().number == published["number"]
    await decided(client, "rollback")
    await family.catch_up()
    assert (await section(family, "catalog", sku="V"))["attributes"]["care"] == "cold"
    assert await state(client) == "draft"


async def test_the_difference_comes_in_chunks(
    family: Shop, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has all pages that publishing changes, variants too, and the same ones after that."""
    for step in (20_000, 3):
        monkeypatch.setattr(release_comparer, "STEP_STREAMS", step)
        for limit in (1, 100):
            skus, changes = await all_differences(client, limit)
            assert skus == ["P", "Z"]
            planned = (await planned_of(family, "summer"))[1]
            assert changes == [msgspec.to_builtins(each) for each in planned]
    await decided(client, "publish")
    await family.catch_up()
    assert await all_differences(client, 100) == (skus, changes)


async def all_differences(client: httpx2.AsyncClient, limit: int) -> tuple[list[str], list[Any]]:
    """The products of the release, and every page that it changes, by SKU and channel."""
    query: dict[str, str | int] = {"limit": limit}
    skus: list[str] = []
    changes: list[Any] = []
    while True:
        answer = await client.get(f"{SUMMER}/diff", params=query)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert len(found["skus"]) <= limit
        skus += found["skus"]
        changes += found["changes"]
        if found["next"] is None:
            return skus, sorted(changes, key=lambda each: (each["sku"], each["channel"]))
        query["after"] = found["next"]


async def test_a_schedule(client: httpx2.AsyncClient) -> None:
    """It replaces an earlier one, and ends without times."""
    soon = moment() + timedelta(hours=1)
    later = soon + timedelta(hours=1)
    made = await decided(client, "schedule", publishAt=soon.isoformat(), rollBackAt=later.isoformat())
    assert made["publishAt"] == soon.isoformat().replace("+00:00", "Z")
    assert (await state(client), made["scheduledBy"]) == ("scheduled", "tok_operator")
    made = await decided(client, "schedule")
    assert (await state(client), made["publishAt"], made["rollBackAt"]) == ("draft", None, None)


PAST, NAIVE = {"publishAt": "2020-01-01T00:00:00Z"}, {"rollBackAt": "2999-01-01T00:00:00"}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("GET", f"{RELEASES}/winter", None, 404, "there is no release 'winter'; there are: summer"),
        ("GET", f"{RELEASES}/winter/diff", None, 404, "no release 'winter'"),
        ("GET", f"{RELEASES}/winter/pages/web-de/P", None, 404, "no release 'winter'"),
        ("GET", f"{SUMMER}/pages/nowhere/P", None, 404, "unknown channel"),
        ("GET", f"{SUMMER}/pages/web-de/NONE", None, 404, "no such page"),
        ("GET", f"{SUMMER}/diff?limit=0", None, 422, "limit"),
        ("POST", f"{RELEASES}/winter:publish", REASON, 404, "no release 'winter'"),
        ("POST", f"{SUMMER}:rollback", REASON, 409, "'summer' is not published"),
        ("POST", f"{SUMMER}:publish", {}, 422, "reason"),
        ("POST", f"{SUMMER}:publish", {"reason": " "}, 422, "must not be blank"),
        ("POST", f"{SUMMER}:schedule", REASON | PAST, 422, "publishAt: 2020-01-01T00:00:00Z is past"),
        ("POST", f"{SUMMER}:schedule", REASON | NAIVE, 422, "rollBackAt: needs its offset"),
        ("POST", RELEASES, REASON | {"name": "summer"}, 409, "there is a release 'summer' already"),
        ("POST", RELEASES, REASON | {"name": "a b"}, 422, "letters, digits"),
        ("POST", RELEASES, REASON | {"name": "x" * 65}, 422, "name"),
    ],
)
async def test_what_cannot_be_done(
    client: httpx2.AsyncClient, method: str, path: str, body: dict[str, str] | None, status: int, says: str
) -> None:
    """Each has its problem, and nothing changes."""
    answer = await client.request(method, path, json=body)
    assert (answer.status_code, says in str(problem_in(answer))) == (status, True), answer.text
    assert await state(client) == "draft"


async def test_what_is_published_is_published_once(client: httpx2.AsyncClient) -> None:
    """A second time, and with a time, it is a conflict."""
    await decided(client, "publish")
    later = {"publishAt": (moment() + timedelta(hours=1)).isoformat()}
    for what, body in (("publish", REASON), ("schedule", REASON | later)):
        answer = await client.post(f"{SUMMER}:{what}", json=body)
        assert (answer.status_code, "'summer' is published already" in answer.text) == (409, True), answer.text
