"""Webhook signatures: what a source signed is accepted, and nothing else, whatever the headers contain."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.signature_config import SignatureConfig
from pagefold.engine.configuration.source_config import SourceConfig
from pagefold.engine.configuration.store_config import StoreConfig
from pagefold.engine.configuration.webhook_config import WebhookConfig
from pagefold.engine.errors import ConfigurationError, Rejected
from pagefold.engine.intake.formats.webhook_signatures import MAX_SIGNATURES, TOLERANCE
from pagefold.engine.intake.webhook_verifier import SignatureVerifier

KEY = "sources.erp.webhook"
OLD, NEW = (f"whsec_{base64.b64encode(letter * 32).decode()}" for letter in (b"o", b"n"))
ENVIRONMENT = {"OLD": OLD, "NEW": NEW, "PLAIN": "hush, große", "NEXT": "hush no more", "EMPTY": " "}
NOW = datetime.now(UTC).replace(microsecond=0)
BODY = '{"sku":"Größe"}'.encode()


def verifier(settings: WebhookConfig, environment: Mapping[str, str] = ENVIRONMENT) -> SignatureVerifier:
    """The verifier of a source with these settings."""
    source = SourceConfig(domains=["pricing"], webhook=settings)
    config = Config(store=StoreConfig(url="sqlite:///nowhere"), sources={"erp": source}, channels={})
    return SignatureVerifier(config, "erp", environment)


def standard(*names: str) -> SignatureVerifier:
    """Standard Webhooks, with the secrets in these variables."""
    return verifier(WebhookConfig(secret_variables=list(names)))


def plain(
    header: str = "X-Shopify-Hmac-Sha256", encoding: str = "base64", secrets: Sequence[str] = ("PLAIN",)
) -> SignatureVerifier:
    """A plain HMAC header, with the secrets in these variables."""
    settings = {"secret_variables": list(secrets), "scheme": "hmac-sha256", "header": header, "encoding": encoding}
    return verifier(WebhookConfig(**settings))  # type: ignore[arg-type]  # the test's own values


def signed(secret: str = NEW, body: bytes = BODY, moment: datetime = NOW) -> dict[str, str]:
    """The headers that the library sends."""
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", moment, body.decode()),
    }


def raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """The headers as a server has them."""
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def check(
    signatures: SignatureVerifier, headers: Sequence[tuple[bytes, bytes]], body: bytes = BODY, now: datetime = NOW
) -> None:
    """Checks them, as a request does."""
    asyncio.run(signatures.check(headers, body, now))


def error_of(
    signatures: SignatureVerifier, headers: dict[str, str], body: bytes = BODY, now: datetime = NOW
) -> Rejected | None:
    """Why they do not sign the body; None if they do."""
    try:
        check(signatures, raw(headers), body, now)
    except Rejected as refused:
        return refused
    return None


# --- Standard Webhooks ----------------------------------------------------------------------------


@given(body=st.text().map(str.encode), secret=st.binary(min_size=24, max_size=64), padded=st.booleans())
def test_signatures_of_the_library_are_accepted(body: bytes, secret: bytes, *, padded: bool) -> None:
    """Any body, signed with any secret, with the base64 padding or without."""
    text = "whsec_" + base64.b64encode(secret).decode()
    environment = {"S": text if padded else text.rstrip("=")}
    signatures = verifier(WebhookConfig(secret_variables=["S"]), environment)
    assert error_of(signatures, signed(text, body), body) is None
    assert error_of(signatures, signed(text, body), body + b" ") is not None


def test_binary_bodies_can_be_signed() -> None:
    """The signature is over the bytes as sent."""
    body = b"\xff\x00"
    digest = hmac.digest(b"n" * 32, b"msg_1.%d." % NOW.timestamp() + body, "sha256")
    headers = signed() | {"webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}
    assert error_of(standard("NEW"), headers, body) is None


def test_two_secrets_count_while_one_replaces_the_other() -> None:
    """A request is accepted when either secret signed it, and when both did, in either order."""
    both = signed() | {"webhook-signature": f"{signed(OLD)['webhook-signature']} {signed(NEW)['webhook-signature']}"}
    for headers in (signed(OLD), signed(NEW), both):
        assert error_of(standard("NEW", "OLD"), headers) is None
    assert error_of(standard("NEW"), both) is None
    assert str(error_of(standard("NEW"), signed(OLD))) == "webhook-signature: does not match"


@pytest.mark.parametrize("seconds", [-301, -300, -299, 0, 299, 300, 301])
def test_a_signature_counts_for_five_minutes(seconds: int) -> None:
    """Before and after the signed timestamp: a recorded request cannot be replayed later."""
    refused = error_of(standard("NEW"), signed(), now=NOW + timedelta(seconds=seconds))
    assert (refused is None) is (abs(seconds) <= TOLERANCE.total_seconds())
    if refused is not None:
        assert refused.path == "webhook-timestamp"
        assert ("past" if seconds > 0 else "future") in refused.reason


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webhook-id", ""),
        ("webhook-id", "msg_2"),
        ("webhook-timestamp", ""),
        ("webhook-timestamp", "now"),
        ("webhook-timestamp", "1e9"),
        ("webhook-timestamp", "-1"),
        ("webhook-timestamp", "9" * 400),
        ("webhook-timestamp", "١٢٣"),
        ("webhook-signature", ""),
        ("webhook-signature", "v1"),
        ("webhook-signature", "v1,"),
        ("webhook-signature", "v1,,"),
        ("webhook-signature", "v1,%"),
        ("webhook-signature", "v1,ü"),
        ("webhook-signature", "v1a,AAAA"),
        pytest.param("webhook-signature", signed()["webhook-signature"].removeprefix("v1,"), id="bare"),
        pytest.param("webhook-signature", signed()["webhook-signature"].upper(), id="in capitals"),
        pytest.param("webhook-signature", signed()["webhook-signature"][:-2], id="too short"),
        pytest.param("webhook-signature", "v1,AAAA " * MAX_SIGNATURES + signed()["webhook-signature"], id="too many"),
    ],
)
def test_invalid_headers_are_refused(name: str, value: str) -> None:
    """Whatever is wrong with them, the error names a header."""
    refused = error_of(standard("NEW"), signed() | {name: value})
    assert refused is not None
    assert refused.path.startswith("webhook-")


def test_a_missing_or_repeated_header_is_refused() -> None:
    """Each of the three must be present, once."""
    for name in signed():
        headers = raw({key: value for key, value in signed().items() if key != name})
        with pytest.raises(Rejected, match=f"{name}: is required"):
            check(standard("NEW"), headers)
        with pytest.raises(Rejected, match=f"{name}: is repeated"):
            check(standard("NEW"), [*raw(signed()), (name.encode(), b"x")])


@given(
    values=st.fixed_dictionaries({name: st.binary(max_size=80) for name in signed()}),
    body=st.binary(max_size=50),
    scheme=st.sampled_from(["standard", "base64", "hex"]),
)
def test_no_bytes_are_an_error(values: dict[str, bytes], body: bytes, scheme: str) -> None:
    """Any bytes in the headers are refused, without another error."""
    signatures = standard("NEW", "OLD") if scheme == "standard" else plain("webhook-signature", scheme)
    with pytest.raises(Rejected):
        check(signatures, [(name.encode(), value) for name, value in values.items()], body)


# --- one header -----------------------------------------------------------------------------------


@given(body=st.binary())
def test_a_plain_header_in_either_encoding(body: bytes) -> None:
    """As Shopify sends it, in base64, and in hex, in lower or upper case."""
    digest = hmac.new("hush, große".encode(), body, hashlib.sha256)
    inside = base64.b64encode(digest.digest()).decode()
    assert error_of(plain(), {"X-Shopify-Hmac-SHA256": inside}, body) is None
    assert error_of(plain(encoding="hex"), {"x-shopify-hmac-sha256": digest.hexdigest()}, body) is None
    assert error_of(plain(encoding="hex"), {"x-shopify-hmac-sha256": digest.hexdigest().upper()}, body) is None
    for signatures, given_value in ((plain(encoding="hex"), inside), (plain(), digest.hexdigest()), (plain(), "ü")):
        refused = error_of(signatures, {"x-shopify-hmac-sha256": given_value}, body)
        assert str(refused) == "X-Shopify-Hmac-Sha256: does not match"
    assert str(error_of(plain(), {}, body)) == "X-Shopify-Hmac-Sha256: is required"


@pytest.mark.parametrize("encoding", ["base64", "hex"])
def test_either_of_two_plain_secrets_counts(encoding: str) -> None:
    """In either order; a secret that is not configured, or no longer, is not accepted."""
    digests = {name: hmac.digest(ENVIRONMENT[name].encode(), BODY, hashlib.sha256) for name in ("PLAIN", "NEXT", "OLD")}
    headers = {
        name: {"X-Shopify-Hmac-Sha256": base64.b64encode(digest).decode() if encoding == "base64" else digest.hex()}
        for name, digest in digests.items()
    }
    for secrets in (("PLAIN", "NEXT"), ("NEXT", "PLAIN")):
        signatures = plain(encoding=encoding, secrets=secrets)
        assert [error_of(signatures, headers[name]) for name in secrets] == [None, None]
        assert str(error_of(signatures, headers["OLD"])) == "X-Shopify-Hmac-Sha256: does not match"
    assert str(error_of(plain(encoding=encoding, secrets=("NEXT",)), headers["PLAIN"])).endswith("does not match")


def test_a_timestamp_may_be_signed_before_the_body() -> None:
    """As Akeneo sends it, in a header of its own: it is valid for five minutes, and cannot be changed."""
    settings = WebhookConfig(
        secret_variables=["PLAIN"],
        scheme="hmac-sha256",
        header="X-Akeneo-Request-Signature",
        encoding="hex",
        timestamp_header="X-Akeneo-Request-Timestamp",
    )
    signatures = verifier(settings)
    moment = str(int(NOW.timestamp()))
    digest = hmac.new("hush, große".encode(), f"{moment}.".encode() + BODY, hashlib.sha256).hexdigest()
    headers = {"X-Akeneo-Request-Signature": digest, "X-Akeneo-Request-Timestamp": moment}
    assert error_of(signatures, headers) is None
    late = error_of(signatures, headers, now=NOW + TOLERANCE + timedelta(seconds=1))
    assert str(late) == "X-Akeneo-Request-Timestamp: is too far in the past; at most 5 minutes are allowed"
    for value, problem in (
        ("", "is required"),
        ("soon", "is not a number of seconds"),
        (str(int(moment) + 1), "does not match"),
    ):
        refused = error_of(signatures, headers | {"X-Akeneo-Request-Timestamp": value})
        assert problem in str(refused)


# --- several headers, several ways ----------------------------------------------------------------


def hex_of(secret: str, body: bytes = BODY) -> str:
    """The HMAC of a body, as Akeneo writes it."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


