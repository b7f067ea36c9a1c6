"""Verifies that a webhook comes from its source: its signature over the original bytes, by one of the source's secrets.

There are two schemes. Standard Webhooks (https://www.standardwebhooks.com, symmetric signatures, `v1`) signs the
timestamp too, so a request cannot be replayed later. The other is one header with an HMAC-SHA256: of the body, as
Shopify sends it, or of a timestamp, a dot and the body, as Akeneo does. While a secret is being replaced, both the old
and the new one are accepted.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from pagefold.engine.configuration.config import Config
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


IDENTIFIER, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
"""The headers of Standard Webhooks."""


class SignatureVerifier:
    """Checks the signatures of one source. Raises `ConfigurationError` if the environment lacks its secrets."""

    def __init__(self, config: Config, source: str, environment: Mapping[str, str]) -> None:
        self._settings = webhook_settings(config, source)
        count = len(self._settings.secret_variables)
        self._secrets = [webhook_secret(config, source, index, environment) for index in range(count)]

    def check(self, headers: Headers, body: bytes, now: datetime) -> None:
        """Returns if the body is signed by the source. Raises `Rejected`, which names the header."""
        given = list(headers)
        if self._settings.scheme == "standard":
            self._check_standard(given, body, now)
        else:
            self._check_plain(given, body, now)

    def _check_standard(self, headers: Headers, body: bytes, now: datetime) -> None:
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

    def _check_plain(self, headers: Headers, body: bytes, now: datetime) -> None:
        name = self._settings.header or ""
        given = _required(headers, name)
        signed = body
        if self._settings.timestamp_header is not None:
            moment = _required(headers, self._settings.timestamp_header)
            _check_timestamp(self._settings.timestamp_header, moment, now)
            signed = b"%b.%b" % (moment, body)
        if self._settings.encoding == "hex":
            expected = [binascii.hexlify(_digest(secret, signed)) for secret in self._secrets]
            given = given.lower()
        else:
            expected = [base64.b64encode(_digest(secret, signed)) for secret in self._secrets]
        if not _has_match(expected, [given]):
            raise Rejected(name, "does not match")


def webhook_settings(config: Config, source: str) -> WebhookConfig:
    """How a source's webhooks are read. Raises `ConfigurationError` if the configuration does not say."""
    settings = config.sources[source].webhook
    if settings is None:
        raise config.error(f"sources.{source}.webhook", "is required: without it, webhooks cannot be read")
    return settings


def webhook_secret(config: Config, source: str, index: int, environment: Mapping[str, str]) -> bytes:
    """One of a source's secrets, from the environment. Raises `ConfigurationError`, which never shows it."""
    settings = webhook_settings(config, source)
    name, key = settings.secret_variables[index], f"sources.{source}.webhook.secret_variables[{index}]"
    text = environment.get(name, "").strip()
    if not text:
        raise config.error(key, f"the environment variable {name} is not set or empty")
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
