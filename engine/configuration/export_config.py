"""`[….export]`: an export that an endpoint prepares, and that is downloaded when it is done."""

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated

from msgspec import Meta

from pagefold.engine.configuration.durations import Duration, parse_duration
from pagefold.engine.configuration.toml_tables import Table, check_path
from pagefold.engine.errors import ConfigurationError


class ExportConfig(Table, frozen=True, kw_only=True):
    """How an export is watched that the endpoint's request has started, and where it is downloaded from.

    `{path}` in `url` and `body` stands for a value of the response that started it.
    """

    url: Annotated[
        str | None, Meta(description="The address that says how far it is. Without it, that of the endpoint.")
    ] = None
    body: Annotated[
        dict[str, object] | str | None,
        Meta(description="What is sent there: a table, as JSON, or a text. Without it, the request is a GET."),
    ] = None
    status: Annotated[str, Meta(description="The path of its status.")]
    done: Annotated[list[str | int | bool], Meta(description="The statuses that say that it can be downloaded.")]
    failed: Annotated[
        list[str | int | bool], Meta(description="Those that say that it will not be done. Others: it takes longer.")
    ]
    address: Annotated[str, Meta(description="The path of its address: a file with a JSON value in each line.")]
    partial: Annotated[
        str | None,
        Meta(description="The path of the address of what there is of one that failed. It is never complete."),
    ] = None
    count: Annotated[
        str | None, Meta(description="The path of the number of its lines, which have to be as many in the file.")
    ] = None
    every: Annotated[Duration, Meta(description="After how long its status is asked for again.")] = "5s"
    within: Annotated[Duration, Meta(description="How long it may take.")] = "2h"

    @cached_property
    def every_seconds(self) -> float:
        """After how many seconds its status is asked for again."""
        return parse_duration(self.every)

    @cached_property
    def within_seconds(self) -> float:
        """How many seconds it may take."""
        return parse_duration(self.within)


def check_export(key: str, export: ExportConfig) -> Iterator[ConfigurationError]:
    """Yields every problem that the types of the table do not exclude."""
    for name in ("status", "address", "partial", "count"):
        path: str | None = getattr(export, name)
        if path is not None:
            yield from check_path(f"{key}.{name}", path, f"data.job.{name}")
    if not export.done:
        yield ConfigurationError(f"{key}.done", "is empty: no export would ever be done")
    for name in ("every", "within"):
        try:
            parse_duration(getattr(export, name))
        except ValueError as error:
            yield ConfigurationError(f"{key}.{name}", str(error))