PRIMARY, SECONDARY = "X-AKENEO-SIGNATURE-PRIMARY", "X-AKENEO-SIGNATURE-SECONDARY"
PLATFORM = SignatureConfig(scheme="hmac-sha256", header=[PRIMARY, SECONDARY], encoding="hex")
EVENTS_API = SignatureConfig(
    scheme="hmac-sha256",
    header="X-Akeneo-Request-Signature",
    timestamp_header="X-Akeneo-Request-Timestamp",
    encoding="hex",
    secret_variables=["NEXT"],
)


def test_one_of_several_headers_has_to_match() -> None:
    """As Akeneo's Event Platform sends them while a secret is replaced: each is by another secret."""
    signatures = verifier(WebhookConfig(secret_variables=["PLAIN"], signatures=[PLATFORM]))
    own, foreign = hex_of(ENVIRONMENT["PLAIN"]), hex_of("theirs")
    for headers in (
        {PRIMARY: own},
        {SECONDARY: own},
        {PRIMARY: own, SECONDARY: foreign},
        {PRIMARY: "", SECONDARY: own},
    ):
        assert error_of(signatures, headers) is None
    for headers in ({PRIMARY: foreign}, {PRIMARY: foreign, SECONDARY: foreign}):
        assert str(error_of(signatures, headers)) == f"{PRIMARY} or {SECONDARY}: does not match"
    assert str(error_of(signatures, {})) == f"{PRIMARY} or {SECONDARY}: is required"
    with pytest.raises(Rejected, match="is repeated"):
        check(signatures, [*raw({PRIMARY: own}), *raw({PRIMARY: own})])


