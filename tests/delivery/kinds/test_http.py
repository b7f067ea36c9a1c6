"""A web service as a target."""

import base64
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from standardwebhooks import Webhook

from pagefold.engine.configuration.target_config import HttpTargetConfig, TargetConfig
from pagefold.engine.delivery.kinds.http import HttpTarget
from pagefold.engine.delivery.outside import Outside
from pagefold.engine.delivery.target_errors import TargetUnreadable
from pagefold.engine.delivery.target_kind import Answer, Answers, Item, PageKey, Refused, Taken, Unavailable
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.reading.page_tags import tag_of
from tests.support.documents import ROOT, blocks
from tests.support.fake_endpoint import Asked, Reply, Server, serving

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789").decode()
ENVIRONMENT = {
    "SECRET": SECRET,
    "TOKEN": "a-token-of-this-shop",
    "SHORT": "whsec_AAAA",
    "BASIC": "Basic c2hvcDpzZWNyZXQ=",
}
SIGNED: dict[str, object] = {"secret_variable": "SECRET", "token_variable": "TOKEN"}
PAGE = b'{"sku":"A/1 \xc3\xa4","ready":true}'


def item(document: bytes | None = PAGE, sku: str = "A/1 ä") -> Item:
    """A page, or a withdrawal."""
    return Item(PageKey(sku, "web-de"), document, "" if document is None else tag_of(document), 42, "key-1")


def kind_of(server: Server, **settings: object) -> HttpTarget:
    """A target at a server of this machine."""
    batch = settings.pop("batch", 100)
    timeout = settings.pop("timeout_seconds", 5.0)
    http = HttpTargetConfig(url=server.url + "/hooks", networks=["127.0.0.0/8"], **settings)  # type: ignore[arg-type]  # keys of the table
    target = TargetConfig(http=http, batch=batch, timeout_seconds=timeout)  # type: ignore[arg-type]  # numbers
    return HttpTarget("shop", target, http, Outside(ENVIRONMENT))


async def delivered(
    reply: Reply | Callable[[Asked], Reply], *items: Item, **settings: object
) -> tuple[Answers, Server]:
    """What a target answers to some pages, and what its server was asked."""
    answering = reply if callable(reply) else lambda _: reply
    async with serving(answering) as server, kind_of(server, **settings) as kind:
        return await kind.deliver(items), server


async def test_a_webhook_is_signed() -> None:
    """The independent library of the specification accepts the request, and not a byte more."""
    answers, server = await delivered(Reply(status=204), item(), **SIGNED)
    assert answers.items == [Taken("204 No Content")]
    [asked] = server.asked
    assert (asked.method, asked.path) == ("POST", "/hooks")
    found = Webhook(SECRET).verify(asked.body, dict(asked.headers))
    assert found["type"] == "page.changed"
    assert found["data"]["page"] == orjson.loads(PAGE)
    assert PAGE in asked.body
    assert found["data"]["position"] == 42
    assert asked.headers["webhook-id"] == asked.headers["idempotency-key"] == "key-1"
    assert asked.headers["pagefold-sequence"] == "42"
    assert asked.headers["pagefold-tag"] == tag_of(PAGE)
    assert asked.headers["authorization"] == "Bearer a-token-of-this-shop"
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(SECRET).verify(asked.body + b" ", dict(asked.headers))


async def test_a_receiver_verifies_it() -> None:
    """The program in docs/targets.md accepts the request, and not a byte more, another secret, or an old one."""
    [(_, program)] = blocks((ROOT / "docs" / "targets.md").read_text("utf-8"), "python")
    names: dict[str, Any] = {}
    exec(program, names)  # noqa: S102  # the documentation's own
    is_genuine = names["is_genuine"]
    _, server = await delivered(Reply(), item(), **SIGNED)
    [asked] = server.asked
    assert is_genuine(SECRET, asked.headers, asked.body)
    assert not is_genuine(SECRET, asked.headers, asked.body + b" ")
    assert not is_genuine("whsec_AAAA", asked.headers, asked.body)
    assert not is_genuine(SECRET, {**asked.headers, "webhook-timestamp": "1700000000"}, asked.body)


