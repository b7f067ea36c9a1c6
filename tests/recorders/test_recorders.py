"""Applications of the `eventsourcing` library in the shop's own log, on either store."""

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from uuid import UUID, uuid4

import pytest
from eventsourcing.persistence import (
    DatabaseError,
    DataError,
    InfrastructureFactory,
    InfrastructureFactoryError,
    IntegrityError,
    InterfaceError,
    Notification,
    OperationalError,
    ProgrammingError,
    StoredEvent,
    Tracking,
)
from eventsourcing.projection import EventSourcedProjectionRunner, ProjectionRunner
from eventsourcing.utils import get_topic, register_topic

import pagefold
from pagefold import Config, Shop
from pagefold.engine.applied.applied_log import TOPIC
from pagefold.engine.configuration.config import CONFIG_VARIABLE, STORE_VARIABLE
from pagefold.engine.errors import StoreError, StoreUnavailable
from pagefold.engine.recorders import PagefoldApplicationRecorder, PagefoldFactory, PagefoldProcessRecorder
from pagefold.engine.recorders import subscription as subscribing
from pagefold.engine.stores.store import Store
from tests.conftest import assert_nothing_is_open
from tests.support.library_application import (
    REGISTERED,
    Dog,
    Dogs,
    PriceProjection,
    Prices,
    PriceStated,
    Tags,
    environment,
)
from tests.support.small_shop import CHANNELS, SKU, append, catalog, pages_of, price, say, section

SECONDS_TO_HEAR = 0.1  # less than half of the polling interval
SECONDS_TO_END = 20.0
SECONDS_TO_LOOK = 3 * SECONDS_TO_END


@pytest.fixture
def factory(store_url: str, config: Config) -> Iterator[PagefoldFactory]:
    """A factory on a new store, which leaves nothing open."""
    with PagefoldFactory({STORE_VARIABLE: store_url}) as made:
        yield made
        made.close()
    assert_nothing_is_open(config)


@pytest.fixture
def recorder(factory: PagefoldFactory) -> PagefoldApplicationRecorder:
    """A recorder of the factory."""
    return recorder_of(factory)


@pytest.fixture
def dogs(store_url: str) -> Iterator[Dogs]:
    """An application in a new store."""
    with Dogs(environment(store_url)) as application:
        yield application


def recorder_of(factory: PagefoldFactory) -> PagefoldApplicationRecorder:
    """A recorder of a factory."""
    made = factory.application_recorder()
    assert isinstance(made, PagefoldApplicationRecorder)
    return made


def stored(topic: str = "topic", *, identifier: UUID | str | None = None, version: int = 1) -> StoredEvent:
    """An arbitrary event."""
    return StoredEvent(identifier or uuid4(), version, topic, b"{}")


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether it becomes true within that time."""
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.001)
    return holds()


class Listening(threading.Thread):
    """Reads a subscription to its end, in a thread, and records when each event came."""

    def __init__(self, subscription: Iterator[Notification]) -> None:
        super().__init__()
        self.received: list[Notification] = []
        self.moments: list[float] = []
        self.error: BaseException | None = None
        self._subscription = subscription
        self.start()

    def run(self) -> None:
        try:
            for notification in self._subscription:
                self.moments.append(time.monotonic())
                self.received.append(notification)
        except Exception as error:  # noqa: BLE001  # the test checks it
            self.error = error

    def waits_for(self, count: int) -> bool:
        """Whether it receives that many events."""
        return within(SECONDS_TO_END, lambda: len(self.received) >= count)

    def ended(self) -> bool:
        """Whether it ends."""
        self.join(SECONDS_TO_END)
        return not self.is_alive()


# --- applications ---------------------------------------------------------------------------------


def test_an_application_saves_and_reads(dogs: Dogs) -> None:
    """Aggregates come back unchanged, with snapshots and at earlier versions."""
    fido = dogs.register("Fido", "roll over", "play dead", "fetch")
    dog = dogs.dog(fido)
    assert (dog.name, dog.tricks, dog.version) == ("Fido", ["roll over", "play dead", "fetch"], 4)
    assert dogs.snapshots is not None
    assert [snapshot.originator_version for snapshot in dogs.snapshots.get(fido)] == [3]
    earlier: Dog = dogs.repository.get(fido, version=2)
    assert earlier.tricks == ["roll over"]
    dog.add_trick("sit")
    stale = dogs.dog(fido)
    dogs.save(dog)
    stale.add_trick("jump")
    with pytest.raises(IntegrityError):
        dogs.save(stale)
    assert dogs.dog(fido).tricks[-1] == "sit"


async def test_an_application_and_a_shop_share_the_log(shop: Shop, dogs: Dogs) -> None:
    """The notification log has the shop's events at their positions; the shop folds its own and ignores others."""
    await append(shop, catalog("T-Shirt"))
    fido = dogs.register("Fido", "fetch")
    await append(shop, price("9.90"))
    dogs.register("Rex")
    await shop.catch_up()

    log = dogs.notification_log["1,10"].items
    assert [notification.id for notification in log] == [1, 2, 3, 4, 5, 6]
    topics = [notification.topic.rpartition(".")[2] for notification in log]
    assert topics == ["catalog", "Registered", "TrickAdded", "pricing", "Registered", TOPIC]
    assert log[0].originator_id == f"{SKU}/*/catalog/pim"
    assert log[1].originator_id == fido
    assert (await section(shop, "pricing"))["amount"] == "9.90"
    assert set(await pages_of(shop)) == {(SKU, channel) for channel in CHANNELS}
    status = await shop.status()
    assert status.lag_events == 0
    assert {each.domain: each.applied for each in status.domains if each.applied} == {"catalog": 1, "pricing": 1}
    assert [each.dead_letters for each in status.domains] == [0, 0, 0, 0]


