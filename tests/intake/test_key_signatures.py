"""Webhooks that are signed with a private key: what its owner signed is accepted, and nothing else."""

import base64
import hmac
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.source_config import SourceConfig
from pagefold.engine.configuration.store_config import StoreConfig
from pagefold.engine.configuration.webhook_config import WebhookConfig
from pagefold.engine.errors import Rejected, SourceFailed
from pagefold.engine.intake import fetched_keys
from pagefold.engine.intake.webhook_verifier import SignatureVerifier
from tests.support.fake_endpoint import Asked, Reply, Server, serving
from tests.support.signing_keys import SigningKey, as_json, signing_key, unpadded

NOW = datetime(2026, 3, 3, 10, tzinfo=UTC)
BODY = '{"sku":"Größe"}'.encode()
FIRST, SECOND = signing_key("first"), signing_key("second")
ISSUER, AUDIENCE, EMAIL = "https://accounts.google.com", "https://pagefold.example/v1/webhooks/ct", "push@x.example"


class KeyServer:
    """Answers with a key set, or with what a test says."""

    def __init__(self) -> None:
        self.keys: list[SigningKey] = [FIRST]
        self.reply: Reply | None = None

    def __call__(self, _asked: Asked) -> Reply:
        """The response to a request."""
        return self.reply or Reply(as_json({"keys": [key.public for key in self.keys]}))


@pytest.fixture
def key_server() -> KeyServer:
    """What the sender publishes."""
    return KeyServer()


@pytest.fixture
async def server(key_server: KeyServer) -> AsyncIterator[Server]:
    """Where it does."""
    async with serving(key_server) as opened:
        yield opened


def verifier(**settings: object) -> SignatureVerifier:
    """The verifier of a source with these settings."""
    webhook = WebhookConfig(**settings)  # type: ignore[arg-type]  # the test's own values
    source = SourceConfig(domains=["pricing"], webhook=webhook)
    config = Config(store=StoreConfig(url="sqlite:///nowhere"), sources={"erp": source}, channels={})
    return SignatureVerifier(config, "erp", {})


@pytest.fixture
def saleor(server: Server) -> SignatureVerifier:
    """A source that signs as Saleor does."""
    return verifier(scheme="jws", header=["Saleor-Signature", "X-Saleor-Signature"], jwks_url=f"{server.url}/jwks.json")


@pytest.fixture
def pubsub(server: Server) -> SignatureVerifier:
    """A source whose deliveries come by Pub/Sub."""
    return verifier(scheme="bearer_jwt", jwks_url=f"{server.url}/certs", issuer=ISSUER, audience=AUDIENCE, email=EMAIL)


