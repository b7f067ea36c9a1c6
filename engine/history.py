"""The audit trail of a SKU: what each source said, when, and what it changed."""

from collections.abc import AsyncIterator

import msgspec

from domains import DOMAINS
from domains.domain import JSON
from engine.door import Drift, State
from engine.stores.store import Store
from projections.streams import encode_part, normalise_sku, parse_stream_id

_DOMAINS = frozenset(domain.name for domain in DOMAINS)
_state = msgspec.json.Decoder(State)


class FieldChange(msgspec.Struct, frozen=True):
    """A field that a version changed. `path` is dotted; a side that had no such field is None."""

    path: str
    before: JSON
    after: JSON


class HistoryEntry(msgspec.Struct, frozen=True, rename="camel"):
    """One event of the log.

    `changes` are against the version before it in its stream; `withdrawn` is a payload of null; `head` marks the
    version that counts. An event that a rebuild made has its run, and why it was made; one that an operator made has
    the operator's name, and the dead letter that it corrects; others have None.
    """

    position: int
    domain: str
    channel: str
    source: str
    version: int
    revision: int
    id: str
    occurred_at: str
    recorded_at: str
    withdrawn: bool
    head: bool
    changes: list[FieldChange]
    run_id: str | None = None
    drift: Drift | None = None
    operator: str | None = None
    corrects: str | None = None


async def history_of(
    store: Store, sku: str, *, channel: str | None = None, domain: str | None = None
) -> AsyncIterator[HistoryEntry]:
    """Every event of a SKU, by stream and version. `channel` may be `*`."""
    prefix = encode_part(normalise_sku(sku)) + "/"
    pending: HistoryEntry | None = None
    stream = ""
    before: dict[str, JSON] = {}
    async for event in store.log.history(prefix):
        if event.topic not in _DOMAINS:  # an application's own
            continue
        name = parse_stream_id(event.originator_id)
        if channel not in (None, name.channel) or domain not in (None, name.domain):
            continue
        if event.originator_id != stream:
            if pending is not None:
                yield msgspec.structs.replace(pending, head=True)
            stream, before, pending = event.originator_id, {}, None
        if pending is not None:
            yield pending
        state = _state.decode(event.state)
        after = flatten(msgspec.json.decode(state.payload))
        pending = HistoryEntry(
            position=event.notification_id,
            domain=name.domain,
            channel=name.channel,
            source=name.source,
            version=event.originator_version,
            revision=event.revision,
            id=state.id,
            occurred_at=state.occurred_at,
            recorded_at=state.recorded_at,
            withdrawn=bytes(state.payload) == b"null",
            head=False,
            changes=changes_between(before, after),
            run_id=state.run_id,
            drift=state.drift,
            operator=state.operator,
            corrects=state.corrects,
        )
        before = after
    if pending is not None:
        yield msgspec.structs.replace(pending, head=True)


def changes_between(before: dict[str, JSON], after: dict[str, JSON]) -> list[FieldChange]:
    """The fields that differ, by path."""
    paths = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    return [FieldChange(path, before.get(path), after.get(path)) for path in paths]


def flatten(value: JSON, path: str = "") -> dict[str, JSON]:
    """The leaves of a document, by dotted path. Empty containers and scalars are leaves; nothing is left of null."""
    if isinstance(value, dict) and value:
        items = ((f"{path}.{key}" if path else key, item) for key, item in value.items())
    elif isinstance(value, list) and value:
        items = ((f"{path}[{index}]", item) for index, item in enumerate(value))
    else:
        return {} if value is None else {path: value}
    leaves: dict[str, JSON] = {}
    for name, item in items:
        leaves |= flatten(item, name)
    return leaves
