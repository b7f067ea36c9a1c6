"""Private keys of senders, and what they sign: detached JWS, tokens, messages of SNS, made without the library."""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

TOPIC = "arn:aws:sns:eu-west-1:123456789012:products"
SNS = "https://sns.eu-west-1.amazonaws.com"
CERTIFICATE = f"{SNS}/SimpleNotificationService-0123456789abcdef.pem"


def unpadded(data: bytes) -> str:
    """Base64 for URLs, without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def as_json(value: object) -> bytes:
    """A value as JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


class SigningKey(NamedTuple):
    """A private key with its `kid`."""

    kid: str
    private: rsa.RSAPrivateKey

    @property
    def public(self) -> dict[str, object]:
        """The public key as a member of a key set."""
        numbers = self.private.public_key().public_numbers()
        modulus = numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8)
        return {"kty": "RSA", "kid": self.kid, "use": "sig", "e": "AQAB", "n": unpadded(modulus)}

    def sign(self, text: bytes) -> bytes:
        """The signature of a text, as RS256 has it."""
        return self.private.sign(text, padding.PKCS1v15(), SHA256())

    def jws(self, body: bytes, **header: object) -> str:
        """The detached signature of a body, as Saleor sends it. `header` changes members of its header."""
        members = {"alg": "RS256", "kid": self.kid, "b64": False, "crit": ["b64"]} | header
        head = unpadded(as_json({name: value for name, value in members.items() if value is not None}))
        return f"{head}..{unpadded(self.sign(head.encode() + b'.' + body))}"

    def token(self, claims: Mapping[str, object], **header: object) -> str:
        """A token with these claims."""
        head = unpadded(as_json({"alg": "RS256", "typ": "JWT", "kid": self.kid} | header))
        signed = f"{head}.{unpadded(as_json(claims))}"
        return f"{signed}.{unpadded(self.sign(signed.encode()))}"

    def certificate(self) -> bytes:
        """A certificate of the key."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self.private.public_key())
        builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
        return builder.sign(self.private, SHA256()).public_bytes(Encoding.PEM)

    def sns(self, kind: str = "Notification", version: str = "1", **members: str) -> dict[str, str]:
        """A message of SNS, signed. `members` replace others before."""
        message = {
            "Type": kind,
            "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "TopicArn": TOPIC,
            "Message": "{}",
            "Timestamp": "2026-03-03T10:00:00.000Z",
            "SignatureVersion": version,
            "SigningCertURL": CERTIFICATE,
        }
        if kind != "Notification":
            address = f"{SNS}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37"
            message |= {"Token": "2336412f37", "SubscribeURL": address}
        message |= members
        names = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
        text = "".join(f"{name}\n{message[name]}\n" for name in names if name in message)
        hashing = SHA1() if version == "1" else SHA256()  # noqa: S303  # as SNS does it
        signature = self.private.sign(text.encode(), padding.PKCS1v15(), hashing)
        return {**message, "Signature": base64.b64encode(signature).decode()}


@cache
def signing_key(kid: str, bits: int = 2048) -> SigningKey:
    """A key, the same each time."""
    return SigningKey(kid, rsa.generate_private_key(65537, bits))
