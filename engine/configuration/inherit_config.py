"""`[sources.X.inherit]`: variants inherit from their parents."""

from collections.abc import Collection, Iterator
from typing import Annotated

from msgspec import Meta

from pagefold.domains import DOMAINS
from pagefold.engine.configuration.toml_tables import Table
from pagefold.engine.errors import ConfigurationError
from pagefold.projections.channels import MAX_LEVELS, Inherit


class InheritConfig(Table, frozen=True):
    """What the source states of a variant is laid over what it states of its parent."""

    levels: Annotated[
        int,
        Meta(
            ge=1,
            le=MAX_LEVELS,
            description="The most parents above a variant: its parent, the parent of that, and so on.",
        ),
    ] = MAX_LEVELS
    ignore_case: Annotated[
        bool,
        Meta(description="Whether `Tee` names the parent `TEE`. A product with exactly that name comes first."),
    ] = False
    own: Annotated[
        tuple[str, ...], Meta(description="The attributes that a variant never takes from a parent, such as `gtin`.")
    ] = ()

    def resolved(self) -> Inherit:
        """The same for the fold."""
        return Inherit(self.levels, self.ignore_case, self.own)


def check_inherit(key: str, inherit: InheritConfig | None, domains: Collection[str]) -> Iterator[ConfigurationError]:
    """Yields why a source with these domains cannot inherit."""
    named = [domain.name for domain in DOMAINS if domain.parent_field is not None]
    if inherit is not None and not any(name in domains for name in named):
        yield ConfigurationError(key, f"only sources of {' or '.join(named)} have parents")
