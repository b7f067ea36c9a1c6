"""Releases: prepared statements, which count once they are published, above those of every source. Pure."""

import re

PREFIX = "release/"

RELEASE_DOMAINS = frozenset({"catalog", "media", "pricing"})
"""The domains that a release may write. Stock is counted and cannot be prepared."""

MAX_NAME_LENGTH = 64

_name = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_NAME_LENGTH}}}", re.ASCII)


def release_source(name: str) -> str:
    """The source of a release's statements."""
    return PREFIX + name


def release_of(source: str) -> str | None:
    """The name of the release whose statements a source has; None if it is no release."""
    name = source.removeprefix(PREFIX)
    return name if name != source and is_release_name(name) else None


def is_release_name(name: str) -> bool:
    """Whether a release may have this name: letters, digits, `.`, `_` and `-`, at most 64."""
    return _name.fullmatch(name) is not None
