"""What `why` answers: each value of a page with its origin, each absent one with the reasons."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from pagefold.domains.fold_trace import How
from pagefold.engine.stores.event_state import DriftKind, EventState
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.projections.epochs import epoch_of, version_of
from pagefold.projections.explanations import REASONS, ReasonCode
from pagefold.projections.field_changes import AnyJSON
from pagefold.projections.streams import parse_stream_id

StoredState: TypeAlias = Literal["same", "not-folded", "not-applied", "wrong"]
"""How the stored section compares with what the log gives.

It is the same; behind, as the log was at the domain's checkpoint; of another configuration; or neither.
"""

_state = msgspec.json.Decoder(EventState)


class OriginEvent(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """An event that an answer names, by its position in the log.

    `version` is the source's own, within its `epoch`. One of a rebuild has `runId` and `drift`, the reason for it; one
    that corrects a dead letter has `corrects` and the `operator`; one of a request may have a `correlationId`.
    """

    position: int
    sku: str
    channel: str
    domain: str
    source: str
    version: int
    id: str
    occurred_at: str
    recorded_at: str
    withdrawn: bool = False
    epoch: int = 0
    revision: int = 0
    correlation_id: str | None = None
    run_id: str | None = None
    drift: DriftKind | None = None
    operator: str | None = None
    corrects: str | None = None


class Reason(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Why something is not there, does not count, or is wrong. `text` says what `code` means, `detail` what is so here.

    `event` is the position of the event that it is about, `path` and `value` what its payload has there; `deadLetter`
    is the id of a dead letter.
    """

    code: ReasonCode
    text: str
    detail: str = ""
    event: int | None = None
    dead_letter: str | None = None
    path: str = ""
    value: AnyJSON = None


class Input(msgspec.Struct, frozen=True):
    """What a value is made of: the position of an event, a path in its payload, and the value there.

    Of values that describe the page itself, `path` is a field of the event.
    """

    event: int
    path: str
    value: AnyJSON


class ExplainedValue(msgspec.Struct, frozen=True):
    """A value of the page, and how it was made, of what. All that is in it has the same origin.

    `rule` says in words what was done: the language of a text, the mapping of a contract. `reasons` tell what else
    there would be, and why that does not count; and what is wrong with it.
    """

    path: str
    value: AnyJSON
    how: How
    rule: str
    inputs: list[Input]
    reasons: list[Reason]


class AbsentValue(msgspec.Struct, frozen=True):
    """A value that the page does not have, or that is empty there, and why."""

    path: str
    reasons: list[Reason]


class ExplainedSection(msgspec.Struct, frozen=True, rename="camel"):
    """One domain's part of the page, as the log gives it. `required`: the channel requires the domain.

    `stored` compares it with the stored one; `checkpoint` is how far the domain is folded, `lagEvents` how many of its
    events are not. `reasons` are about all of the section.
    """

    domain: str
    state: Literal["shown", "disabled", "absent"]
    required: bool
    ready: bool
    stored: StoredState
    checkpoint: int
    lag_events: int
    reasons: list[Reason]
    values: list[ExplainedValue]
    absent: list[AbsentValue]


class PageExplanation(msgspec.Struct, frozen=True):
    """Why a page is as it is: as the log gives it up to `position`, under the configuration that counts.

    `status` is `absent` where no source that counts has sent anything. `reasons` say why it is not shown, or not ready;
    `values` are those outside of the sections. `events` are those that the answer names.
    """

    sku: str
    channel: str
    status: Literal["live", "disabled", "absent"]
    ready: bool
    position: int
    reasons: list[Reason]
    values: list[ExplainedValue]
    sections: list[ExplainedSection]
    events: list[OriginEvent]


def named_positions(values: Sequence[ExplainedValue], sections: Sequence[ExplainedSection]) -> set[int]:
    """The positions of the events that values and sections name."""
    all_values = [*values, *(value for section in sections for value in section.values)]
    reasons = [
        *(reason for section in sections for reason in section.reasons),
        *(reason for section in sections for absent in section.absent for reason in absent.reasons),
        *(reason for value in all_values for reason in value.reasons),
    ]
    found = {each.event for value in all_values for each in value.inputs}
    return found | {each.event for each in reasons if each.event is not None}


def reason(code: ReasonCode, detail: str = "", **more: object) -> Reason:
    """A reason with its text."""
    return Reason(code, REASONS[code], detail, **more)  # type: ignore[arg-type]  # the fields of a reason


def origin_event(event: StoredEvent) -> OriginEvent:
    """A stored event, for people."""
    stream, state = parse_stream_id(event.originator_id), _state.decode(event.state)
    return OriginEvent(
        position=event.notification_id,
        sku=stream.sku,
        channel=stream.channel,
        domain=stream.domain,
        source=stream.source,
        version=version_of(event.originator_version),
        id=state.id,
        occurred_at=state.occurred_at,
        recorded_at=state.recorded_at,
        withdrawn=bytes(state.payload) == b"null",
        epoch=epoch_of(event.originator_version),
        revision=event.revision,
        correlation_id=state.correlation_id,
        run_id=state.run_id,
        drift=state.drift,
        operator=state.operator,
        corrects=state.corrects,
    )
