"""What a secret looks like, so that it is recognised wherever it turns up, and is never told by mistake."""

import re
from hashlib import sha256

PREFIX = "pagefold_"
"""What every secret begins with, so that people and scanners of leaks recognise one."""

DIGITS_IN_NAME = 12

SECRET = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}", re.ASCII)


class Secret(str):
    """What a client shows to be let in. Whole where it is printed on purpose; its `repr`, as in logs, does not tell."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{PREFIX}…>"


def redact_secrets(text: str) -> str:
    """The text with the names of tokens where it has their secrets: fit for logs and messages."""
    return SECRET.sub(lambda found: name_of(digest_of(found[0])), text)


def digest_of(secret: str) -> bytes:
    """The SHA-256 of a secret: what a store has of it."""
    return sha256(secret.encode()).digest()


def name_of(digest: bytes) -> str:
    """The name of the token whose secret has this digest. It is no secret."""
    return f"tok_{digest.hex()[:DIGITS_IN_NAME]}"
