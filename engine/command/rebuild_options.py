"""The options of `pagefold rebuild`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from pagefold.engine.command.options import DOMAIN_NAMES, Processes
from pagefold.projections.streams import normalise_sku


@dataclass(frozen=True, kw_only=True)
class RebuildOptions:
    """What is asked for."""

    source: Annotated[list[str] | None, Parameter(metavar="SOURCE")] = None
    """Only this source; may be given several times."""

    domain: Annotated[list[str] | None, Parameter(choices=DOMAIN_NAMES)] = None
    """Only this domain; may be given several times."""

    sku: Annotated[str | None, Parameter(metavar="PREFIX")] = None
    """Only products whose SKU begins with this."""

    dry_run: Annotated[bool, Parameter(show_default=False)] = False
    """Compare and report; change nothing, neither the log nor a page."""

    max_orphans: Annotated[str | None, Parameter(metavar="N|P%")] = None
    """From how many streams of a source something may be taken away unasked: a number, or a share of them such as 5%,
    which is never less than 5. Usually what the configuration says, and without that 5% or 500, whichever is less."""

    resume: Annotated[str | None, Parameter(metavar="RUN")] = None
    """Go on with this run, which was interrupted, held or has failed."""

    yes: Annotated[bool, Parameter(show_default=False)] = False
    """Take away whatever the snapshot does not have, however much that is."""

    new_epoch: Annotated[bool, Parameter(show_default=False)] = False
    """Declare the snapshot of the source the truth: every row is in the source's next epoch, whatever versions the log
    has, and so is what the source says from now on. For counters that were restarted or corrupted."""

    origin: Annotated[Literal["log"] | None, Parameter(name="--from", show_choices=False, metavar="log")] = None
    """Only go over the pages, and fold again from the log what has drifted; no source is asked."""

    processes: Processes = None
    """How many processes look at the pages. Unless given: one, and as many as there are
    processors where the log has 300,000 events or more."""

    @property
    def prefix(self) -> str:
        """What SKUs begin with, as they are in the log; "" for all."""
        return normalise_sku(self.sku or "")
