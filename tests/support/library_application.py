"""Applications of the `eventsourcing` library for tests: dogs that learn tricks, and what follows them."""

from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from eventsourcing.application import Application, ProcessingEvent
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, DomainEventProtocol, event
from eventsourcing.persistence import Tracking
from eventsourcing.projection import EventSourcedProjection, Projection
from eventsourcing.utils import get_topic

from pagefold.engine.configuration.config import STORE_VARIABLE
from pagefold.engine.recorders import PagefoldTrackingRecorder


def environment(url: str, **more: str) -> dict[str, str]:
    """The environment of an application for a store."""
    return {"PERSISTENCE_MODULE": "pagefold.engine.recorders", STORE_VARIABLE: url, **more}


class Dog(Aggregate):
    """A dog."""

    @event("Registered")
    def __init__(self, name: str) -> None:
        self.name = name
        self.tricks: list[str] = []

    @event("TrickAdded")
    def add_trick(self, trick: str) -> None:
        """It learns a trick."""
        self.tricks.append(trick)


REGISTERED = "tests.support.library_application:Dog.Registered"


class Dogs(Application[UUID]):
    """All dogs. A snapshot of one is taken with every third event."""

    snapshotting_intervals = {Dog: 3}  # noqa: RUF012  # the library's own way to say it

    def register(self, name: str, *tricks: str) -> UUID:
        """Registers a dog that knows some tricks."""
        dog = Dog(name)
        for trick in tricks:
            dog.add_trick(trick)
        self.save(dog)
        return dog.id

    def dog(self, identifier: UUID) -> Dog:
        """A dog in its current state."""
        return cast("Dog", self.repository.get(identifier))


class Tag(Aggregate):
    """A dog's tag."""

    def __init__(self, text: str) -> None:
        self.text = text


class Tags(EventSourcedProjection[UUID]):
    """Follows the dogs, and makes a tag for each: recorded with the position of its cause, both or neither."""

    topics = (REGISTERED,)

    @singledispatchmethod
    def policy(self, domain_event: DomainEventProtocol[UUID], processing_event: ProcessingEvent[UUID]) -> None:
        """Makes the tag of a dog that was registered."""
        registered = cast("Any", domain_event)
        processing_event.collect_events(Tag(f"I am {registered.name}"))

    def texts(self) -> list[str]:
        """The texts of the tags, in the order of their creation."""
        notifications = self.recorder.select_notifications(None, 1_000, topics=[get_topic(cast("Any", Tag).Created)])
        return [cast("Any", self.mapper.to_domain_event(notification)).text for notification in notifications]


@dataclass(frozen=True)
class PriceStated:
    """A domain event of the shop, as the library decodes it. Its topic is the domain's name."""

    originator_id: str
    originator_version: int
    payload: dict[str, Any]

    TOPIC = "pricing"


class Prices(PagefoldTrackingRecorder):
    """A view that stores what it receives."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # whatever a recorder takes
        super().__init__(*args, **kwargs)
        self.stated: list[str] = []


class PriceProjection(Projection[Prices]):
    """Follows the shop's own prices."""

    topics = (PriceStated.TOPIC,)

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:  # noqa: ANN401  # the library's signature
        """Stores a price."""
        self.view.stated.append(f"{domain_event.originator_id} {domain_event.payload['amount']}")
        self.view.insert_tracking(tracking)
