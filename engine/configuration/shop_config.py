"""`[shop]`: which shop this is, as people read it in the dashboard and in alerts."""

import re
from collections.abc import Iterator
from typing import Annotated, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from msgspec import Meta

from pagefold.engine.configuration.toml_tables import Table
from pagefold.engine.errors import ConfigurationError

PRODUCTION = "production"
"""The environment of customers. Every other name is one where mistakes cost nothing."""

RUNBOOKS_FILE = "docs/runbooks.md"
RUNBOOKS_PATH = "/ui/runbooks"

MAX_NAME_LENGTH = 60

_environment = re.compile(r"[a-z][a-z0-9-]{0,23}", re.ASCII)

ShopName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_LENGTH)]


class ShopConfig(Table, frozen=True):
    """Which shop this is."""

    name: Annotated[
        ShopName | None,
        Meta(
            description="Its name, as the dashboard and alerts show it. Without it, that of the folder of this file.",
        ),
    ] = None
    environment: Annotated[
        str | None,
        Meta(
            description='What it is for, such as `"production"` or `"staging"`: the dashboard shows it in colour, and '
            "alerts name it.",
        ),
    ] = None
    address: Annotated[
        str | None,
        Meta(
            description="The address under which people reach the server, such as `https://pagefold.example`. Alerts "
            "link to the dashboard below it."
        ),
    ] = None


class ShopIdentity(NamedTuple):
    """Which shop this is. `address` is where its server is reached, without a slash at its end, if it is known.

    `is_named`: the configuration says the name or the environment, so that a message to people should say it, too.
    """

    name: str
    environment: str | None
    address: str | None
    is_named: bool

    @property
    def is_production(self) -> bool:
        """Whether it is the environment of customers."""
        return self.environment == PRODUCTION

    @property
    def text(self) -> str:
        """Its name and environment, such as `Sunrise, staging`."""
        return self.name if self.environment is None else f"{self.name}, {self.environment}"

    @property
    def runbooks(self) -> str | None:
        """The address of the runbooks in the dashboard, if that of the server is known."""
        return None if self.address is None else self.address + RUNBOOKS_PATH

    def runbook(self, section: str) -> str:
        """Where a section of the runbooks is: in the dashboard if its address is known, else in the documentation."""
        return f"{RUNBOOKS_FILE}#{section}" if self.runbooks is None else f"{self.runbooks}/{section}"


def identity_of(shop: ShopConfig, folder: str) -> ShopIdentity:
    """Which shop a table names. `folder` is the name of the folder of its file, which may be empty."""
    name = shop.name or folder[:MAX_NAME_LENGTH] or "Pagefold"
    address = None if shop.address is None else shop.address.rstrip("/")
    return ShopIdentity(name, shop.environment, address, shop.name is not None or shop.environment is not None)


def check_shop(shop: ShopConfig) -> Iterator[ConfigurationError]:
    """Yields every problem that the types of the table do not exclude."""
    if shop.name is not None and not (shop.name.isprintable() and shop.name.strip() == shop.name):
        yield ConfigurationError("shop.name", "has characters that cannot be shown, or space around it")
    if shop.environment is not None and _environment.fullmatch(shop.environment) is None:
        problem = f"{shop.environment!r:.100}: use 1 to 24 lower-case letters, digits and '-', such as 'production'"
        yield ConfigurationError("shop.environment", problem)
    if shop.address is not None and not _is_address(shop.address):
        problem = "is not an address such as 'https://pagefold.example', without parameters or a password"
        yield ConfigurationError("shop.address", problem)


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    is_bare = not (parts.query or parts.fragment or parts.username or parts.password or "?" in text or "#" in text)
    is_web = parts.scheme in {"http", "https"} and bool(parts.hostname) and port != 0
    return is_bare and is_web and text.isascii() and text.isprintable() and " " not in text
