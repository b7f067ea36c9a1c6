"""Webhooks that are signed with a shared secret: a signature over the original bytes, by one of the source's secrets.

There are two schemes. Standard Webhooks (https://www.standardwebhooks.com, symmetric signatures, `v1`) signs the
timestamp too, so a request cannot be replayed later. The other is a header with an HMAC-SHA256: of the body, as Shopify
sends it, or of a timestamp, a dot and the body, as Akeneo does. While a secret is being replaced, both the old and the
new one are accepted.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.signature_config import SignatureConfig
from pagefold.engine.configuration.webhook_config import WebhookConfig
from pagefold.engine.errors import Rejected
from pagefold.engine.intake.formats.json_bodies import Headers, header_of

TOLERANCE = timedelta(minutes=5)
"""How far a signed timestamp may be from the current time."""

MIN_SECRET_BYTES = 24
"""Bytes of a Standard Webhooks secret, by its specification."""

MAX_SIGNATURES = 16
"""Signatures in one header that are checked."""

_SECRET_PREFIX = "whsec_"  # noqa: S105  # a prefix, not a secret
_VERSION = b"v1,"
_seconds = re.compile(rb"\d{1,12}")
_CHARACTERS = {"lt": "<", "gt": ">", "quot": '"', "amp": "&"} | {
    form % number: chr(number) for number in map(ord, "<>\"&'") for form in ("#%d", "#%03d", "#x%x")
}
"""The entities that WordPress decodes in a secret, which are fewer than HTML has."""

_entity = re.compile(f"&({'|'.join(_CHARACTERS)});", re.IGNORECASE)


IDENTIFIER, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
"""The headers of Standard Webhooks."""


class SignatureForm(Protocol):
    """One way in which the requests of a source are signed."""

    @property
    def headers(self) -> Sequence[str]:
        """The headers that may have the signature."""

    async def check(self, headers: Headers, body: bytes, now: datetime) -> str | None:
        """Returns if the body is signed by the source: what was done with it, if it was for the form alone.

        Raises `Rejected`, which names the header; `SourceFailed` where a key cannot be had.
        """


class StandardForm:
    """Requests that are signed as in Standard Webhooks."""

    headers = (SIGNATURE,)

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = secrets

    async def check(self, headers: Headers, body: bytes, now: datetime) -> None:
        """See `SignatureForm`."""
        identifier = _required(headers, IDENTIFIER)
        moment = _required(headers, TIMESTAMP)
        signatures = _required(headers, SIGNATURE).split(b" ")[:MAX_SIGNATURES]
        _check_timestamp(TIMESTAMP, moment, now)
        signed = b"%b.%b.%b" % (identifier, moment, body)
        expected = [base64.b64encode(_digest(secret, signed)) for secret in self._secrets]
        given = [each.removeprefix(_VERSION) for each in signatures if each.startswith(_VERSION)]
        if not given:
            raise Rejected(SIGNATURE, "has no signature of the form 'v1,' and base64")
        if not _has_match(expected, given):
            raise Rejected(SIGNATURE, "does not match")


class HmacForm:
    """Requests with an HMAC-SHA256 in a header, or in several, of which one has to match."""

    def __init__(self, settings: SignatureConfig, secrets: Sequence[bytes]) -> None:
        self.headers = settings.header_names
        self._settings = settings
        self._secrets = secrets

    async def check(self, headers: Headers, body: bytes, now: datetime) -> None:
        """See `SignatureForm`."""
        given = [value for name in self.headers if (value := header_of(headers, name))]
        signed = body
        if self._settings.timestamp_header is not None:
            moment = _required(headers, self._settings.timestamp_header)
            _check_timestamp(self._settings.timestamp_header, moment, now)
            signed = b"%b.%b" % (moment, body)
        if self._settings.encoding == "hex":
            expected = [binascii.hexlify(_digest(secret, signed)) for secret in self._secrets]
            given = [each.lower() for each in given]
        else:
            expected = [base64.b64encode(_digest(secret, signed)) for secret in self._secrets]
        if not _has_match(expected, given):
            raise Rejected(" or ".join(self.headers), "does not match")


def webhook_settings(config: Config, source: str) -> WebhookConfig:
    """How a source's webhooks are read. Raises `ConfigurationError` if the configuration does not say."""
    settings = config.sources[source].webhook
    if settings is None:
        raise config.error(f"sources.{source}.webhook", "is required: without it, webhooks cannot be read")
    return settings


def webhook_secret(
    config: Config, key: str, name: str, settings: SignatureConfig, environment: Mapping[str, str]
) -> bytes:
    """A secret from the environment. Raises `ConfigurationError`, which never shows it."""
    text = environment.get(name, "").strip()
    if not text:
        raise config.error(key, f"the environment variable {name} is not set or empty")
    if settings.secret_encoding == "html_entities":  # noqa: S105  # no secret
        text = _entity.sub(lambda found: _CHARACTERS[found[1].lower()], text)
    if settings.scheme != "standard":
        return text.encode(errors="surrogateescape")
    text = text.removeprefix(_SECRET_PREFIX).rstrip("=")
    try:
        secret = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        problem = f"{name} is not a Standard Webhooks secret: expected {_SECRET_PREFIX} and base64"
        raise config.error(key, problem) from None
    if len(secret) < MIN_SECRET_BYTES:
        problem = f"the secret in {name} has {len(secret)} bytes; at least {MIN_SECRET_BYTES} are needed"
        raise config.error(key, problem)
    return secret


def _required(headers: Headers, name: str) -> bytes:
    value = header_of(headers, name)
    if not value:
        raise Rejected(name, "is required")
    return value


def _check_timestamp(header: str, given: bytes, now: datetime) -> None:
    if _seconds.fullmatch(given) is None:
        raise Rejected(header, "is not a number of seconds since 1970")
    seconds = int(given) - now.timestamp()
    if abs(seconds) > TOLERANCE.total_seconds():
        word = "past" if seconds < 0 else "future"
        raise Rejected(header, f"is too far in the {word}; at most {TOLERANCE.seconds // 60} minutes are allowed")


def _digest(secret: bytes, signed: bytes) -> bytes:
    return hmac.digest(secret, signed, "sha256")


def _has_match(expected: Sequence[bytes], given: Sequence[bytes]) -> bool:
    """Compares each with each, so that the time taken reveals nothing about the secret."""
    return sum([hmac.compare_digest(one, other) for one in expected for other in given]) > 0