async def test_domain_events_are_appended_by_the_shop_only(shop: Shop, dogs: Dogs) -> None:
    """A domain's topic or stream cannot be written without validation, whatever else is in the call."""
    await say(shop, catalog("T-Shirt"))
    for refused in (
        stored("pricing"),
        stored("topic", identifier=f"{SKU}/*/catalog/pim", version=9),
        stored("topic", identifier=f"{SKU}/web-de/pricing/erp"),
    ):
        with pytest.raises(ProgrammingError, match=r"Shop\.append"):
            dogs.recorder.insert_events([stored(), refused])
    assert dogs.recorder.max_notification_id() == 2  # the second is the configuration
    [event] = dogs.recorder.select_events(f"{SKU}/*/catalog/pim")
    assert (event.topic, event.originator_version) == ("catalog", 1)


def test_a_follower_records_with_its_position(store_url: str, config: Config) -> None:
    """A process recorder, driven by a subscription, turns each event into others once, also after a restart."""
    env = environment(store_url)
    for names in (["Fido", "Rex"], ["Bello"]):
        with EventSourcedProjectionRunner(application_class=Dogs, projection_class=Tags, env=env) as runner:
            for name in names:
                runner.app.register(name, "fetch")
            with Dogs(env) as others:  # another store in this process: another connection to the log
                others.register(f"{name} II")
            registered = runner.app.recorder.select_notifications(None, 100, topics=[REGISTERED])
            runner.wait(registered[-1].id, timeout=SECONDS_TO_END)
            assert isinstance(runner.projection.recorder, PagefoldProcessRecorder)
            texts = runner.projection.texts()
    assert texts == [f"I am {name}" for name in ("Fido", "Rex", "Rex II", "Bello", "Bello II")]
    del runner, others
    gc.collect()
    assert_nothing_is_open(config)


async def test_a_projection_follows_the_shop(shop: Shop, store_url: str) -> None:
    """A tracking recorder stores a view's position among the shop's events, which a class with their topic can read."""
    register_topic(PriceStated.TOPIC, PriceStated)
    await append(shop, catalog("T-Shirt"), price("9.90"))
    with ProjectionRunner(
        application_class=Dogs, projection_class=PriceProjection, view_class=Prices, env=environment(store_url)
    ) as runner:
        [_, newest] = await append(shop, price("8.90", version=2), price("7.90", sku="MUG"))
        runner.wait(newest.position, timeout=SECONDS_TO_END)
        stream = f"{SKU}/*/pricing/erp"
        assert runner.view.stated == [f"{stream} 9.90", f"{stream} 8.90", "MUG/*/pricing/erp 7.90"]
        assert runner.view.max_tracking_id("Dogs") == newest.position
    del runner  # the only one with the view's factory
    gc.collect()


