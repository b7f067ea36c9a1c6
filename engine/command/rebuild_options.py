"""The options of `pagefold rebuild`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from pagefold.engine.command.options import DOMAIN_NAMES, Processes
from pagefold.projections.streams import normalise_sku


@dataclass(frozen=True, kw_only=True)
class RebuildOptions:
    """The command's options."""

    source: Annotated[list[str] | None, Parameter(metavar="SOURCE")] = None
    """Rebuild only this source. Repeat for several."""

    domain: Annotated[list[str] | None, Parameter(choices=DOMAIN_NAMES)] = None
    """Rebuild only this domain. Repeat for several."""

    sku: Annotated[str | None, Parameter(metavar="PREFIX")] = None
    """Rebuild only SKUs that begin with this."""

    dry_run: Annotated[bool, Parameter(show_default=False)] = False
    """Compare and report; change nothing."""

    max_orphans: Annotated[str | None, Parameter(metavar="N|P%")] = None
    """How many streams of a source may be withdrawn, or lose fields, without --yes: a number, or a share such as 5%,
    which is at least 5. By default the configuration's, else 5% or 500, whichever is less."""

    resume: Annotated[str | None, Parameter(metavar="RUN")] = None
    """Resume this run, which was interrupted, held or failed."""

    yes: Annotated[bool, Parameter(show_default=False)] = False
    """Withdraw everything that the snapshot does not have, whatever its number."""

    new_epoch: Annotated[bool, Parameter(show_default=False)] = False
    """Put every row of the snapshot, and everything that the source sends from now on, into the source's next epoch,
    whatever versions the log has. For version counters that were restarted or corrupted."""

    origin: Annotated[Literal["log"] | None, Parameter(name="--from", show_choices=False, metavar="log")] = None
    """Only compare the pages with the log, and fold what has drifted; read no snapshot."""

    processes: Processes = None
    """How many processes compare the pages. By default one, or one per processor where the log has 300,000 events or
    more."""

    @property
    def prefix(self) -> str:
        """The prefix of SKUs, normalised; "" for all."""
        return normalise_sku(self.sku or "")
