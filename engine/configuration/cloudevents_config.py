"""`[sources.X.cloudevents]`: which CloudEvents are read by a contract. Others are in Pagefold's own form."""

from collections.abc import Iterator, Sequence
from typing import Annotated

from msgspec import Meta, field

from pagefold.engine.configuration.fetch_config import FetchConfig, check_fetches
from pagefold.engine.configuration.toml_tables import ContractPlace, Table
from pagefold.engine.errors import ConfigurationError

ANY_END = "*"
"""At the end of a value: whatever begins with what is before it."""


class CloudEventsConfig(Table, frozen=True, kw_only=True):
    """Which CloudEvents say something of a source in a form of their own."""

    contract: ContractPlace = None
    sources: Annotated[
        list[str],
        Meta(
            description="The values of `source` that count; with a `*` at its end, a value is a beginning. Without it, "
            "every source counts."
        ),
    ] = field(default_factory=list)
    types: Annotated[
        list[str], Meta(description="The values of `type` that count, likewise. Without it, every type counts.")
    ] = field(default_factory=list)

    fetch: Annotated[
        list[FetchConfig],
        Meta(description="What is fetched because of events that have only the id of a record."),
    ] = field(default_factory=list)

    def takes(self, source: object, kind: object) -> bool:
        """Whether an event with this `source` and this `type` counts."""
        return _is_among(source, self.sources) and _is_among(kind, self.types)


def _is_among(value: object, accepted: Sequence[str]) -> bool:
    if not accepted:
        return True
    return isinstance(value, str) and any(
        value.startswith(each[:-1]) if each.endswith(ANY_END) else value == each for each in accepted
    )


def check_cloudevents(key: str, cloudevents: CloudEventsConfig) -> Iterator[ConfigurationError]:
    """Yields every problem that the types of the table do not exclude."""
    if not cloudevents.sources and not cloudevents.types:
        yield ConfigurationError(key, "needs `sources` or `types`: which CloudEvents it is about")
    yield from check_fetches(f"{key}.fetch", cloudevents.fetch)
    for name in ("sources", "types"):
        for index, value in enumerate(getattr(cloudevents, name)):
            if not value:
                yield ConfigurationError(f"{key}.{name}[{index}]", f"is empty; {ANY_END!r} is every value")
