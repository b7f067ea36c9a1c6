"""`[[sources.X.webhook.fetch]]`: what is fetched because of a notification that has only the id of a record."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated

from msgspec import Meta, field

from pagefold.domains.references import kind_error
from pagefold.engine.configuration.durations import Duration, parse_duration
from pagefold.engine.configuration.endpoint_checks import check_endpoint
from pagefold.engine.configuration.endpoint_config import EndpointConfig
from pagefold.engine.configuration.request_templates import has_place_in_host
from pagefold.engine.configuration.toml_tables import ContractPlace, Table, check_values
from pagefold.engine.errors import ConfigurationError


class MissingConfig(Table, frozen=True):
    """Which SKUs a record is of that is not there any more: those of a reference, or one."""

    kind: Annotated[
        str | None, Meta(description="The kind of the reference, such as `shopify:product`; `id` has its id.")
    ] = None
    id: Annotated[str | None, Meta(description="The path of the reference's id in the notification.")] = None
    sku: Annotated[str | None, Meta(description="The path of the SKU in the notification, if that has it.")] = None
    empty: Annotated[
        bool, Meta(description="Whether an answer without any row, or with null in place of it, means the same as 404.")
    ] = False


class FetchConfig(EndpointConfig, frozen=True):
    """A record that is fetched because of a notification.

    In `url`, and in the texts of `body`, `{path}` stands for the value at a path of the notification.
    """

    only: Annotated[
        dict[str, object],
        Meta(
            description="By path of the notification, or `@header.X`, the values of those that make this fetch. "
            "Without it, all do."
        ),
    ] = field(default_factory=dict)
    items: Annotated[
        str | None,
        Meta(description="The path of the notifications in a message. Without it, the message is one."),
    ] = None
    rows: Annotated[
        str | None,
        Meta(
            description="The path of the rows in a response. Without it, the response is the row, or the array of rows."
        ),
    ] = None
    contract: ContractPlace = None
    missing: Annotated[
        MissingConfig | None,
        Meta(
            description="What the answers 404 and 410 withdraw: what this source has said of the record. Without it, "
            "they are failures."
        ),
    ] = None
    after: Annotated[
        Duration, Meta(description="How long a fetch waits for more notifications of the same record.")
    ] = "500ms"

    @cached_property
    def after_seconds(self) -> float:
        """How many seconds a fetch waits."""
        return parse_duration(self.after)

    @property
    def attempts(self) -> int:
        """One: the table of wanted fetches has the retries."""
        return 1

    @property
    def takes_object(self) -> bool:
        """An answer may be a row, and not an array of rows."""
        return True


def check_fetches(key: str, fetches: Sequence[FetchConfig]) -> Iterator[ConfigurationError]:
    """Yields every problem of the fetches of an entrance."""
    for number, fetch in enumerate(fetches):
        yield from check_fetch(f"{key}[{number}]", fetch)


def check_fetch(key: str, fetch: FetchConfig) -> Iterator[ConfigurationError]:
    """Yields every problem that the types of the table do not exclude."""
    yield from check_endpoint(key, fetch)
    yield from check_values(f"{key}.only", fetch.only, "the values to accept, such as ['product']")
    if has_place_in_host(fetch.url or ""):
        yield ConfigurationError(f"{key}.url", "must name its host: a notification cannot choose where a token goes")
    for name in ("items", "rows"):
        path: str | None = getattr(fetch, name)
        if path is not None and not all(path.split(".")):
            yield ConfigurationError(f"{key}.{name}", f"{path!r} is not a dotted path such as 'data.{name}'")
    try:
        parse_duration(fetch.after)
    except ValueError as error:
        yield ConfigurationError(f"{key}.after", str(error))
    if fetch.missing is not None:
        yield from _check_missing(f"{key}.missing", fetch.missing)


def _check_missing(key: str, missing: MissingConfig) -> Iterator[ConfigurationError]:
    if (missing.sku is None) == (missing.kind is None) or (missing.kind is None) != (missing.id is None):
        yield ConfigurationError(key, "needs either sku, or kind and id: what the record is of")
    elif missing.kind is not None and (problem := kind_error(missing.kind)) is not None:
        yield ConfigurationError(f"{key}.kind", f"{missing.kind!r:.100} {problem}")