async def test_a_withdrawal_is_a_webhook() -> None:
    """It says so, and has no page."""
    _, server = await delivered(Reply(), item(None))
    body = orjson.loads(server.asked[0].body)
    assert body["type"] == "page.withdrawn"
    assert body["data"] | {"key": ""} == {
        "sku": "A/1 ä", "channel": "web-de", "tag": None, "position": 42, "key": "", "page": None,
    }  # fmt: skip


async def test_an_address_for_each_page() -> None:
    """The document is put there as it is, and deleted."""
    settings: dict[str, object] = {"path": "/{channel}/{sku}", "method": "PUT", "withdraw_method": "DELETE"}
    _, server = await delivered(Reply(), item(), **settings)
    [asked] = server.asked
    assert (asked.method, asked.path, asked.body) == ("PUT", "/hooks/web-de/A%2F1%20%C3%A4", PAGE)
    answers, server = await delivered(Reply(status=404), item(None), **settings)
    assert (server.asked[0].method, server.asked[0].body) == ("DELETE", b"")
    assert answers.items == [Taken("404 Not Found")]


@pytest.mark.parametrize("sku", [".", ".."])
async def test_an_address_that_is_another_one(sku: str) -> None:
    """Dots would lead a request to what is above the page, such as the deletion of all of them: nothing is sent."""
    settings: dict[str, object] = {
        "path": "/products/{sku}",
        "method": "PUT",
        "withdraw_method": "DELETE",
        "read": True,
    }
    for document in (PAGE, None):
        answers, server = await delivered(Reply(), item(document, sku), **settings)
        assert isinstance(answers.items[0], Refused)
        assert server.asked == []
    async with serving(lambda _: Reply(PAGE)) as server, kind_of(server, **settings) as kind:
        assert await kind.read([PageKey(sku, "web-de")]) == {}
        assert server.asked == []


async def test_cookies_are_not_kept() -> None:
    """A target that sets one with each answer would get more and more of them back."""
    set_cookie = Reply(headers={"set-cookie": "route=node-1; Path=/"})
    async with serving(lambda _: set_cookie) as server, kind_of(server) as kind:
        for _ in range(2):
            await kind.deliver([item()])
    assert len(server.asked) == 2
    assert all("cookie" not in asked.headers for asked in server.asked)


async def test_no_answer_shows_a_secret() -> None:
    """Neither that to one page of a batch, nor a part of it, nor a line that is no answer at all."""
    results = orjson.dumps({"results": [{"status": 401, "error": "bad Bearer a-token-of-this-shop"}]})
    answers, _ = await delivered(Reply(results, 207), item(), batches=True, **SIGNED)
    assert answers.items == [Unavailable("401 Unauthorized: bad ***")]
    basic: dict[str, object] = {"header_variables": {"authorization": "BASIC"}}
    answers, _ = await delivered(Reply(b"who is c2hvcDpzZWNyZXQ=?", 403), item(), **basic)
    assert answers.items == [Unavailable("403 Forbidden: who is ***?")]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(status=201), Taken("201 Created")),
        (Reply(status=422, body=b"no price\n"), Refused("422 Unprocessable Entity: no price")),
        (Reply(status=404), Refused("404 Not Found", unknown_address=True)),
        (Reply(status=500), Unavailable("500 Internal Server Error")),
        (Reply(status=401, body=b"bad a-token-of-this-shop"), Unavailable("401 Unauthorized: bad ***")),
        (Reply(status=429), Unavailable("429 Too Many Requests", received=False)),
        (Reply(status=599), Unavailable("599")),
    ],
)
async def test_whose_fault_it_is(reply: Reply, expected: Answer) -> None:
    """By the status. A token that the target quotes is not shown."""
    answers, _ = await delivered(reply, item(), **SIGNED)
    assert answers.items == [expected]


async def test_no_answer_is_the_targets_fault() -> None:
    """A connection that ends in the middle, a slow answer, nothing that listens, an answer without end."""
    answers, _ = await delivered(Reply(b"x" * 100, cut=10), item())
    assert isinstance(answers.items[0], Unavailable)
    answers, _ = await delivered(Reply(delay=5), item(), timeout_seconds=0.2)
    assert answers.items == [Unavailable("no complete answer within 0.2 s")]
    async with serving(lambda _: Reply()) as server:
        pass
    async with kind_of(server) as kind:
        assert (await kind.deliver([item()])).items == [Unavailable("connection refused", received=False)]
    answers, _ = await delivered(Reply(b"x" * (8 * 1024 * 1024 + 1)), item())
    assert answers.items == [Unavailable("its answer has more than 8 MiB")]


