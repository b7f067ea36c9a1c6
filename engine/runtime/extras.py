"""What is not installed with `pagefold` alone: the command line, the server, rebuilds, recorders and contracts."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Literal, TypeAlias

from pagefold.engine.errors import ExtraMissing

Extra: TypeAlias = Literal[
    "cli", "contracts", "eventsourcing", "kafka", "mysql", "nats", "rebuild", "redis", "server", "signatures"
]

EXTRA_OF: dict[str, Extra] = {
    "aiolimiter": "rebuild",
    "aiomysql": "mysql",
    "confluent_kafka": "kafka",
    "cronsim": "rebuild",
    "cryptography": "signatures",
    "backports": "rebuild",
    "cyclopts": "cli",
    "eventsourcing": "eventsourcing",
    "httptools": "server",
    "httpx2": "rebuild",
    "iso4217": "contracts",
    "jinja2": "server",
    "jwt": "signatures",
    "markdown_it": "server",
    "minijinja": "contracts",
    "nats": "nats",
    "oauthlib": "rebuild",
    "prometheus_client": "server",
    "re2": "contracts",
    "redis": "redis",
    "rich": "cli",
    "starlette": "server",
    "uvicorn": "server",
    "uvloop": "server",
}
"""The extra that brings a package, by the name under which it is imported."""


def missing_extra(error: BaseException, user: str, extra: Extra | None = None) -> ExtraMissing | None:
    """The error to raise when a package is missing that `user` imports; None where `error` has another reason."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ModuleNotFoundError):
        cause = cause.__cause__
    package = "" if cause is None else (cause.name or "").partition(".")[0]
    return ExtraMissing(user, extra or EXTRA_OF[package], package) if package in EXTRA_OF else None


def is_installed(extra: Extra) -> bool:
    """Whether every package of an extra can be imported."""
    return all(find_spec(package) is not None for package, brought_by in EXTRA_OF.items() if brought_by == extra)


@contextmanager
def needs_extra(user: str, extra: Extra) -> Iterator[None]:
    """The block imports what `extra` brings. Raises `ExtraMissing` where it is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = missing_extra(error, user, extra)
        if missing is None:
            raise
        raise missing from error
