"""Webhooks that carriers deliver, or that are signed with keys: Saleor's, and those of Pub/Sub and SNS, over HTTP."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import httpx2
import pytest

import pagefold
from pagefold import Shop
from pagefold.engine.intake import fetched_keys
from tests.http.test_webhooks import CONTRACT, PLAIN, configured, delivery
from tests.support.fake_endpoint import Asked, Reply, Server, serving
from tests.support.http_clients import client_of, problem_in, service_of
from tests.support.signing_keys import CERTIFICATE, TOPIC, as_json, signing_key
from tests.support.small_shop import Document, everything

KEY = signing_key("first")
BODY = delivery(("A", "1.00"), ("B", "2.00"))
SNS = {"scheme": "sns", "topics": [TOPIC], "contract": CONTRACT}


class Sender:
    """Publishes its key, its certificate, and confirms subscriptions; `status` is what it answers."""

    def __init__(self) -> None:
        self.status = 200

    def __call__(self, asked: Asked) -> Reply:
        """The response to a request."""
        bodies = {"/keys": as_json({"keys": [KEY.public]}), "/": b"<ConfirmSubscriptionResponse/>"}
        return Reply(bodies.get(asked.path, KEY.certificate()), self.status)


class _ToTestServer(httpx2.AsyncBaseTransport):
    """Sends the requests to Amazon to a server on this machine."""

    def __init__(self, url: str) -> None:
        self._url = httpx2.URL(url)
        self._transport = httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.host.endswith(".amazonaws.com"):
            request.url = request.url.copy_with(scheme="http", host=self._url.host, port=self._url.port)
        return await self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Closes its connections."""
        await self._transport.aclose()


