"""Tracked positions of applications of the `eventsourcing` library, and a log that was restored to an earlier state."""

from collections.abc import Iterator
from uuid import uuid4

import apsw
import psycopg
import pytest
from eventsourcing.persistence import DatabaseError, StoredEvent, Tracking
from eventsourcing.utils import Environment

from pagefold.engine.recorders import PagefoldApplicationRecorder, PagefoldFactory
from pagefold.engine.recorders.log_recorders import PagefoldTrackingRecorder
from pagefold.engine.stores.sqlite import folder_of


@pytest.fixture
def recorder(store_url: str) -> Iterator[PagefoldApplicationRecorder]:
    """A recorder over a new store."""
    factory = PagefoldFactory(Environment("tests", {PagefoldFactory.PAGEFOLD_STORE: store_url}))
    made = factory.application_recorder()
    assert isinstance(made, PagefoldApplicationRecorder)
    yield made
    factory.close()


def test_a_subscription_ends_with_the_log_that_it_followed(
    recorder: PagefoldApplicationRecorder, store_url: str
) -> None:
    """If the log is restored to a state before its last event, it fails rather than waits."""
    recorder.insert_events([StoredEvent(uuid4(), 0, f"topic {number}", b"{}") for number in range(5)])
    subscription = recorder.subscribe()
    assert [next(subscription).id for _ in range(5)] == [1, 2, 3, 4, 5]
    cut_off(store_url, 3)
    with pytest.raises(DatabaseError, match="followed another log up to position 5"):
        next(subscription)
    with pytest.raises(DatabaseError, match="followed another log up to position 9"):
        next(recorder.subscribe(gt=9))


def test_a_tracked_position_is_proved(recorder: PagefoldApplicationRecorder, store_url: str) -> None:
    """A position in this log that now has another event is refused; one in another log is not checked."""
    followers = PagefoldTrackingRecorder(recorder.datastore)
    recorder.insert_events([StoredEvent(uuid4(), 0, "topic", b"{}") for number in range(5)])
    followers.insert_tracking(Tracking("of this log", 4))
    followers.insert_tracking(Tracking("of another", 400))
    assert (followers.max_tracking_id("of this log"), followers.max_tracking_id("of another")) == (4, 400)
    cut_off(store_url, 3)
    assert followers.max_tracking_id("of another") == 400
    with pytest.raises(DatabaseError, match="'of this log' has followed another log up to position 4"):
        followers.max_tracking_id("of this log")


def cut_off(url: str, position: int) -> None:
    """Deletes the events after a position."""
    if url.startswith("sqlite:"):
        connection = apsw.Connection(str(folder_of(url) / "events.db"))
        connection.execute("DELETE FROM stored_events WHERE notification_id > ?", (position,))
        connection.close()
        return
    with psycopg.connect(url) as session:
        session.execute("DELETE FROM pagefold.stored_events WHERE notification_id > %s", (position,))
