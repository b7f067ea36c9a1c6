"""The parts of a shop that its key figures are read from."""

from typing import Protocol

from pagefold.engine.dead_letters.retention import Retention
from pagefold.engine.delivery.target_service import TargetService
from pagefold.engine.reading.readiness import Checked
from pagefold.engine.reading.source_lag import SourceLag
from pagefold.engine.runtime.counters import Counters
from pagefold.engine.sagas.saga_service import SagaService


class Monitored(Checked, Protocol):
    """What `pagefold.engine.reading.readiness.Checked` has, and more."""

    @property
    def source_lag(self) -> SourceLag:
        """How far the sources are behind that are asked."""

    @property
    def targets(self) -> TargetService:
        """The systems that pages are delivered to."""

    @property
    def sagas(self) -> SagaService:
        """The pages that several targets get together."""

    @property
    def retention(self) -> Retention:
        """What dead letters lose."""

    @property
    def counters(self) -> Counters:
        """What this process has done."""

    @property
    def queued(self) -> int:
        """How many events are waiting to be appended by this process."""
