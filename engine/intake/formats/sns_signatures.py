"""Messages of Amazon's SNS over HTTP, which are signed inside of the body (docs.aws.amazon.com/sns).

The certificate of the key is at an address in the message, which must be SNS's own in the region of a topic that the
configuration names: anyone else could sign. A topic sends nothing before its subscription is confirmed, by a request to
an address in its first message, which is checked likewise.
"""

import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeAlias
from urllib.parse import SplitResult, parse_qs, urlsplit

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm

from pagefold.domains.domain import DECODE_ERRORS
from pagefold.engine.configuration.signature_config import topic_name
from pagefold.engine.errors import Rejected
from pagefold.engine.intake.formats.json_bodies import Headers
from pagefold.engine.intake.formats.key_signatures import Keys

TYPE_HEADER = "x-amz-sns-message-type"

NOTIFICATION, CONFIRMATION = "Notification", "SubscriptionConfirmation"

SIGNED = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    CONFIRMATION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
SIGNED["UnsubscribeConfirmation"] = SIGNED[CONFIRMATION]
"""The members that are signed, by type of message, in this order; `Subject` only where there is one."""

HASHES: dict[str, HashAlgorithm] = {"1": SHA1(), "2": SHA256()}  # noqa: S303  # topics sign by version 1 unless they are set to 2
"""The hash by version of the signature."""

_certificate = re.compile(r"/SimpleNotificationService-[A-Za-z0-9]{1,64}\.pem", re.ASCII)

Confirm: TypeAlias = Callable[[str], Awaitable[object]]
"""Sends a GET request. Raises `SourceFailed`."""


class _Message(msgspec.Struct, rename="pascal"):
    """What is signed in a message, and how."""

    type: str
    topic_arn: str
    message_id: str
    message: str
    timestamp: str
    signature_version: str
    signature: str
    signing_cert_url: str = msgspec.field(name="SigningCertURL")
    subject: str | None = None
    token: str | None = None
    subscribe_url: str | None = msgspec.field(name="SubscribeURL", default=None)


_decoder = msgspec.json.Decoder(_Message)


class SnsForm:
    """Requests of SNS, of some topics. Their subscriptions are confirmed."""

    headers = (TYPE_HEADER,)

    def __init__(self, topics: Sequence[str], certificates: Keys, confirm: Confirm) -> None:
        self._topics = frozenset(topics)
        self._certificates = certificates
        self._confirm = confirm

    async def check(self, _headers: Headers, body: bytes, _now: datetime) -> str | None:
        """See `SignatureForm`. A confirmation has been answered when it returns."""
        try:
            message = _decoder.decode(body)
        except DECODE_ERRORS as error:
            raise Rejected("", f"is not a message of SNS: {error}") from None
        if message.topic_arn not in self._topics:
            raise Rejected("TopicArn", f"{message.topic_arn!r:.100} is not among `topics`")
        await self._check_signature(message)
        if message.type == NOTIFICATION:
            return None
        if message.type == CONFIRMATION:
            await self._confirm(_confirmation_address(message))
            return f"the subscription to {message.topic_arn} is confirmed"
        return f"the subscription to {message.topic_arn} has ended"

    async def _check_signature(self, message: _Message) -> None:
        hashing, signed = HASHES.get(message.signature_version), _signed_text(message)
        if hashing is None:
            raise Rejected("SignatureVersion", f"is {message.signature_version!r:.20}; expected 1 or 2")
        address = _address_of_region(message.signing_cert_url, message.topic_arn)
        if address is None or address.query or _certificate.fullmatch(address.path) is None:
            raise Rejected("SigningCertURL", "is not an address of SNS in the region of the topic")
        key = await self._certificates.key(message.signing_cert_url)
        try:
            signature = base64.b64decode(message.signature, validate=True)
            if key is not None:
                key.verify(signature, signed, PKCS1v15(), hashing)
                return
        except (binascii.Error, ValueError, InvalidSignature):
            pass
        raise Rejected("Signature", "does not match")


def _signed_text(message: _Message) -> bytes:
    """The text that is signed: name and value of each member, each on a line."""
    names = SIGNED.get(message.type)
    if names is None:
        raise Rejected("Type", f"{message.type!r:.60} is not a type of message")
    given = msgspec.to_builtins(message)
    lines = [f"{name}\n{given[name]}\n" for name in names if given.get(name) is not None]
    return "".join(lines).encode(errors="surrogatepass")


def _address_of_region(url: str, topic: str) -> SplitResult | None:
    """The parts of an address, if it is one of SNS in the region of a topic that is well-formed; else None."""
    found = topic_name.fullmatch(topic)
    suffix = ".amazonaws.com.cn" if topic.startswith("arn:aws-cn:") else ".amazonaws.com"
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    is_one = found is not None and (parts.scheme, parts.netloc) == ("https", f"sns.{found[1]}{suffix}")
    return parts if is_one else None


def _confirmation_address(message: _Message) -> str:
    """The address that confirms a subscription. Raises `Rejected` unless it does that and nothing else."""
    url = message.subscribe_url or ""
    parts = _address_of_region(url, message.topic_arn)
    asked = {} if parts is None else parse_qs(parts.query)
    if asked.get("Action") != ["ConfirmSubscription"] or asked.get("TopicArn") != [message.topic_arn]:
        raise Rejected("SubscribeURL", "is not an address that confirms a subscription to the topic")
    return url
