"""Events of the log in the form of the `eventsourcing` library."""

import re
from collections.abc import Sequence
from uuid import UUID

from eventsourcing.persistence import ApplicationRecorder, Notification

from pagefold.engine.recorders.datastore import Datastore
from pagefold.engine.stores.log_records import StoredEvent

_hex = re.compile("[0-9a-f]{32}")


class NotifyingRecorder(ApplicationRecorder):
    """A recorder that returns events of the log to applications."""

    datastore: Datastore

    def notifications(self, events: Sequence[StoredEvent]) -> list[Notification]:
        """Events of the log in the library's form."""
        uuids = self.datastore.uuids
        return [
            Notification(
                given_id(event.originator_id, uuids=uuids),
                event.originator_version,
                event.topic,
                event.state,
                event.notification_id,
            )
            for event in events
        ]


def given_id(identifier: str, *, uuids: bool) -> UUID | str:
    """The identifier as the application expects it.

    Stream ids of domain events are always text: no UUID looks like them.
    """
    return UUID(identifier) if uuids and _hex.fullmatch(identifier) else identifier