class Served(NamedTuple):
    """A shop, a client of its server, and the server of the sender of its webhooks."""

    shop: Shop
    client: httpx2.AsyncClient
    server: Server
    sender: Sender

    async def post(self, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        """The status and the outcomes of a request, or the problem."""
        answer = await self.client.post("/v1/webhooks/erp", content=body, headers=headers)
        problem = problem_in(answer) if answer.status_code >= 400 else None
        return answer.status_code, problem or [each["outcome"] for each in answer.json()["results"]]

    async def deliver(self, message: dict[str, str]) -> tuple[int, Any]:
        """The same of a message of SNS."""
        headers = {"x-amz-sns-message-type": message["Type"], "content-type": "text/plain; charset=UTF-8"}
        return await self.post(as_json(message), headers)


@asynccontextmanager
async def served(url: str, monkeypatch: pytest.MonkeyPatch, hook: Document) -> AsyncIterator[Served]:
    """A shop with these webhooks; in the addresses that they name, `SENDER` is the server of their sender."""
    sender = Sender()
    async with serving(sender) as server:
        written = json.loads(json.dumps(hook).replace("SENDER", server.url))
        monkeypatch.setattr(
            fetched_keys, "new_client", lambda: httpx2.AsyncClient(transport=_ToTestServer(server.url), timeout=5.0)
        )
        async with (
            pagefold.open(configured(url, erp=written)) as shop,
            client_of(service_of(shop, None, environment={"PLAIN": PLAIN})) as client,
        ):
            yield Served(shop, client, server, sender)


SALEOR = {"scheme": "jws", "header": "Saleor-Signature", "jwks_url": "SENDER/keys", "contract": CONTRACT}


async def test_a_delivery_with_a_detached_signature(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken; one that was changed is refused, and nothing of it is stored."""
    async with served(store_url, monkeypatch, SALEOR) as at:
        headers = {"saleor-signature": KEY.jws(BODY)}
        assert await at.post(BODY, headers) == (202, ["appended", "appended"])
        status, problem = await at.post(BODY.replace(b"1.00", b"0.01"), headers)
        assert (status, problem["detail"][:46]) == (401, "Saleor-Signature: is not a valid signature of ")
        assert len(await everything(at.shop.store)) == 2
        assert await at.shop.dead_letters.newest() == []


async def test_while_keys_cannot_be_had_it_is_repeated(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 with `Retry-After`: Saleor takes a 401 as final, and the event would be lost."""
    async with served(store_url, monkeypatch, SALEOR) as at:
        at.sender.status = 500
        answer = await at.client.post("/v1/webhooks/erp", content=BODY, headers={"saleor-signature": KEY.jws(BODY)})
        assert (problem_in(answer)["status"], answer.headers["retry-after"]) == (503, "10")
        assert str(at.server.url) not in answer.text
        at.sender.status = 200
        monkeypatch.setattr(fetched_keys, "FETCH_SECONDS", 0.0)
        assert (await at.post(BODY, {"saleor-signature": KEY.jws(BODY)}))[0] == 202


PUBSUB = {
    "scheme": "bearer_jwt",
    "jwks_url": "SENDER/keys",
    "issuer": "https://issuer.example",
    "audience": "pagefold",
    "envelope": "pubsub",
    "contract": CONTRACT,
}


def pushed(body: bytes) -> bytes:
    """A message as Pub/Sub pushes it."""
    data = base64.b64encode(body).decode()
    return as_json({"message": {"data": data, "messageId": "1", "attributes": {}}, "subscription": "projects/x"})


async def test_a_delivery_by_pubsub(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its envelope is taken off; an item that cannot be taken is kept in one, and read again from there."""
    moment = int(datetime.now(UTC).timestamp())
    token = KEY.token({"iss": "https://issuer.example", "aud": "pagefold", "iat": moment, "exp": moment + 60})
    headers = {"authorization": f"Bearer {token}"}
    async with served(store_url, monkeypatch, PUBSUB) as at:
        assert await at.post(pushed(BODY), headers) == (202, ["appended", "appended"])
        assert await at.post(pushed(BODY), headers) == (202, ["duplicate", "duplicate"])
        assert (await at.post(pushed(BODY), {}))[0] == 401
        bad = delivery(("C", "3.00"), ("", "4.00"))
        assert await at.post(pushed(bad), headers) == (202, ["appended", "kept"])
        [kept] = await at.shop.dead_letters.newest()
        assert json.loads(kept.state).keys() == {"message", "subscription"}
        assert json.loads(base64.b64decode(json.loads(kept.state)["message"]["data"])) == json.loads(
            delivery(("", "4.00"))
        )
        assert await at.shop.dead_letters.retry(kept) == "still dead"
        for body in (b"{}", b'{"message":{"data":"%"}}', b'{"message":[]}', b'{"message":{"data":"ew=="}}', b"7"):
            assert await at.post(body, headers) == (202, ["kept"])


async def test_an_envelope_of_any_kind(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its message is a text with JSON somewhere in it; any signature is over the whole request."""
    hook = {
        "secret_variables": ["PLAIN"],
        "scheme": "hmac-sha256",
        "header": "S",
        "encoding": "hex",
        "envelope": {"member": "event.payload", "encoding": "json_text"},
        "contract": CONTRACT,
    }
    async with served(store_url, monkeypatch, hook) as at:
        body = as_json({"event": {"payload": BODY.decode()}})
        headers = {"s": hmac.new(PLAIN.encode(), body, hashlib.sha256).hexdigest()}
        assert await at.post(body, headers) == (202, ["appended", "appended"])


@pytest.mark.parametrize("version", ["1", "2"])
async def test_a_delivery_by_sns(store_url: str, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """By either version of its signature, with a subject or without; the certificate is fetched once."""
    async with served(store_url, monkeypatch, SNS) as at:
        message = KEY.sns(version=version, Message=BODY.decode())
        assert await at.deliver(message) == (202, ["appended", "appended"])
        other = KEY.sns(version=version, Message=delivery(("A", "2.00"), revision=2).decode(), Subject="Größe")
        assert await at.deliver(other) == (202, ["appended"])
        assert [each.path for each in at.server.asked] == ["/SimpleNotificationService-0123456789abcdef.pem"]
        for changed in ({"Message": "{}"}, {"Subject": "x"}, {"Timestamp": "2027"}, {"MessageId": "x"}):
            status, problem = await at.deliver(message | changed)
            assert (status, problem["detail"]) == (401, "Signature: does not match")
        assert len(await everything(at.shop.store)) == 3


async def test_a_subscription_is_confirmed(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a request to the address in the message, once its signature was checked; nothing else is done."""
    async with served(store_url, monkeypatch, SNS) as at:
        assert await at.deliver(KEY.sns("SubscriptionConfirmation")) == (200, ["ignored"])
        assert [(each.path, each.query.get("Action")) for each in at.server.asked] == [
            ("/SimpleNotificationService-0123456789abcdef.pem", None),
            ("/", "ConfirmSubscription"),
        ]
        assert await at.deliver(KEY.sns("UnsubscribeConfirmation")) == (200, ["ignored"])
        assert len(at.server.asked) == 2
        assert await at.shop.dead_letters.newest() == []
        at.sender.status = 500
        assert (await at.deliver(KEY.sns("SubscriptionConfirmation")))[0] == 503


OTHER = TOPIC.replace("products", "others")
ELSEWHERE = [
    "https://sns.eu-west-1.amazonaws.com.evil.example",
    "https://evil.example/sns.eu-west-1.amazonaws.com",
    "http://sns.eu-west-1.amazonaws.com",
    "https://sns.us-east-1.amazonaws.com",
    "https://s3.eu-west-1.amazonaws.com",
    "https://me@sns.eu-west-1.amazonaws.com",
    "https://sns.eu-west-1.amazonaws.com:8443",
    "https://[::1",
    "",
]


@pytest.mark.parametrize("host", ELSEWHERE)
async def test_only_sns_itself_is_asked(store_url: str, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """Neither for a certificate, with which anyone could sign, nor to confirm; of the topic's region only."""
    async with served(store_url, monkeypatch, SNS) as at:
        path = CERTIFICATE.removeprefix("https://sns.eu-west-1.amazonaws.com")
        status, problem = await at.deliver(KEY.sns(SigningCertURL=host + path))
        assert (status, problem["detail"][:14]) == (401, "SigningCertURL")
        assert at.server.asked == []
        query = f"/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=1"
        status, problem = await at.deliver(KEY.sns("SubscriptionConfirmation", SubscribeURL=host + query))
        assert (status, problem["detail"][:12]) == (401, "SubscribeURL")
        assert len(at.server.asked) == 1  # for the certificate


@pytest.mark.parametrize(
    "message",
    [
        KEY.sns(TopicArn=OTHER),
        KEY.sns("SubscriptionConfirmation", TopicArn=OTHER),
        KEY.sns(version="3"),
        KEY.sns("Publication"),
        KEY.sns(SigningCertURL=CERTIFICATE.replace(".pem", ".txt")),
        KEY.sns(SigningCertURL=CERTIFICATE + "?x=.pem"),
        KEY.sns("SubscriptionConfirmation", SubscribeURL=f"{CERTIFICATE}?Action=DeleteTopic&TopicArn={TOPIC}"),
        KEY.sns("SubscriptionConfirmation", SubscribeURL=f"{CERTIFICATE}?Action=ConfirmSubscription&TopicArn={OTHER}"),
        {"Type": "Notification"},
        KEY.sns() | {"Signature": "%"},
        signing_key("other").sns(),
    ],
)
async def test_other_messages_are_refused(
    store_url: str, monkeypatch: pytest.MonkeyPatch, message: dict[str, str]
) -> None:
    """Of another topic, of another kind, by another key: nothing is confirmed, and nothing stored."""
    async with served(store_url, monkeypatch, SNS) as at:
        assert (await at.deliver(message))[0] == 401
        assert [each for each in at.server.asked if "Action" in each.query] == []
        assert await everything(at.shop.store) == []


async def test_certificates_are_not_fetched_without_end(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever knows the topic may name any number of them; the one that is known is read meanwhile."""
    async with served(store_url, monkeypatch, SNS) as at:
        own = KEY.sns(Message=BODY.decode())
        assert (await at.deliver(own))[0] == 202
        for number in range(5):
            address = CERTIFICATE.replace("0123456789abcdef", str(number))
            assert (await at.deliver(KEY.sns(SigningCertURL=address)))[0] == 503
        assert await at.deliver(own) == (202, ["duplicate", "duplicate"])
        assert len(at.server.asked) == 1
