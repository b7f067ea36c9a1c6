"""`[alerts]`: who is notified when a key figure is crossed, and when it has recovered."""

from collections.abc import Iterator, Mapping
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta, field

from pagefold.engine.configuration.spelling import suggestion
from pagefold.engine.configuration.toml_tables import Table, check_variable
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.kpis.definitions import BY_NAME, Severity


class AlertConfig(Table, frozen=True):
    """One target of alerts: an address or a command."""

    url: Annotated[
        str | None, Meta(description="An address, `http` or `https`, to which each message is posted as JSON.")
    ] = None
    header_variables: Annotated[
        dict[str, str],
        Meta(description="With `url`: by header of the request, the environment variable with its value."),
    ] = field(default_factory=dict)
    command: Annotated[
        list[str],
        Meta(description="A program and its arguments, which gets each message as JSON on its standard input."),
    ] = field(default_factory=list)
    kpis: Annotated[list[str], Meta(description="Only these key figures. Without it, all.")] = field(
        default_factory=list
    )
    severities: Annotated[
        list[Severity], Meta(description="Only key figures of these severities. Without it, all.")
    ] = field(default_factory=list)

    def wants(self, kpi: str, severity: Severity) -> bool:
        """Whether it is notified of a key figure."""
        return (not self.kpis or kpi in self.kpis) and (not self.severities or severity in self.severities)


def check_alerts(targets: Mapping[str, AlertConfig]) -> Iterator[ConfigurationError]:
    """Yields every problem that the types of the tables do not exclude."""
    for name, target in targets.items():
        key = f"alerts.{name}"
        if (target.url is None) == (not target.command):
            yield ConfigurationError(key, "needs either a url or a command")
        if target.url is not None and not _is_address(target.url):
            yield ConfigurationError(f"{key}.url", "is not an address such as 'https://alerts.example/pagefold'")
        if target.url is None and target.header_variables:
            yield ConfigurationError(f"{key}.header_variables", "goes with a url")
        for header, variable in target.header_variables.items():
            yield from check_variable(f"{key}.header_variables.{header}", variable)
        for kpi in target.kpis:
            if kpi not in BY_NAME:
                problem = f"unknown key figure {kpi!r}; {suggestion(kpi, BY_NAME, 'key figures')}"
                yield ConfigurationError(f"{key}.kpis", problem)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and url.isascii() and url.isprintable()