# --- subscriptions --------------------------------------------------------------------------------


def test_a_subscription_receives_immediately(recorder: PagefoldApplicationRecorder, store_url: str) -> None:
    """Events recorded in this process, through this store or another one, arrive immediately."""
    other = PagefoldFactory({STORE_VARIABLE: store_url})
    with recorder.subscribe() as subscription:
        listening = Listening(subscription)
        for writer in (recorder, other.application_recorder()):
            recorded: list[float] = []
            before = len(listening.received)
            for count in range(1, 16):
                time.sleep(0.003)
                writer.insert_events([stored()])
                recorded.append(time.monotonic())
                assert listening.waits_for(before + count)
            delays = [received - sent for received, sent in zip(listening.moments[before:], recorded, strict=True)]
            assert median(delays) < SECONDS_TO_HEAR
        subscription.stop()
        assert listening.ended()
    other.close()


def test_a_subscription_misses_nothing(recorder: PagefoldApplicationRecorder, store_url: str) -> None:
    """With concurrent writers on two stores, every event arrives once, in the order of the log."""
    other = PagefoldFactory({STORE_VARIABLE: store_url})
    writers = (recorder, other.application_recorder())

    def write(number: int) -> None:
        for _ in range(20):
            identifier = uuid4()
            writers[number % 2].insert_events([stored(identifier=identifier, version=v) for v in range(number + 1)])

    with recorder.subscribe() as subscription, ThreadPoolExecutor(4) as pool:
        listening = Listening(subscription)
        list(pool.map(write, range(4)))
        assert listening.waits_for(200)
        subscription.stop()
        assert listening.ended()
    assert listening.received == recorder.select_notifications(None, 1_000)
    other.close()


