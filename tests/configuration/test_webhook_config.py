"""The configuration of webhooks: every mistake is an error that names the key, and what would be right."""

import re

import pytest

from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import ConfigurationError

GOOD = """
[store]
url = "sqlite:///var/shop"
[sources.erp]
domains = ["pricing"]
[channels.web-de]
locale = "de-DE"
currency = "EUR"
"""
WEBHOOK = "sources.erp.webhook"
SIGNED = 'secret_variables = ["ERP_SECRET"]'
SAYS = 'contract = "prices.toml"'
PLAIN = 'scheme = "hmac-sha256"'
FORMS = "signatures = [{scheme = 'hmac-sha256', header = 'A'}]"


def with_webhook(*lines: str) -> str:
    """The good configuration with webhooks of the source erp."""
    return "\n".join([GOOD, f"[{WEBHOOK}]", *lines])


JWS = ('scheme = "jws"', 'header = "S"')
BEARER = ('scheme = "bearer_jwt"', 'jwks_url = "https://a/b"', 'audience = "x"')
TOPIC = "arn:aws:sns:eu-west-1:123456789012:products"
WRONG = [
    (with_webhook(SAYS, *JWS), f"{WEBHOOK}.jwks_url", "is required: the address of the keys"),
    (with_webhook(SAYS, *JWS[:1], 'jwks_url = "https://a/b"'), f"{WEBHOOK}.header", "is required"),
    (with_webhook(SAYS, *JWS, 'jwks_url = "http://shop.example/keys"'), f"{WEBHOOK}.jwks_url", "for this machine only"),
    (with_webhook(SAYS, *JWS, 'jwks_url = "https://me:x@a/keys"'), f"{WEBHOOK}.jwks_url", "is not an address"),
    (with_webhook(SAYS, *JWS, 'jwks_url = "https://[a/keys"'), f"{WEBHOOK}.jwks_url", "is not an address"),
    (with_webhook(SAYS, *JWS, 'jwks_url = "https:///keys"'), f"{WEBHOOK}.jwks_url", "is not an address"),
    (with_webhook(SAYS, *JWS, 'jwks_url = "https://a/b"', 'topics = ["x"]'), f"{WEBHOOK}.topics", 'scheme = "sns"'),
    (with_webhook(SIGNED, SAYS, *JWS, 'jwks_url = "https://a/b"'), f"{WEBHOOK}.secret_variables", "goes with scheme"),
    (with_webhook(SAYS, *BEARER), f"{WEBHOOK}.issuer", "is required: who issues the tokens"),
    (
        with_webhook(SAYS, *BEARER, 'issuer = "https://accounts.google.com"'),
        f"{WEBHOOK}.email",
        "anyone may have a token",
    ),
    (with_webhook(SAYS, 'scheme = "sns"'), f"{WEBHOOK}.topics", "is required: the topics that count"),
    (
        with_webhook(SAYS, 'scheme = "sns"', f'topics = ["{TOPIC}", "products"]'),
        f"{WEBHOOK}.topics[1]",
        "is not the name",
    ),
    (with_webhook(SIGNED, SAYS, 'envelope = "kafka"'), f"{WEBHOOK}.envelope", "the values are pubsub, sns"),
    (with_webhook(SIGNED, SAYS, 'envelope = {member = "a"}'), f"{WEBHOOK}.envelope.encoding", "is required"),
    (
        with_webhook(SIGNED, SAYS, 'envelope = {member = "a..b", encoding = "base64"}'),
        f"{WEBHOOK}.envelope.member",
        "is not a dotted path such as 'message.data'",
    ),
    (with_webhook(SIGNED, SAYS, 'secret_variable = "B"'), f"{WEBHOOK}.secret_variable", "unknown key"),
    (with_webhook(SAYS), f"{WEBHOOK}.secret_variables", "is required"),
    (with_webhook(SAYS, "secret_variables = []"), f"{WEBHOOK}.secret_variables", "is required"),
    (with_webhook(SAYS, 'secret_variables = ["A", "B", "C"]'), f"{WEBHOOK}.secret_variables", "length <= 2"),
    (with_webhook(SAYS, 'secret_variables = ["A", "A"]'), f"{WEBHOOK}.secret_variables", "twice"),
    (
        with_webhook(SAYS, 'secret_variables = ["A", "whsec_secret/"]'),
        f"{WEBHOOK}.secret_variables[1]",
        "environment variable",
    ),
    (with_webhook(SIGNED, SAYS, 'scheme = "rsa"'), f"{WEBHOOK}.scheme", "rsa"),
    (with_webhook(SIGNED, SAYS, 'header = "X-Hmac"'), f"{WEBHOOK}.header", 'goes with scheme = "hmac-sha256"'),
    (with_webhook(SIGNED, SAYS, 'secret_encoding = "html_entities"'), f"{WEBHOOK}.secret_encoding", "goes with"),
    (with_webhook(SIGNED, SAYS, 'busy = "wait"'), f"{WEBHOOK}.busy", "wait"),
    (with_webhook(SIGNED, SAYS, 'answer_within = "400ms"'), f"{WEBHOOK}.answer_within", 'goes with busy = "keep"'),
    (with_webhook(SIGNED, SAYS, 'busy = "keep"', "answer_within = 0.01"), f"{WEBHOOK}.answer_within", "less than 50ms"),
    (
        with_webhook(SIGNED, SAYS, 'busy = "keep"', 'answer_within = "soon"'),
        f"{WEBHOOK}.answer_within",
        "'90s', '15m' or '2d'",
    ),
    (with_webhook(SIGNED, SAYS, FORMS, PLAIN), f"{WEBHOOK}.scheme", f"belongs in one of {WEBHOOK}.signatures"),
    (with_webhook(SIGNED, SAYS, FORMS, 'header = "A"'), f"{WEBHOOK}.header", "belongs in one of"),
    (with_webhook(SAYS, FORMS), f"{WEBHOOK}.signatures[0].secret_variables", "is required"),
    (
        with_webhook(SIGNED, SAYS, FORMS.replace("header = 'A'", "header = 'A B'")),
        f"{WEBHOOK}.signatures[0].header",
        "is not the name of a header",
    ),
    (
        with_webhook(SIGNED, SAYS, FORMS.replace("header = 'A'", "encoding = 'hex'")),
        f"{WEBHOOK}.signatures[0].header",
        "is required",
    ),
    (
        with_webhook(SIGNED, SAYS, PLAIN, 'header = ["A", "B", "C", "D", "E"]'),
        f"{WEBHOOK}.header",
        "more than 4 headers",
    ),
    (with_webhook(SIGNED, SAYS, PLAIN, 'header = ["A", ""]'), f"{WEBHOOK}.header", "is not the name of a header"),
    (with_webhook(SIGNED, SAYS, 'encoding = "hex"'), f"{WEBHOOK}.encoding", 'goes with scheme = "hmac-sha256"'),
    (with_webhook(SIGNED, SAYS, PLAIN), f"{WEBHOOK}.header", "is required"),
    (with_webhook(SIGNED, SAYS, PLAIN, 'header = "X Hmac"'), f"{WEBHOOK}.header", "'X-Shopify-Hmac-Sha256'"),
    (with_webhook(SIGNED, SAYS, PLAIN, 'header = "A"', 'encoding = "utf"'), f"{WEBHOOK}.encoding", "utf"),
    (
        with_webhook(SIGNED, SAYS, 'timestamp_header = "X-Time"'),
        f"{WEBHOOK}.timestamp_header",
        'goes with scheme = "hmac-sha256"',
    ),
    (
        with_webhook(SIGNED, SAYS, PLAIN, 'header = "A"', 'timestamp_header = ""'),
        f"{WEBHOOK}.timestamp_header",
        "is not the name of a header",
    ),
    (with_webhook(SIGNED), f"{WEBHOOK}.contract", "is required, here or as sources.erp.contract"),
    (with_webhook(SIGNED, SAYS, 'paths = {sku = "a"}'), f"{WEBHOOK}.paths", "unknown key"),
]