async def check(signatures: SignatureVerifier, body: bytes = BODY, **headers: str) -> str | None:
    """Checks a request; the names of headers have `_` in place of `-`."""
    raw = [(name.lower().replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return await signatures.check(raw, body, NOW)


async def refused(signatures: SignatureVerifier, body: bytes = BODY, **headers: str) -> str:
    """Why a request is not accepted."""
    with pytest.raises(Rejected) as caught:
        await check(signatures, body, **headers)
    return str(caught.value)


# --- detached signatures --------------------------------------------------------------------------


async def test_a_signature_of_the_body_is_accepted(saleor: SignatureVerifier, server: Server) -> None:
    """Of any bytes, in either header; the keys are fetched once."""
    for body in (BODY, b"", b"\xff\x00.", b"{}\n"):
        await check(saleor, body, saleor_signature=FIRST.jws(body))
        await check(saleor, body, x_saleor_signature=FIRST.jws(body))
    await check(saleor, saleor_signature="nonsense", x_saleor_signature=FIRST.jws(BODY))
    assert [each.path for each in server.asked] == ["/jwks.json"]


async def test_what_was_changed_is_refused(saleor: SignatureVerifier) -> None:
    """The body, the header of the signature, the signature, or whose it is."""
    signature = FIRST.jws(BODY)
    problem = await refused(saleor, BODY + b" ", saleor_signature=signature)
    assert problem.startswith("Saleor-Signature: is not a valid signature of the body")
    head, _, end = signature.split(".")
    other = SigningKey("first", SECOND.private).jws(BODY)
    for changed in (
        other,
        f"{head}..{end[:-8]}AAAAAAAA",
        f"{head}.{unpadded(BODY)}.{end}",
        f"{unpadded(as_json({'alg': 'RS256', 'kid': 'first', 'b64': False, 'crit': ['b64'], 'x': 1}))}..{end}",
        head,
        "..",
        "é",
    ):
        await refused(saleor, saleor_signature=changed)
    assert await refused(saleor) == "Saleor-Signature or X-Saleor-Signature: is required"


@pytest.mark.parametrize(
    "header",
    [{"alg": "none"}, {"alg": "HS256"}, {"alg": "PS256"}, {"alg": None}, {"b64": None, "crit": None}, {"crit": None},
     {"crit": ["b64", "exp"]}, {"kid": None}, {"kid": 7}],
)  # fmt: skip
async def test_only_this_kind_of_signature_counts(saleor: SignatureVerifier, header: dict[str, object]) -> None:
    """Another algorithm, a signature of something else, or an extension that is not understood."""
    await refused(saleor, saleor_signature=FIRST.jws(BODY, **header))


async def test_the_public_key_is_no_secret(saleor: SignatureVerifier) -> None:
    """Signing with the public key as if it were a shared secret is an old trick."""
    head = unpadded(as_json({"alg": "HS256", "kid": "first", "b64": False, "crit": ["b64"]}))
    for secret in (str(FIRST.public["n"]).encode(), FIRST.certificate()):
        digest = hmac.digest(secret, head.encode() + b"." + BODY, "sha256")
        await refused(saleor, saleor_signature=f"{head}..{unpadded(digest)}")


@given(value=st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=200))
def test_no_text_is_an_error(value: str) -> None:
    """Whatever is in the header is refused, without another error, and without a request for keys."""

    async def run() -> None:
        signatures = verifier(scheme="jws", header="S", jwks_url="http://127.0.0.1:1/")
        await refused(signatures, s=value)

    anyio.run(run)


# --- keys -----------------------------------------------------------------------------------------


async def test_a_new_key_is_fetched(
    saleor: SignatureVerifier, server: Server, key_server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is not known is looked for again: not at once, but soon. Meanwhile the sender repeats its request."""
    await check(saleor, saleor_signature=FIRST.jws(BODY))
    key_server.keys = [FIRST, SECOND]
    for _ in range(3):
        with pytest.raises(SourceFailed, match="has no key 'second' yet; it was fetched a moment ago"):
            await check(saleor, saleor_signature=SECOND.jws(BODY))
        await check(saleor, saleor_signature=FIRST.jws(BODY))
    assert len(server.asked) == 1
    monkeypatch.setattr(fetched_keys, "FETCH_SECONDS", 0.0)
    await check(saleor, saleor_signature=SECOND.jws(BODY))
    assert len(server.asked) == 2
    await check(saleor, saleor_signature=FIRST.jws(BODY))
    assert len(server.asked) == 2


async def test_a_key_that_the_sender_does_not_have_is_refused(saleor: SignatureVerifier, server: Server) -> None:
    """Once the keys have been fetched because of it."""
    foreign = signing_key("second").jws(BODY)
    assert "is by a key that the sender does not have: 'second'" in await refused(saleor, saleor_signature=foreign)
    assert len(server.asked) == 1


async def test_many_requests_fetch_the_keys_once(saleor: SignatureVerifier, server: Server) -> None:
    """The others wait for them."""
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(lambda: check(saleor, saleor_signature=FIRST.jws(BODY)))
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"{}", 500),
        Reply(b"{}", 404),
        Reply(b"", 302, {"location": "/elsewhere"}),
        Reply(b"not JSON"),
        Reply(b'{"keys":7}'),
        Reply(b'{"keys":[]}'),
        Reply(b"[" * 300_000),
        Reply(b'{"keys":[]}', cut=3),
        Reply(as_json({"keys": [signing_key("first", 1024).public]})),
        Reply(as_json({"keys": [{**FIRST.public, "use": "enc"}, {**FIRST.public, "alg": "RS512"}, {"kty": "oct"}]})),
        Reply(as_json({"keys": [{**FIRST.public, "kid": None}, {**FIRST.public, "n": "!"}, {"kid": "first"}]})),
    ],
)
async def test_keys_that_cannot_be_had_are_no_verdict(
    saleor: SignatureVerifier, key_server: KeyServer, monkeypatch: pytest.MonkeyPatch, reply: Reply
) -> None:
    """Neither valid nor refused: the sender repeats its request, which is accepted once they can be had."""
    key_server.reply = reply
    for _ in range(2):
        with pytest.raises(SourceFailed):
            await check(saleor, saleor_signature=FIRST.jws(BODY))
    key_server.reply = None
    with pytest.raises(SourceFailed):  # not asked again so soon
        await check(saleor, saleor_signature=FIRST.jws(BODY))
    monkeypatch.setattr(fetched_keys, "FETCH_SECONDS", 0.0)
    await check(saleor, saleor_signature=FIRST.jws(BODY))


async def test_a_server_that_is_away_is_no_verdict() -> None:
    """No connection, or no response in time."""
    away = verifier(scheme="jws", header="S", jwks_url="http://127.0.0.1:1/keys")
    with pytest.raises(SourceFailed, match=r"^http://127\.0\.0\.1:1/keys: cannot be fetched: ConnectError$"):
        await check(away, s=FIRST.jws(BODY))


async def test_keys_are_fetched_again_after_an_hour(
    saleor: SignatureVerifier, key_server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One may have been withdrawn. If they cannot be fetched, the last ones count for a day."""
    await check(saleor, saleor_signature=FIRST.jws(BODY))
    monkeypatch.setattr(fetched_keys, "REFRESH_SECONDS", 0.0)
    monkeypatch.setattr(fetched_keys, "FETCH_SECONDS", 0.0)
    key_server.reply = Reply(b"", 503)
    await check(saleor, saleor_signature=FIRST.jws(BODY))
    monkeypatch.setattr(fetched_keys, "STALE_SECONDS", 0.0)
    with pytest.raises(SourceFailed, match="it answers 503"):
        await check(saleor, saleor_signature=FIRST.jws(BODY))
    monkeypatch.setattr(fetched_keys, "STALE_SECONDS", 60.0)
    key_server.reply, key_server.keys = None, [SECOND]
    assert "does not have" in await refused(saleor, saleor_signature=FIRST.jws(BODY))


# --- tokens ---------------------------------------------------------------------------------------


def claims(**changed: object) -> Mapping[str, object]:
    """The claims of a token of Pub/Sub, with changes; None removes one."""
    moment = int(NOW.timestamp())
    every = {"iss": ISSUER, "aud": AUDIENCE, "email": EMAIL, "email_verified": True, "iat": moment}
    return {name: value for name, value in (every | {"exp": moment + 3600} | changed).items() if value is not None}


async def test_a_token_of_the_sender_is_accepted(pubsub: SignatureVerifier, server: Server) -> None:
    """Whatever the body, and however "Bearer" is written; clocks may differ by a minute."""
    moment = int(NOW.timestamp())
    await check(pubsub, authorization=f"Bearer {FIRST.token(claims())}")
    await check(pubsub, b"", authorization=f"bearer  {FIRST.token(claims())}")
    await check(pubsub, authorization=f"Bearer {FIRST.token(claims(aud=['x', AUDIENCE]))}")
    await check(pubsub, authorization=f"Bearer {FIRST.token(claims(exp=moment - 59))}")
    await check(pubsub, authorization=f"Bearer {FIRST.token(claims(iat=moment + 59))}")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"aud": "https://other.example"}, "Audience"),
        ({"iss": "https://other.example"}, "Invalid issuer"),
        ({"email": "other@x.example"}, "is a token of somebody else"),
        ({"email": None}, "is a token of somebody else"),
        ({"email_verified": False}, "is a token of somebody else"),
        ({"email_verified": "true"}, "is a token of somebody else"),
        ({"exp": int((NOW - timedelta(minutes=2)).timestamp())}, "is a token that has expired"),
        ({"iat": int((NOW + timedelta(minutes=2)).timestamp())}, "is a token of the future"),
        ({"exp": None}, "exp"),
        ({"iat": None}, "iat"),
        ({"aud": None}, "aud"),
        ({"iss": None}, "iss"),
        ({"exp": "soon"}, "`exp` and `iat` are numbers of seconds"),
    ],
)
async def test_a_token_of_somebody_else_is_refused(
    pubsub: SignatureVerifier, changed: dict[str, object], problem: str
) -> None:
    """For another receiver, by another issuer or account, or of another time."""
    assert problem in await refused(pubsub, authorization=f"Bearer {FIRST.token(claims(**changed))}")


async def test_what_is_no_token_is_refused(pubsub: SignatureVerifier) -> None:
    """A password, another algorithm, a token that was changed, or none."""
    token = FIRST.token(claims())
    head, middle, end = token.split(".")
    basic = base64.b64encode(b"me:secret").decode()
    for value in ("Bearer", "Bearer x", f"Bearer {head}.{middle}.", f"Bearer {head}.{middle[:-4]}.{end}"):
        await refused(pubsub, authorization=value)
    await refused(pubsub, authorization=f"Basic {basic}")
    await refused(pubsub, authorization=f"Bearer {FIRST.token(claims(), alg='none')}")
    await refused(pubsub, authorization=f"Bearer {SigningKey('first', SECOND.private).token(claims())}")
    assert await refused(pubsub) == "Authorization: is required"
