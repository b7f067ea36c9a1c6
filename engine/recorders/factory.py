"""The factory that an application finds by the name of this package, and the environment variables that it reads."""

from typing import ClassVar, TypeVar, cast

import msgspec
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    InfrastructureFactoryError,
    ProcessRecorder,
    Recorder,
)
from eventsourcing.utils import Environment, EnvType, resolve_topic, strtobool

from pagefold.engine.configuration.config import CONFIG_VARIABLE, STORE_VARIABLE, Config
from pagefold.engine.recorders.datastore import Datastore
from pagefold.engine.recorders.log_recorders import (
    PagefoldAggregateRecorder,
    PagefoldApplicationRecorder,
    PagefoldProcessRecorder,
    PagefoldTrackingRecorder,
)
from pagefold.engine.stores.recorder_records import RecordTable

AnyRecorder = TypeVar("AnyRecorder", bound=Recorder)


class PagefoldFactory(InfrastructureFactory[PagefoldTrackingRecorder]):
    """Recorders over one open store: the one in the environment, or that of a given datastore.

    A given datastore defines the store and how identifiers are read. Otherwise raises `OSError` if the environment is
    incomplete, `ConfigurationError` if it is wrong, and `OperationalError` if the store does not respond.
    """

    PAGEFOLD_STORE = STORE_VARIABLE
    PAGEFOLD_CONFIG = CONFIG_VARIABLE
    PAGEFOLD_SCHEMA = "PAGEFOLD_SCHEMA"
    ORIGINATOR_ID_TYPE = "ORIGINATOR_ID_TYPE"
    CREATE_TABLE = "CREATE_TABLE"

    aggregate_recorder_class: ClassVar[type[PagefoldAggregateRecorder]] = PagefoldAggregateRecorder
    application_recorder_class: ClassVar[type[PagefoldApplicationRecorder]] = PagefoldApplicationRecorder
    tracking_recorder_class: ClassVar[type[PagefoldTrackingRecorder]] = PagefoldTrackingRecorder
    process_recorder_class: ClassVar[type[PagefoldProcessRecorder]] = PagefoldProcessRecorder

    def __init__(self, env: Environment | EnvType | None, datastore: Datastore | None = None) -> None:
        super().__init__(env)
        self.datastore = self._opened() if datastore is None else datastore

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        """A recorder of `events`, or of `snapshots`."""
        if purpose not in {"events", "snapshots"}:
            problem = f"unknown purpose {purpose!r}; use 'events' or 'snapshots'"
            raise InfrastructureFactoryError(problem)
        return self.aggregate_recorder_class(self.datastore, cast("RecordTable", f"stored_{purpose}"))

    def application_recorder(self) -> ApplicationRecorder:
        """A recorder for an application, of the class set in the environment."""
        return self._class(self.APPLICATION_RECORDER_TOPIC, self.application_recorder_class)(self.datastore)

    def tracking_recorder(
        self, tracking_recorder_class: type[PagefoldTrackingRecorder] | None = None
    ) -> PagefoldTrackingRecorder:
        """A recorder for a projection, of the given class, else of the class set in the environment."""
        if tracking_recorder_class is None:
            tracking_recorder_class = self._class(self.TRACKING_RECORDER_TOPIC, self.tracking_recorder_class)
        _check_class("the tracking recorder", tracking_recorder_class, self.tracking_recorder_class)
        return tracking_recorder_class(self.datastore)

    def process_recorder(self) -> ProcessRecorder:
        """A recorder for an application that follows others, of the class set in the environment."""
        return self._class(self.PROCESS_RECORDER_TOPIC, self.process_recorder_class)(self.datastore)

    def close(self) -> None:
        """Ends subscriptions and closes the datastore. A no-op if it is closed."""
        self.datastore.close()

    def _opened(self) -> Datastore:
        kind = self.env.get(self.ORIGINATOR_ID_TYPE, "uuid").lower()
        if kind not in {"uuid", "text"}:
            problem = f"{self._named(self.ORIGINATOR_ID_TYPE)} is {kind!r}; it may be 'uuid' or 'text'"
            raise OSError(problem)
        create = strtobool(self.env.get(self.CREATE_TABLE) or "yes")
        return Datastore.open(self._config(), create=create, uuids=kind == "uuid")

    def _config(self) -> Config:
        url, file = self.env.get(self.PAGEFOLD_STORE), self.env.get(self.PAGEFOLD_CONFIG)
        if file:
            config = Config.load(file, store=url)
        elif url:
            config = Config.parse({"store": {"url": url}, "sources": {}, "channels": {}}, store=url)
        else:
            store, path = self._named(self.PAGEFOLD_STORE), self._named(self.PAGEFOLD_CONFIG)
            problem = f"set {store} to a store's URL, or {path} to a configuration: the environment has neither"
            raise OSError(problem)
        return self._in_schema(config)

    def _in_schema(self, config: Config) -> Config:
        schema = self.env.get(self.PAGEFOLD_SCHEMA)
        if not schema:
            return config
        document = msgspec.to_builtins(config)
        document["store"]["schema"] = schema
        return Config.parse(document, store=config.store.url)

    def _class(self, key: str, default: type[AnyRecorder]) -> type[AnyRecorder]:
        topic = self.env.get(key)
        if not topic:
            return default
        found = resolve_topic(topic)
        _check_class(key, found, default)
        return cast("type[AnyRecorder]", found)

    def _named(self, key: str) -> str:
        return " or ".join(self.env.create_keys(key))


def _check_class(name: str, found: object, base: type[Recorder]) -> None:
    if not (isinstance(found, type) and issubclass(found, base)):
        problem = f"{name} is {found!r}, which is not a subclass of {base.__qualname__}"
        raise InfrastructureFactoryError(problem)