@pytest.mark.parametrize(("text", "key", "problem"), WRONG, ids=[f"{key}: {problem}" for _, key, problem in WRONG])
def test_every_error_names_the_key_and_what_would_be_right(text: str, key: str, problem: str) -> None:
    """An error has the key as in the file, and says what is allowed; it never shows what may be a secret."""
    with pytest.raises(ConfigurationError) as caught:
        Config.parse(text)
    assert caught.value.key == key
    assert problem in caught.value.problem
    assert "secret" not in re.sub("secret_(variables|encoding)", "", caught.value.problem)


def test_forms_without_secrets_have_those_of_the_table() -> None:
    """Where there is one form, it is the table itself."""
    own = '[{scheme = "hmac-sha256", header = "A"}, {secret_variables = ["B"]}]'
    several = Config.parse(with_webhook(SIGNED, SAYS, f"signatures = {own}")).sources["erp"].webhook
    assert several is not None
    assert [(key, form.secret_variables) for key, form in several.forms] == [
        ("", ["ERP_SECRET"]),
        (".signatures[1]", ["B"]),
    ]
    single = Config.parse(with_webhook(SIGNED, SAYS)).sources["erp"].webhook
    assert single is not None
    assert single.forms == [("", single)]


def test_the_places_of_messages() -> None:
    """By the name of a carrier, or as written; SNS has its own."""
    places = {
        f"scheme = 'sns'\ntopics = ['{TOPIC}']": ("Message", "json_text"),
        f"{SIGNED}\nenvelope = 'sns'": ("Message", "json_text"),
        f"{SIGNED}\nenvelope = 'pubsub'": ("message.data", "base64"),
        f"{SIGNED}\nenvelope = {{member = 'a.b', encoding = 'json_text'}}": ("a.b", "json_text"),
    }
    for written, (member, encoding) in places.items():
        webhook = Config.parse(with_webhook(SAYS, written)).sources["erp"].webhook
        assert webhook is not None
        assert webhook.message_place is not None
        assert (webhook.message_place.member, webhook.message_place.encoding) == (member, encoding)
    plain = Config.parse(with_webhook(SIGNED, SAYS)).sources["erp"].webhook
    assert plain is not None
    assert plain.message_place is None


def test_keys_of_this_machine_may_be_had_without_tls() -> None:
    """As those of a shop that runs beside Pagefold."""
    for host in ("127.0.0.1:8000", "localhost", "[::1]:8000"):
        Config.parse(with_webhook(SAYS, *JWS, f'jwks_url = "http://{host}/.well-known/jwks.json"'))
