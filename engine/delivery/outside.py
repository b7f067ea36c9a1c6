"""What a target is reached by: the variables of the environment with its secrets, and the addresses of its name."""

import os
from collections.abc import Mapping
from typing import NamedTuple

from pagefold.engine.delivery.pinned_addresses import PinnedAddresses
from pagefold.engine.errors import ConfigurationError


class Outside(NamedTuple):
    """What a target is reached by: the variables of the environment, and the addresses of its name."""

    environment: Mapping[str, str] = os.environ
    addresses: PinnedAddresses | None = None


OUTSIDE = Outside()


def secret(key: str, variable: str, environment: Mapping[str, str] = os.environ) -> str:
    """The value of an environment variable. Raises `ConfigurationError`, which does not show it."""
    value = environment.get(variable, "").strip()
    if not value:
        raise ConfigurationError(key, f"the environment variable {variable} is not set or empty")
    if not (value.isascii() and value.isprintable()):
        raise ConfigurationError(key, f"{variable} has characters that a header cannot contain")
    return value
