"""The options and exit codes of every command."""

import os
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from pagefold.domains import DOMAINS
from pagefold.engine.applied.applied_configuration import AppliedConfiguration
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.spelling import suggestion
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.runtime import logs

LOG_LEVEL_VARIABLE = "PAGEFOLD_LOG_LEVEL"

Reason = Annotated[str, Parameter(name="--reason", help="The reason, for the record.")]

_everywhere = Group("Options of every command", sort_key=99)


class Exit(IntEnum):
    """Exit codes. A command that SIGINT or SIGTERM ended early gives 130 or 143 instead."""

    DONE = 0
    REFUSED = 1
    """Done, but some items were refused, or nothing was found."""
    USAGE = 2
    """Bad usage or configuration; nothing was done."""
    FAILED = 3
    """The store or a source failed."""
    BROKEN_PIPE = 141
    """The reader of the output is gone: the code that shells report for SIGPIPE."""


class UsageError(Exception):
    """The command's arguments are wrong or contradict each other."""

    def __init__(self, argument: str, problem: str) -> None:
        super().__init__(f"{argument}: {problem}")


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of every command, before or after its name."""

    config: Annotated[Path | None, Parameter(name="--config", group=_everywhere, metavar="FILE")] = None
    """The configuration file, instead of PAGEFOLD_CONFIG or ./pagefold.toml."""

    store: Annotated[str | None, Parameter(name="--store", group=_everywhere, metavar="URL")] = None
    """The store, instead of PAGEFOLD_STORE or the configuration's: sqlite:///folder or postgresql://…"""

    log_level: Annotated[logs.Level | None, Parameter(name="--log-level", group=_everywhere)] = None
    """The lowest level that is logged, instead of PAGEFOLD_LOG_LEVEL; by default `warning`; `info` for work."""

    def load(self) -> Config:
        """The configuration. Raises `ConfigurationError`."""
        return Config.load(self.config, store=self.store)

    def start_logging(self, usual: logs.Level = "warning") -> None:
        """Configures logging, at the level `usual` unless one was given. Raises `ConfigurationError`."""
        logs.configure(self.level() or usual)

    def level(self) -> logs.Level | None:
        """The level that was given, or None. Raises `ConfigurationError`."""
        if self.log_level is not None:
            return self.log_level
        given = os.environ.get(LOG_LEVEL_VARIABLE, "").lower()
        for level in logs.LEVELS:
            if given == level:
                return level
        if given:
            raise ConfigurationError(
                LOG_LEVEL_VARIABLE, f"unknown level {given!r}; {suggestion(given, logs.LEVELS, 'levels')}"
            )
        return None


Injected = Annotated[Options, Parameter(parse=False)]
"""A command's parameter `options`, which `launch` passes."""

AsJSON = Annotated[bool, Parameter(name="--json", show_default=False)]
Processes = Annotated[int | None, Parameter(validator=Number(gte=1), show_default=False)]
DOMAIN_NAMES = [domain.name for domain in DOMAINS]
DomainName = Annotated[str, Parameter(choices=DOMAIN_NAMES)]


def unknown_channel(name: str, config: Config) -> str:
    """The message for an unknown channel, with the known ones."""
    return f"unknown channel {name!r}; {suggestion(name, config.channels, 'channels')}"


def check_has_pages(channel: str, applied: AppliedConfiguration) -> None:
    """Raises `UsageError` for a channel that has no pages: it is unknown, or not applied yet."""
    if channel in applied.config.channels:
        return
    if channel in applied.file.channels:
        problem = f"channel {channel!r} is not applied yet; `pagefold plan` shows what would change"
        raise UsageError("CHANNEL", problem)
    raise UsageError("CHANNEL", unknown_channel(channel, applied.config))


def unknown_source(name: str, config: Config) -> str:
    """The message for an unknown source, with the known ones."""
    return f"unknown source {name!r}; {suggestion(name, config.sources, 'sources')}"
