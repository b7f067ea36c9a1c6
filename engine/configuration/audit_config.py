"""`[audit]`: how long it is kept who did what."""

from typing import Annotated

from msgspec import Meta

from pagefold.engine.configuration.toml_tables import Table


class AuditConfig(Table, frozen=True):
    """How long the audit is kept."""

    keep_days: Annotated[
        int, Meta(ge=1, le=36_500, description="The days after which entries of the audit are removed.")
    ] = 400
