"""The format of secrets, so that they are recognised and redacted wherever they appear."""

import re
from hashlib import sha256

PREFIX = "pagefold_"
"""The prefix of every secret, by which people and leak scanners recognise one."""

DIGITS_IN_NAME = 12

SECRET = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}", re.ASCII)


class Secret(str):
    """A client's secret. Printed only on purpose: its `repr`, as in logs, hides it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{PREFIX}…>"


def redact_secrets(text: str) -> str:
    """Replaces the secrets of tokens in a text by the tokens' names: safe for logs and messages."""
    return SECRET.sub(lambda found: name_of(digest_of(found[0])), text)


def digest_of(secret: str) -> bytes:
    """The SHA-256 of a secret, which stores keep."""
    return sha256(secret.encode()).digest()


def name_of(digest: bytes) -> str:
    """The name of the token whose secret has this digest. It is not secret."""
    return f"tok_{digest.hex()[:DIGITS_IN_NAME]}"
