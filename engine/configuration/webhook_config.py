"""`[sources.X.webhook]`: how webhooks are signed, and which count. What their bodies say is in a contract."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, field

from pagefold.engine.configuration.durations import Duration, parse_duration
from pagefold.engine.configuration.fetch_config import FetchConfig, check_fetches
from pagefold.engine.configuration.header_filters import WithHeaders, check_headers
from pagefold.engine.configuration.signature_config import SECRETS, SIGNATURE_KEYS, SignatureConfig, check_signature
from pagefold.engine.configuration.toml_tables import ContractPlace, Table, check_path
from pagefold.engine.errors import ConfigurationError

Busy: TypeAlias = Literal["503", "429", "keep"]
EnvelopeEncoding: TypeAlias = Literal["base64", "json_text"]

MIN_ANSWER_SECONDS = 0.05
"""The least time in which a request may have to be answered."""


class EnvelopeConfig(Table, frozen=True, kw_only=True):
    """Where the message is in a request: the path of a text, and what that is."""

    member: Annotated[str, Meta(description="The path of the message, such as `message.data`.")]
    encoding: Annotated[
        EnvelopeEncoding, Meta(description="What is there: a text in Base64, or a text that is JSON (`json_text`).")
    ]


ENVELOPES = {
    "pubsub": EnvelopeConfig(member="message.data", encoding="base64"),
    "sns": EnvelopeConfig(member="Message", encoding="json_text"),
}


class WebhookConfig(SignatureConfig, WithHeaders, frozen=True, kw_only=True):
    """How a source's webhooks are signed, and which of them count."""

    signatures: Annotated[
        list[SignatureConfig],
        Meta(
            description="Several ways of signing, of which each request has one: tables with the keys above. One "
            "without `secret_variables` has those above."
        ),
    ] = field(default_factory=list)
    envelope: Annotated[
        Literal["pubsub", "sns"] | EnvelopeConfig | None,
        Meta(
            description="What is around the message that the contract reads: that of Google's Pub/Sub, of Amazon's "
            'SNS, or `{ member = "message.data", encoding = "base64" }`, where `json_text` is a text with JSON. With '
            '`scheme = "sns"` it is that of SNS.'
        ),
    ] = None
    contract: ContractPlace = None
    only_headers: Annotated[
        dict[str, object], Meta(description="By header, the accepted values. Other requests are counted and not read.")
    ] = field(default_factory=dict)
    ping: Annotated[
        str | None,
        Meta(
            description="A regular expression for whole bodies with which the sender tests the address, unsigned. Such "
            "a request is answered 200, and nothing is done. WooCommerce needs `webhook_id=[0-9]+`.",
        ),
    ] = None
    busy: Annotated[
        Busy,
        Meta(
            description="What a request is answered when there is no room for it. `503`: the sender repeats it. `429`: "
            "likewise, for senders that slow down after it. `keep`, for senders that never repeat one: it is stored "
            "as a dead letter, answered 202, and taken by the workers."
        ),
    ] = "503"
    answer_within: Annotated[
        Duration | None,
        Meta(
            description='With `busy = "keep"`: after this time, such as 400ms, a request that is not taken yet is kept '
            "likewise."
        ),
    ] = None

    fetch: Annotated[
        list[FetchConfig],
        Meta(description="What is fetched because of notifications that have only the id of a record."),
    ] = field(default_factory=list)

    @cached_property
    def answer_seconds(self) -> float | None:
        """After how many seconds a request is kept if it is not taken by then; None for any number."""
        return None if self.answer_within is None else parse_duration(self.answer_within)

    @cached_property
    def message_place(self) -> EnvelopeConfig | None:
        """Where the message is in a request; None if it is the request."""
        if self.envelope is None:
            return ENVELOPES["sns"] if self.scheme == "sns" else None
        return ENVELOPES[self.envelope] if isinstance(self.envelope, str) else self.envelope

    @cached_property
    def forms(self) -> Sequence[tuple[str, SignatureConfig]]:
        """Each way of signing, with the place of its secrets in this table, which has those of all that have none."""
        if not self.signatures:
            return [("", self)]
        return [
            (f".signatures[{index}]" if form.secret_variables else "", self._with_secrets(form))
            for index, form in enumerate(self.signatures)
        ]

    def _with_secrets(self, form: SignatureConfig) -> SignatureConfig:
        own = {name: getattr(form, name) for name in SIGNATURE_KEYS}
        return SignatureConfig(**own | {SECRETS: form.secret_variables or self.secret_variables})


def check_webhook(key: str, webhook: WebhookConfig) -> Iterator[ConfigurationError]:
    """Yields every problem that the types of the table do not exclude."""
    if webhook.signatures:
        yield from _check_signatures(key, webhook)
    else:
        yield from check_signature(key, webhook)
    yield from check_headers(key, webhook.only_headers)
    if isinstance(webhook.envelope, EnvelopeConfig):
        yield from check_path(f"{key}.envelope.member", webhook.envelope.member, "message.data")
    yield from _check_answer(key, webhook)
    yield from check_fetches(f"{key}.fetch", webhook.fetch)


def _check_signatures(key: str, webhook: WebhookConfig) -> Iterator[ConfigurationError]:
    """The table's own keys are those of the only way of signing, if there is one; secrets may be shared."""
    for name in SIGNATURE_KEYS:
        if name != SECRETS and getattr(webhook, name) != getattr(SignatureConfig(), name):
            yield ConfigurationError(f"{key}.{name}", f"belongs in one of {key}.signatures, since there are several")
    for index, form in enumerate(webhook.signatures):
        yield from check_signature(f"{key}.signatures[{index}]", form, webhook)


def _check_answer(key: str, webhook: WebhookConfig) -> Iterator[ConfigurationError]:
    if webhook.answer_within is None:
        return
    try:
        seconds = parse_duration(webhook.answer_within)
    except ValueError as error:
        yield ConfigurationError(f"{key}.answer_within", str(error))
        return
    if seconds < MIN_ANSWER_SECONDS:
        yield ConfigurationError(f"{key}.answer_within", f"is less than {MIN_ANSWER_SECONDS * 1000:.0f}ms")
    if webhook.busy != "keep":
        problem = 'goes with busy = "keep": what is not taken by then has to be kept'
        yield ConfigurationError(f"{key}.answer_within", problem)
