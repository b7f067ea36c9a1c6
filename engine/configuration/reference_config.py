"""`[references]`: the ids under which other systems know SKUs."""

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from pagefold.domains.references import kind_error
from pagefold.engine.configuration.toml_tables import Table
from pagefold.engine.errors import ConfigurationError


class ReferencesConfig(Table, frozen=True):
    """The ids under which other systems know SKUs."""

    groups: Annotated[
        tuple[str, ...],
        Meta(
            description="The kinds of which many SKUs may have one id, such as `shopify:product`: an id names a group. "
            "Of any other kind, an id that several SKUs have is reported, and nothing is taken under it."
        ),
    ] = ()
    max_withdrawn: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="SKUs of a group that one delivery may withdraw. One that would withdraw more is kept in dead "
            "letters; `pagefold dead-letters retry` takes it.",
        ),
    ] = 100


def check_references(references: ReferencesConfig) -> Iterator[ConfigurationError]:
    """Yields the kinds that cannot be one."""
    for kind in references.groups:
        if (problem := kind_error(kind)) is not None:
            yield ConfigurationError("references.groups", f"{kind!r:.100} {problem}")
