"""The recorders pass the `eventsourcing` library's own test cases, imported and run as they are, on either store."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from eventsourcing.persistence import AggregateRecorder, ApplicationRecorder, ProcessRecorder, TrackingRecorder
from eventsourcing.tests import application, persistence
from eventsourcing.utils import Environment, get_topic

from pagefold.engine.configuration.config import STORE_VARIABLE
from pagefold.engine.recorders import (
    PagefoldAggregateRecorder,
    PagefoldApplicationRecorder,
    PagefoldFactory,
    PagefoldProcessRecorder,
    PagefoldTrackingRecorder,
)


class OnSQLite:
    """Every test has a new SQLite store at `url`."""

    url: str

    @pytest.fixture(autouse=True)
    def _store(self, tmp_path: Path) -> None:
        self.url = f"sqlite:///{tmp_path / 'shop'}"


class OnPostgres:
    """Every test has a new PostgreSQL store at `url`."""

    url: str

    @pytest.fixture(autouse=True)
    def _store(self, postgres_url: str) -> None:
        self.url = postgres_url


class Recorders:
    """Recorders at that store, closed after the test."""

    url: str
    factory: PagefoldFactory

    @pytest.fixture(autouse=True)
    def _factory(self, _store: None) -> Iterator[None]:
        self.factory = PagefoldFactory({STORE_VARIABLE: self.url})
        yield
        self.factory.close()


class Aggregates(Recorders):
    """What the suite of aggregate recorders asks for: events."""

    def create_recorder(self) -> AggregateRecorder:
        return self.factory.aggregate_recorder()


class Snapshots(Recorders):
    """The same suite holds for snapshots."""

    def create_recorder(self) -> AggregateRecorder:
        return self.factory.aggregate_recorder("snapshots")


class Applications(Recorders):
    """What the suites of application recorders ask for."""

    def create_recorder(self) -> ApplicationRecorder:
        return self.factory.application_recorder()


class Trackings(Recorders):
    """What the suite of tracking recorders asks for."""

    def create_recorder(self) -> TrackingRecorder:
        return self.factory.tracking_recorder()


class Processes(Recorders):
    """What the suite of process recorders asks for."""

    def create_recorder(self) -> ProcessRecorder:
        return self.factory.process_recorder()


class Subscribing(persistence.ApplicationRecorderTestCase):
    """The suite of application recorders, with the test that the library leaves to choice."""

    __test__ = False

    def test_insert_subscribe(self) -> None:
        """What is recorded reaches its subscribers, on either store."""
        self.optional_test_insert_subscribe()


class OtherTracking(PagefoldTrackingRecorder):
    """A class that a projection names."""


class Factories:
    """What the suite of factories asks for."""

    url: str
    env: Environment

    @pytest.fixture(autouse=True)
    def _environment(self, _store: None) -> None:
        self.env = Environment(env={"PERSISTENCE_MODULE": "pagefold.engine.recorders", STORE_VARIABLE: self.url})

    def expected_factory_class(self) -> type[PagefoldFactory]:
        return PagefoldFactory

    def expected_aggregate_recorder_class(self) -> type[AggregateRecorder]:
        return PagefoldAggregateRecorder

    def expected_application_recorder_class(self) -> type[ApplicationRecorder]:
        return PagefoldApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[TrackingRecorder]:
        return PagefoldTrackingRecorder

    def tracking_recorder_subclass(self) -> type[TrackingRecorder]:
        return OtherTracking

    def expected_process_recorder_class(self) -> type[ProcessRecorder]:
        return PagefoldProcessRecorder


class Examples:
    """What the library's example of an application asks for."""

    url: str
    expected_factory_topic = get_topic(PagefoldFactory)

    @pytest.fixture(autouse=True)
    def _environment(self, _store: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PERSISTENCE_MODULE", "pagefold.engine.recorders")
        monkeypatch.setenv("BANKACCOUNTS_" + STORE_VARIABLE, self.url)


class TestAggregatesOnSQLite(OnSQLite, Aggregates, persistence.AggregateRecorderTestCase):
    """Events by aggregate."""


class TestAggregatesOnPostgres(OnPostgres, Aggregates, persistence.AggregateRecorderTestCase):
    """Events by aggregate."""


class TestSnapshotsOnSQLite(OnSQLite, Snapshots, persistence.AggregateRecorderTestCase):
    """Snapshots by aggregate."""


class TestSnapshotsOnPostgres(OnPostgres, Snapshots, persistence.AggregateRecorderTestCase):
    """Snapshots by aggregate."""


class TestApplicationsOnSQLite(OnSQLite, Applications, Subscribing):
    """The sequence of an application, and subscriptions to it."""

    __test__ = True


class TestApplicationsOnPostgres(OnPostgres, Applications, Subscribing):
    """The sequence of an application, and subscriptions to it."""

    __test__ = True


class TestOrderOnSQLite(OnSQLite, Applications, persistence.NonInterleavingNotificationIDsBaseCase):
    """Positions of two concurrent inserts do not interleave."""


class TestOrderOnPostgres(OnPostgres, Applications, persistence.NonInterleavingNotificationIDsBaseCase):
    """Positions of two concurrent inserts do not interleave."""


class TestTrackingOnSQLite(OnSQLite, Trackings, persistence.TrackingRecorderTestCase):
    """Positions of followers."""


class TestTrackingOnPostgres(OnPostgres, Trackings, persistence.TrackingRecorderTestCase):
    """Positions of followers."""


class TestProcessesOnSQLite(OnSQLite, Processes, persistence.ProcessRecorderTestCase):
    """Events and the position of what caused them, together."""


class TestProcessesOnPostgres(OnPostgres, Processes, persistence.ProcessRecorderTestCase):
    """Events and the position of what caused them, together."""


class TestFactoryOnSQLite(OnSQLite, Factories, persistence.InfrastructureFactoryTestCase[PagefoldFactory]):
    """The factory that the environment names."""


class TestFactoryOnPostgres(OnPostgres, Factories, persistence.InfrastructureFactoryTestCase[PagefoldFactory]):
    """The factory that the environment names."""


class TestExampleOnSQLite(OnSQLite, Examples, application.ExampleApplicationTestCase):
    """Bank accounts, with snapshots."""


class TestExampleOnPostgres(OnPostgres, Examples, application.ExampleApplicationTestCase):
    """Bank accounts, with snapshots."""
