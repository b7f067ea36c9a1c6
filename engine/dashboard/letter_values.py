"""What the screen of dead letters says: about causes, about a retry, and about one dead letter."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from pagefold.domains.domain import JSON
from pagefold.engine.dashboard.charts import Sparkline, sparkline
from pagefold.engine.dashboard.formats import bounded, plural
from pagefold.engine.dashboard.screen import State
from pagefold.engine.dead_letters.dead_letter_views import DeadLetterDetail, DeadLetterSummary
from pagefold.engine.stores.dead_letter_records import MAX_COUNTED, DeadLetterCause, DeadLetterFilter

TEN_MINUTES = timedelta(minutes=10)
STEPS_A_DAY = 144
KEPT = (
    "Each was kept whole; the page stays at the newest version that can be folded. "
    "A newer good event clears a letter by itself."
)
SENT = "A target has refused each, to the last try. A page that changes is sent again by itself."
KEY_LENGTH = len("2026-01-01T12:3")


class CauseRow(NamedTuple):
    """A cause in the table: how many letters it has, as text, and when they came in the last 24 hours."""

    cause: DeadLetterCause
    letters: str
    line: Sparkline | None
    is_chosen: bool


class RetryAdvice(NamedTuple):
    """What a retry does, in a sentence; what we would do ourselves: a retry, or a corrected payload, or neither."""

    state: State | None
    text: str
    retry_helps: bool
    fix_helps: bool


ALWAYS: Mapping[str | None, RetryAdvice] = {
    "waiting": RetryAdvice(
        None,
        "These only wait, and are taken by themselves. A retry looks once more, now.",
        retry_helps=False,
        fix_helps=False,
    ),
    "delivery": RetryAdvice(
        "warn",
        "The target has refused each try. A retry sends the pages as they are now: it helps once the target, or what "
        "it requires, was repaired. A page that changes is sent by itself.",
        retry_helps=True,
        fix_helps=False,
    ),
    "projection": RetryAdvice(
        "warn",
        "A retry gives the same until the configuration changes or a newer event arrives, and both clear letters by "
        "themselves. Correct the payload, or have the source send it again.",
        retry_helps=False,
        fix_helps=True,
    ),
}
"""What a retry does of kinds for which that is always the same."""


def summary_sentence(causes: Sequence[DeadLetterCause]) -> str:
    """How many are open, and in how many causes."""
    if not causes:
        return "None is open: everything that was sent is in the log and in the pages."
    letters = sum(min(cause.letters, MAX_COUNTED) for cause in causes)
    more = any(cause.letters > MAX_COUNTED for cause in causes)
    remark = SENT if all(cause.kind == "delivery" for cause in causes) else KEPT
    return f"{letters:,}{'+' if more else ''} open in {plural(len(causes), 'cause')}. {remark}"


def letters_text(cause: DeadLetterCause) -> str:
    """How many letters a cause has."""
    return bounded(cause.letters, MAX_COUNTED)


def history_line(history: Sequence[tuple[str, int]], now: datetime) -> Sparkline | None:
    """Letters by ten minutes, in the last 24 hours."""
    known = dict(history)
    start = now.replace(minute=now.minute // 10 * 10, second=0, microsecond=0) - (STEPS_A_DAY - 1) * TEN_MINUTES
    keys = [f"{start + step * TEN_MINUTES:%Y-%m-%dT%H:%M}"[:KEY_LENGTH] for step in range(STEPS_A_DAY)]
    return sparkline([known.get(key, 0) for key in keys])


def retry_advice(kind: str | None, *, is_request: bool, refusal: str | None = None) -> RetryAdvice:
    """What a retry of dead letters of a kind does; None if they are of several kinds.

    `refusal` is why the newest request would be refused again, by what counts now.
    """
    if kind in ALWAYS:
        return ALWAYS[kind]
    if kind == "ingest" and not is_request:
        text = (
            "The log has other content at this version, and keeps it: a retry changes nothing. Correct or discard them."
        )
        return RetryAdvice("warn", text, retry_helps=False, fix_helps=True)
    if kind == "ingest" and refusal is not None:
        text = (
            f"A retry changes nothing yet: the newest is still refused. Correct the contract or each event. {refusal}"
        )
        return RetryAdvice("warn", text, retry_helps=False, fix_helps=True)
    if kind == "ingest":
        text = "By the contract that counts now, the newest can be read: a retry takes it."
        return RetryAdvice("ok", text, retry_helps=True, fix_helps=False)
    text = "These have several causes. A retry appends, folds or reads each of them again, the oldest first."
    return RetryAdvice(None, text, retry_helps=False, fix_helps=False)


def runbook_of(kind: str | None, *, is_request: bool) -> str:
    """The section of the runbooks about dead letters of a kind."""
    if kind == "delivery":
        return "delivery-failures"
    if kind == "projection" or (kind == "ingest" and is_request):
        return "failures"
    return "conflicts" if kind == "ingest" else "dead-letters"


def filter_words(wanted: DeadLetterFilter) -> list[str | None]:
    """The filter, as options of a command."""
    given = {"kind": wanted.kind, "domain": wanted.domain, "source": wanted.source, "cause": wanted.cause}
    words = [word for name, value in given.items() if value is not None for word in (f"--{name}", value)]
    return [*words] or ["--all"]


def filter_text(wanted: DeadLetterFilter, cause: DeadLetterCause | None) -> str:
    """The filter in words."""
    if cause is not None:
        return f"{cause.text} ({cause.source})"
    given = [each for each in (wanted.kind, wanted.domain, wanted.source) if each is not None]
    return ", ".join(given) or "all that are open"


def outcome_text(letter: DeadLetterSummary) -> str:
    """How a letter was resolved, without when."""
    by = f" by {letter.resolved_by}" if letter.resolved_by is not None else ""
    because = f": {letter.reason}" if letter.reason is not None else ""
    return f"{letter.resolution}{by}{because}"


def stream_text(detail: DeadLetterDetail) -> str:
    """What is known of the stream: `TSHIRT-M/*/pricing/erp`, without a domain if it is a request's."""
    parts = (detail.sku, detail.channel, detail.domain, None if detail.kind == "delivery" else detail.source)
    return "/".join(part for part in parts if part is not None)


def fix_text(detail: DeadLetterDetail, domains: Sequence[str]) -> str:
    """What a correction begins from: the event's payload; of a request, an event with what is known of it.

    Of a delivery, it is the document.

    `domains` are those of the source.
    """
    event = detail.event
    if detail.kind == "delivery":
        return msgspec.json.format(msgspec.json.encode(event), indent=2).decode()
    payload: JSON = event.get("payload") if isinstance(event, dict) else None
    if detail.domain is None or detail.kind == "waiting":
        payload = {
            "type": detail.domain or next(iter(domains), ""),
            "sku": detail.sku or "",
            "channel": detail.channel or "*",
            "source": detail.source or "",
            "sourceVersion": detail.version or 0,
            "occurredAt": detail.recorded_at,
            "payload": {},
        }
    return msgspec.json.format(msgspec.json.encode(payload), indent=2).decode()