def test_each_request_is_signed_in_one_of_several_ways() -> None:
    """Each way has its own headers and its own secrets, or those of the table; none weakens another."""
    signatures = verifier(WebhookConfig(secret_variables=["PLAIN"], signatures=[PLATFORM, EVENTS_API]))
    moment = str(int(NOW.timestamp()))
    digest = hex_of(ENVIRONMENT["NEXT"], f"{moment}.".encode() + BODY)
    events_api = {"X-Akeneo-Request-Signature": digest, "X-Akeneo-Request-Timestamp": moment}
    platform = {PRIMARY: hex_of(ENVIRONMENT["PLAIN"])}
    for headers in (events_api, platform, {**platform, **events_api}, {PRIMARY: "00", **events_api}):
        assert error_of(signatures, headers) is None
    for headers in (
        {"X-Akeneo-Request-Signature": hex_of(ENVIRONMENT["PLAIN"]), "X-Akeneo-Request-Timestamp": moment},
        {"X-Akeneo-Request-Signature": digest},
        {PRIMARY: hex_of(ENVIRONMENT["NEXT"])},
        {PRIMARY: digest, "X-Akeneo-Request-Timestamp": moment},
    ):
        assert error_of(signatures, headers) is not None
    assert error_of(signatures, events_api, now=NOW + timedelta(minutes=6)) is not None
    assert str(error_of(signatures, {})) == f"{PRIMARY} or {SECONDARY} or X-Akeneo-Request-Signature: is required"