async def test_limits_are_told() -> None:
    """Also with an answer that has taken the page."""
    reply = Reply(headers={"x-ratelimit-remaining": "3", "x-ratelimit-reset": "20"})
    answers, _ = await delivered(reply, item())
    assert (answers.limits.remaining, answers.limits.reset) == (3, 20.0)
    answers, _ = await delivered(Reply(status=429, headers={"retry-after": "17"}), item())
    assert (answers.limits.retry_after, answers.limits.throttled) == (17.0, True)


async def test_batches() -> None:
    """One request; 207 answers each page, any other status all of them."""
    pages = [item(b'{"n":%d}' % number, sku=f"S{number}") for number in range(3)]
    results = {"results": [{"status": 200}, {"status": 422, "error": "no name"}, {"status": 503}]}
    answers, server = await delivered(Reply(orjson.dumps(results), 207), *pages, batches=True)
    assert answers.items == [
        Taken("200 OK"), Refused("422 Unprocessable Entity: no name"), Unavailable("503 Service Unavailable"),
    ]  # fmt: skip
    [asked] = server.asked
    assert [each["page"] for each in orjson.loads(asked.body)["data"]] == [{"n": 0}, {"n": 1}, {"n": 2}]
    answers, _ = await delivered(Reply(), *pages, batches=True)
    assert answers.items == [Taken("200 OK")] * 3
    answers, _ = await delivered(Reply(status=413), *pages, batches=True)
    assert answers.items == [Refused("413 Request Entity Too Large", alone=False)] * 3
    answers, _ = await delivered(Reply(b'{"results":[]}', 207), *pages, batches=True)
    assert all(isinstance(each, Unavailable) for each in answers.items)


async def test_what_it_holds_can_be_read() -> None:
    """By the same address, if the configuration says so."""
    settings: dict[str, object] = {"path": "/{sku}", "read": True}

    def answering(asked: Asked) -> Reply:
        return Reply(PAGE) if asked.path == "/hooks/A" else Reply(status=404 if asked.path == "/hooks/B" else 500)

    async with serving(answering) as server, kind_of(server, **settings) as kind:
        pages = [PageKey("A", "web-de"), PageKey("B", "web-de")]
        assert await kind.read(pages) == {pages[0]: tag_of(PAGE)}
        with pytest.raises(TargetUnreadable, match="target shop: it answers 500"):
            await kind.read([PageKey("C", "web-de")])
    async with serving(answering) as server, kind_of(server) as kind:
        assert await kind.read(pages) is None


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"pagefold-tag": "kept", "etag": '"' + "0" * 32 + '"'}, "kept"),
        ({"etag": '"' + "0" * 32 + '"'}, "0" * 32),
        ({"etag": 'W/"' + "a" * 32 + '"'}, "a" * 32),
        ({"etag": '"7"'}, tag_of(PAGE)),
        ({}, tag_of(PAGE)),
    ],
)
async def test_the_tag_of_what_it_holds(headers: dict[str, str], expected: str) -> None:
    """As the service keeps it, else its entity tag if it may be one of ours, else that of the bytes."""
    async with (
        serving(lambda _: Reply(PAGE, headers=headers)) as server,
        kind_of(server, path="/{sku}", read=True) as kind,
    ):
        assert await kind.read([PageKey("A", "web-de")]) == {PageKey("A", "web-de"): expected}


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"secret_variable": "NOTHING"}, "NOTHING is not set"),
        ({"secret_variable": "SHORT"}, "SHORT is not a secret of Standard Webhooks"),
        ({"token_variable": "NOTHING"}, "NOTHING is not set"),
    ],
)
async def test_secrets_are_needed(settings: dict[str, object], problem: str) -> None:
    """A target without them is not started."""
    async with serving(lambda _: Reply()) as server:
        with pytest.raises(ConfigurationError, match=problem):
            kind_of(server, **settings)
