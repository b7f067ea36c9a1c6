"""Verifies that a webhook comes from its source, in one of the ways in which the configuration says that it signs."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import assert_never

from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.signature_config import SignatureConfig
from pagefold.engine.errors import Rejected
from pagefold.engine.intake.formats.json_bodies import Headers
from pagefold.engine.intake.formats.webhook_signatures import (
    HmacForm,
    SignatureForm,
    StandardForm,
    webhook_secret,
    webhook_settings,
)
from pagefold.engine.runtime.extras import needs_extra


class SignatureVerifier:
    """Checks the signatures of one source.

    Raises `ConfigurationError` if the environment lacks its secrets, `ExtraMissing` without what its scheme needs.
    """

    def __init__(self, config: Config, source: str, environment: Mapping[str, str]) -> None:
        place = f"sources.{source}.webhook"
        forms = webhook_settings(config, source).forms
        self._forms = [signature_form(config, f"{place}{key}", form, environment) for key, form in forms]

    async def check(self, headers: Headers, body: bytes, now: datetime) -> str | None:
        """Returns if the body is signed by the source: why it is not to be read, or None.

        Raises `Rejected`, which names the header; `SourceFailed` if that cannot be known now.
        """
        given = list(headers)
        signed = [form for form in self._forms if _has_any(given, form.headers)]
        if not signed:
            raise Rejected(" or ".join(name for form in self._forms for name in form.headers), "is required")
        for form in signed[:-1]:
            with suppress(Rejected):
                return await form.check(given, body, now)
        return await signed[-1].check(given, body, now)


def signature_form(
    config: Config, key: str, settings: SignatureConfig, environment: Mapping[str, str]
) -> SignatureForm:
    """A way of signing, with its secrets from the environment. Raises `ConfigurationError`, and `ExtraMissing`."""
    secrets = [
        webhook_secret(config, f"{key}.secret_variables[{index}]", name, settings, environment)
        for index, name in enumerate(settings.secret_variables)
    ]
    match settings.scheme:
        case "standard":
            return StandardForm(secrets)
        case "hmac-sha256":
            return HmacForm(settings, secrets)
        case "jws" | "bearer_jwt" | "sns":
            with needs_extra(f"{key}.scheme", "signatures"):
                return _form_with_keys(settings)
        case _:
            assert_never(settings.scheme)


def _form_with_keys(settings: SignatureConfig) -> SignatureForm:
    """A way of signing with a private key, whose public key is fetched."""
    from pagefold.engine.intake.fetched_keys import FetchedCertificates, FetchedKeys, fetch, key_set  # noqa: PLC0415  # with the extra
    from pagefold.engine.intake.formats.key_signatures import BearerForm, JwsForm  # noqa: PLC0415  # likewise
    from pagefold.engine.intake.formats.sns_signatures import SnsForm  # noqa: PLC0415  # likewise

    if settings.scheme == "sns":
        return SnsForm(settings.topics, FetchedCertificates(), fetch)
    keys = FetchedKeys(settings.jwks_url or "", key_set)
    return JwsForm(settings, keys) if settings.scheme == "jws" else BearerForm(settings, keys)


def _has_any(headers: Headers, names: Sequence[str]) -> bool:
    """Whether one of some headers is there, and not blank."""
    wanted = {name.lower().encode() for name in names}
    return any(name.lower() in wanted and value.strip(b" \t") for name, value in headers)