def test_a_subscription_to_rare_topics_moves_on(
    recorder: PagefoldApplicationRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events of other topics are skipped once, not searched again with every new one."""
    monkeypatch.setattr(subscribing, "BATCH_EVENTS", 2)
    recorder.insert_events([stored("common") for _ in range(20)])
    recorder.insert_events([stored(f"rare {number}") for number in range(5)])
    starts: list[int] = []
    records = recorder.datastore.store.records
    notifications = records.notifications

    async def spied(start: int, stop: int, topics: tuple[str, ...], limit: int) -> object:
        starts.append(start)
        return await notifications(start, stop, topics, limit)

    monkeypatch.setattr(records, "notifications", spied)
    with recorder.subscribe(gt=3, topics=["rare 0", "rare 2", "rare 3"]) as subscription:
        listening = Listening(subscription)
        assert listening.waits_for(3)
        recorder.insert_events([stored("common") for _ in range(20)])
        assert within(SECONDS_TO_END, lambda: starts == [4, 24, 26])
        recorder.insert_events([stored("rare 3")])
        assert listening.waits_for(4)
    assert listening.ended()
    assert [notification.id for notification in listening.received] == [21, 23, 24, 46]


def test_a_subscription_ends_when_stopped(store_url: str) -> None:
    """A stop from another thread ends a wait immediately, as does closing the store, and no thread is left."""
    before = set(threading.enumerate())
    recorder = recorder_of(PagefoldFactory({STORE_VARIABLE: store_url}))
    recorder.datastore.poll_seconds = SECONDS_TO_LOOK  # so that it ends in time only if it is interrupted
    subscription = recorder.subscribe()
    listening, closed = Listening(subscription), Listening(recorder.subscribe())
    time.sleep(0.05)
    subscription.stop()
    assert listening.ended()
    subscription.stop()
    recorder.datastore.close()
    assert closed.ended()
    assert (listening.error, closed.error) == (None, None)
    assert within(SECONDS_TO_END, lambda: set(threading.enumerate()) <= before), threading.enumerate()


def test_a_subscription_outlasts_an_outage(
    recorder: PagefoldApplicationRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subscription waits for an unavailable store, up to a time, after which it raises an error."""
    recorder.insert_events([stored()])
    records = recorder.datastore.store.records
    notifications = records.notifications
    outage = iter(range(2))

    async def unreliable(*arguments: object) -> object:
        if next(outage, None) is not None:
            raise StoreUnavailable("here", OSError("gone"))
        return await notifications(*arguments)  # type: ignore[arg-type]  # passed on unchanged

    monkeypatch.setattr(records, "notifications", unreliable)
    with recorder.subscribe() as subscription:
        assert next(subscription).id == 1
    outage = iter(range(1_000_000))
    monkeypatch.setattr(subscribing, "RETRY_SECONDS", 0.1)
    with recorder.subscribe() as subscription, pytest.raises(OperationalError, match="gone"):
        next(subscription)


# --- the recorders --------------------------------------------------------------------------------


def test_unstorable_events_are_refused(recorder: PagefoldApplicationRecorder) -> None:
    """Both stores refuse what one of them could not store, before anything is written."""
    for wrong in (
        stored("nu\0ll"),
        stored("lone \ud800"),
        stored(identifier="nu\0ll"),
        stored(version=-1),
        stored(version=2**53),
    ):
        with pytest.raises(DataError):
            recorder.insert_events([stored(), wrong])
    assert recorder.max_notification_id() is None


def test_a_store_s_errors_are_the_library_s(
    recorder: PagefoldApplicationRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each error of a store becomes the library's equivalent, with its message."""
    expected: list[tuple[Exception, type[DatabaseError]]] = [
        (StoreUnavailable("here", OSError("gone")), OperationalError),
        (StoreError("no"), DatabaseError),
        (LookupError("bug"), DatabaseError),
    ]
    for error, translated in expected:

        async def fail(*_: object, error: Exception = error) -> object:
            raise error

        monkeypatch.setattr(recorder.datastore.store.records, "insert", fail)
        with pytest.raises(translated, match=str(error)) as raised:
            recorder.insert_events([stored()])
        assert type(raised.value) is translated


def test_a_closed_store_says_so(factory: PagefoldFactory, recorder: PagefoldApplicationRecorder) -> None:
    """After `close`, which may be called again, every call raises `InterfaceError`."""
    factory.close()
    factory.close()
    with pytest.raises(InterfaceError, match="closed"):
        recorder.insert_events([stored()])
    with pytest.raises(InterfaceError, match="closed"):
        factory.tracking_recorder().insert_tracking(Tracking("upstream", 1))


def test_a_store_can_be_closed_from_its_own_thread(store_url: str, config: Config) -> None:
    """The garbage collector runs in any thread, also the store's own: closing works there too."""
    before = set(threading.enumerate())
    recorder = recorder_of(PagefoldFactory({STORE_VARIABLE: store_url}))

    async def collect() -> None:
        recorder.datastore.close()

    recorder.datastore.call(collect)
    assert recorder.datastore.closed
    assert within(SECONDS_TO_END, lambda: set(threading.enumerate()) <= before), threading.enumerate()
    assert_nothing_is_open(config)


def test_identifiers_come_back_unchanged(store_url: str) -> None:
    """A UUID is returned as one, and other text as text; with the setting, all are text."""
    identifier = uuid4()
    for kind, given in (("uuid", identifier), ("text", identifier.hex)):
        factory = PagefoldFactory({STORE_VARIABLE: store_url, "ORIGINATOR_ID_TYPE": kind})
        recorder = factory.application_recorder()
        if kind == "uuid":
            recorder.insert_events([stored(identifier=identifier), stored(identifier="Fido"), stored(identifier="A/B")])
        assert recorder.select_events(identifier)[0].originator_id == given
        notifications = recorder.select_notifications(1, 3)
        assert [notification.originator_id for notification in notifications] == [given, "Fido", "A/B"]
        factory.close()


# --- the environment ------------------------------------------------------------------------------


def test_the_environment_names_the_store(store_url: str, tmp_path: Path) -> None:
    """The store is found by its URL or by a configuration, also in the application's own variable."""
    file = tmp_path / "pagefold.toml"
    file.write_text(f'[store]\nurl = "{store_url}"\n[sources]\n[channels]\n', encoding="utf-8")
    module = {"PERSISTENCE_MODULE": "pagefold.engine.recorders"}
    for number, names in enumerate(
        ({STORE_VARIABLE: store_url}, {"DOGS_" + STORE_VARIABLE: store_url}, {CONFIG_VARIABLE: str(file)}), start=1
    ):
        with Dogs(module | names) as dogs:
            assert isinstance(dogs.factory, PagefoldFactory)
            dogs.register("Fido")
            assert dogs.recorder.max_notification_id() == number


def test_the_environment_names_the_schema(postgres_url: str) -> None:
    """Applications in different schemas of a database do not see each other."""
    for schema in ("one", "two"):
        with Dogs(environment(postgres_url, PAGEFOLD_SCHEMA=schema)) as dogs:
            dogs.register("Fido")
            assert dogs.recorder.max_notification_id() == 1


def test_a_wrong_environment_is_explained(tmp_path: Path) -> None:
    """The error names what is missing or invalid in the environment, and what would be valid."""
    url = f"sqlite:///{tmp_path / 'shop'}"
    expected: list[tuple[dict[str, str], type[Exception], str]] = [
        ({}, OSError, "set DOGS_PAGEFOLD_STORE or PAGEFOLD_STORE .* or DOGS_PAGEFOLD_CONFIG or PAGEFOLD_CONFIG"),
        ({STORE_VARIABLE: "mysql://here"}, pagefold.ConfigurationError, r"store\.url: 'mysql://here'"),
        (
            {CONFIG_VARIABLE: str(tmp_path / "none.toml")},
            pagefold.ConfigurationError,
            r"no configuration at .*none\.toml",
        ),
        ({STORE_VARIABLE: url, "PAGEFOLD_SCHEMA": "A B"}, pagefold.ConfigurationError, r"store\.schema: 'A B'"),
        ({STORE_VARIABLE: url, "ORIGINATOR_ID_TYPE": "int"}, OSError, "ORIGINATOR_ID_TYPE is 'int'"),
        ({STORE_VARIABLE: url, "CREATE_TABLE": "no"}, OperationalError, "there is no store at"),
        (
            {STORE_VARIABLE: url, "APPLICATION_RECORDER_TOPIC": get_topic(Dogs)},
            InfrastructureFactoryError,
            "APPLICATION_RECORDER_TOPIC is .*Dogs.*not a subclass of PagefoldApplicationRecorder",
        ),
    ]
    for env, error, message in expected:
        with pytest.raises(error, match=message):
            Dogs({"PERSISTENCE_MODULE": "pagefold.engine.recorders", **env})


class OwnRecorder(PagefoldProcessRecorder):
    """A class that the environment names."""


def test_the_environment_names_the_recorders(tmp_path: Path) -> None:
    """The classes of an application's recorders can be chosen, and there are only two kinds of tables."""
    env = environment(f"sqlite:///{tmp_path / 'shop'}")
    env["APPLICATION_RECORDER_TOPIC"] = env["PROCESS_RECORDER_TOPIC"] = get_topic(OwnRecorder)
    factory: InfrastructureFactory = InfrastructureFactory.construct(env)
    assert type(factory.application_recorder()) is OwnRecorder
    assert type(factory.process_recorder()) is OwnRecorder
    with pytest.raises(InfrastructureFactoryError, match="'snapshots'"):
        factory.aggregate_recorder("timetables")
    factory.close()


FORGETFUL = """
import sys
from tests.support.library_application import Dogs, environment
dogs = Dogs(environment(sys.argv[1]))
dogs.register("Fido")
print(next(dogs.recorder.subscribe()).id)
"""


REMARKS = (
    "a crash of the server's machine",  # the test server runs without fsync
    "Executing <",  # on a busy machine, asyncio's debug mode finds a step slow
)
"""Lines that may appear on standard error."""


def test_a_program_that_closes_nothing_ends(store_url: str, store: Store) -> None:
    """A program with an application that was never closed ends, cleanly."""
    command = [sys.executable, "-X", "dev", "-c", FORGETFUL, store_url]
    done = subprocess.run(command, capture_output=True, check=False, timeout=30, text=True)
    complaints = [line for line in done.stderr.splitlines() if not any(remark in line for remark in REMARKS)]
    assert (done.returncode, complaints) == (0, [])
    assert done.stdout.splitlines()[-1] == "1"