# --- secrets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "the environment variable ERP_SECRET is not set"),
        ("  ", "the environment variable ERP_SECRET is not set"),
        ("whsec_hush hush", "not a Standard Webhooks secret"),
        ("whsec_größe", "not a Standard Webhooks secret"),
        ("whsec_A", "not a Standard Webhooks secret"),
        ("whsec_aHVzaA==", "has 4 bytes; at least 24 are needed"),
    ],
)
def test_a_secret_that_cannot_be_used_is_named(value: str | None, problem: str) -> None:
    """The server does not start without its secrets, and does not print what the environment has instead."""
    environment = {} if value is None else {"ERP_SECRET": value}
    with pytest.raises(ConfigurationError, match=problem) as caught:
        verifier(WebhookConfig(secret_variables=["ERP_SECRET"]), environment)
    assert caught.value.key == f"{KEY}.secret_variables[0]"
    assert "hush" not in str(caught.value)
    assert "aHVzaA" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ("nord&licht", "nord&licht"),
        ("nord&amp;licht &quot;woo&quot; &#039;&#39;&#x27;", "nord&licht \"woo\" '''"),
        ("&lt;&#60;&#060;&gt;&#62;&GT;", "<<<>>>"),
        ("&amp;amp; &amp;lt;", "&amp; &lt;"),
        ("&copy; &eacute; &copy1 &ltd", "&copy; &eacute; &copy1 &ltd"),
    ],
)
def test_the_entities_of_a_secret_are_decoded(given: str, key: str) -> None:
    """Once, and those alone that WordPress decodes: with others, its signatures would not match."""
    settings = {"secret_variables": ["S"], "scheme": "hmac-sha256", "header": "X-WC-Webhook-Signature"}
    signature = {"X-WC-Webhook-Signature": base64.b64encode(hmac.digest(key.encode(), BODY, "sha256")).decode()}
    for decoding in ({"secret_encoding": "html_entities"}, {}):
        signatures = verifier(WebhookConfig(**settings, **decoding), {"S": given})  # type: ignore[arg-type]  # the test's own values
        assert (error_of(signatures, signature) is None) is (bool(decoding) or given == key)
