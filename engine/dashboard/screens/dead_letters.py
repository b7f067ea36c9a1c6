"""Dead letters: what is wrong, grouped by cause; one letter with what differs; and the decisions about one or many."""

from collections.abc import Sequence
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any

import anyio
import msgspec
from starlette.responses import Response

from pagefold.domains import DOMAINS
from pagefold.engine.dashboard.addresses import href
from pagefold.engine.dashboard.formats import bounded, plural
from pagefold.engine.dashboard.letter_values import (
    CauseRow,
    RetryAdvice,
    filter_text,
    filter_words,
    fix_text,
    history_line,
    letters_text,
    outcome_text,
    retry_advice,
    runbook_of,
    stream_text,
    summary_sentence,
)
from pagefold.engine.dashboard.screen import Badge, Decision, ReasonText, Screen, decided_at, shown_at
from pagefold.engine.dashboard.visit import Toast, Visit
from pagefold.engine.dead_letters.dead_letter_views import summary_of
from pagefold.engine.dead_letters.retry_check import RetryCheck
from pagefold.engine.errors import Rejected
from pagefold.engine.http.problems import Problem
from pagefold.engine.runtime.clock import moment
from pagefold.engine.shop import Shop
from pagefold.engine.stores.dead_letter_records import (
    KINDS,
    MAX_COUNTED,
    DeadLetter,
    DeadLetterCause,
    DeadLetterFilter,
    DeadLetterHeader,
)

CAUSES_SHOWN = 30
LETTERS_SHOWN = 20

RETRY_SECONDS = 20.0
"""How long one click retries. The page says how many are left."""

RETRIED = {
    "resolved": "is resolved",
    "still dead": "is still dead: nothing has changed",
    "queued": "will be delivered: its page is sent as it is then",
    "gone": "was resolved before",
}

Short = Annotated[str, msgspec.Meta(max_length=256)]


class LettersQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which letters are listed, which one is shown, and what is being confirmed. Blank is any."""

    cause: Short = ""
    kind: Short = ""
    domain: Short = ""
    source: Short = ""
    state: Short = ""
    after: Short = ""
    letter: Short = ""
    confirm: Short = ""

    @property
    def wanted(self) -> DeadLetterFilter:
        """The filter. Raises `Problem`, 422, for a kind that there is not."""
        return _filter(self.kind, self.domain, self.source, self.cause)._replace(resolved=self.state == "decided")


class BulkDecision(Decision, frozen=True):
    """A decision about all open letters that a filter selects, as many as were counted."""

    cause: Short = ""
    kind: Short = ""
    domain: Short = ""
    source: Short = ""

    @property
    def wanted(self) -> DeadLetterFilter:
        """The filter."""
        return _filter(self.kind, self.domain, self.source, self.cause)


class Fix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A corrected payload, or event, and why."""

    payload: str
    reason: ReasonText


class Again(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A retry of one letter."""


def _filter(kind: str, domain: str, source: str, cause: str) -> DeadLetterFilter:
    known = next((each for each in KINDS if each == kind), None)
    if kind and known is None:
        raise Problem(422, f"unknown kind {kind!r}; the kinds are {', '.join(KINDS)}")
    return DeadLetterFilter(known, domain or None, source or None, cause=cause or None)


async def show(visit: Visit) -> Response:
    """The causes, the letters of a filter, and one of them."""
    return await _page(visit, visit.query(LettersQuery))


async def _page(visit: Visit, query: LettersQuery, status: int = 200, *, given: str = "", fault: str = "") -> Response:
    """The page; a correction that was `given` and has a `fault` is shown with it."""
    causes = await visit.shop.dead_letters.causes()
    values: dict[str, Any] = {
        "causes": await _rows(visit.shop, causes, query.cause),
        "more": max(0, len(causes) - CAUSES_SHOWN),
    }
    if visit.part is not None:
        return await visit.page("dead_letters", **values)
    values |= {"said": summary_sentence(causes), "given": given, "fault": fault}
    return await visit.page("dead_letters", status, **values, **await _letters(visit, causes, query))


async def _rows(shop: Shop, causes: Sequence[DeadLetterCause], chosen: str) -> list[CauseRow]:
    now = moment()
    return [
        CauseRow(
            cause,
            letters_text(cause),
            history_line(await shop.dead_letters.cause_history(cause.key), now),
            cause.key == chosen,
        )
        for cause in causes[:CAUSES_SHOWN]
    ]


async def _letters(visit: Visit, causes: Sequence[DeadLetterCause], query: LettersQuery) -> dict[str, Any]:
    """The letters of the filter, and the one that is shown."""
    dead_letters = visit.shop.dead_letters
    wanted = query.wanted
    page = await dead_letters.page(wanted, after=query.after or None, limit=LETTERS_SHOWN)
    total = await dead_letters.count(wanted)
    name = query.letter or (page.dead_letters[0].id if page.dead_letters else "")
    found = await dead_letters.get(name) if name else None
    detail = None if found is None else await dead_letters.describe(found)
    cause = next((each for each in causes if each.key == wanted.cause), None)
    newest = page.dead_letters[0] if page.dead_letters else None
    return {
        "query": query,
        "wanted": wanted,
        "cause": cause,
        "filter_text": filter_text(wanted, cause),
        "filter_words": filter_words(wanted),
        "letters": [summary_of(each) for each in page.dead_letters],
        "total": total,
        "older": None if page.next is None else visit.address_with(after=page.next, letter=None, confirm=None),
        "advice": await _advice(visit, wanted, newest),
        "runbook": runbook_of(
            None if newest is None else newest.kind, is_request=newest is not None and newest.is_request
        ),
        "detail": detail,
        "fix": "" if detail is None else fix_text(detail, _domains(visit.shop, detail.source)),
        "stream": "" if detail is None else stream_text(detail),
        "outcome_text": outcome_text,
        "kinds": KINDS,
        "domains": [each.name for each in DOMAINS],
        "sources": list(visit.shop.config.targets if wanted.kind == "delivery" else visit.shop.config.sources),
    }


async def _advice(visit: Visit, wanted: DeadLetterFilter, newest: DeadLetterHeader | None) -> RetryAdvice:
    """What a retry of a filter does, by its newest letter if all have one cause."""
    if newest is None or (wanted.cause is None and wanted.kind in (None, "ingest")):
        return retry_advice(None, is_request=False)
    refusal = None
    if newest.kind == "ingest" and newest.is_request:
        check = visit.kept(RetryCheck, partial(RetryCheck, visit.shop.config, visit.shop.validator))
        refusal = await check.refusal_of(await visit.shop.dead_letters.get(newest.id))
    return retry_advice(newest.kind, is_request=newest.is_request, refusal=refusal)


def _domains(shop: Shop, source: str | None) -> list[str]:
    """The domains of a source, as far as the configuration knows it."""
    found = shop.config.sources.get(source or "")
    return [] if found is None else list(found.domains)


async def retry_many(visit: Visit) -> Response:
    """Retries the letters of a filter, as many as one click may take."""
    form = visit.form(BulkDecision)
    counts = {"resolved": 0, "still dead": 0, "queued": 0, "gone": 0}
    total = await visit.shop.dead_letters.count(form.wanted)
    retrying = visit.shop.dead_letters.retry_all(
        form.wanted, by=visit.visitor.label, reason=form.reason, expect=_expected(form)
    )
    until = anyio.current_time() + RETRY_SECONDS
    async with aclosing(retrying) as tried:
        async for _, result in tried:
            counts[result] += 1
            if anyio.current_time() > until:
                break
    done = sum(counts.values())
    said = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number) or "none was open"
    left = (
        f" {plural(total - done, 'letter')} not reached in {RETRY_SECONDS:.0f} s: retry again." if done < total else ""
    )
    return visit.redirect(
        href("dead-letters", **_fields(form)), Toast(f"Retried {plural(done, 'letter')}: {said}.{left}")
    )


async def discard_many(visit: Visit) -> Response:
    """Discards the letters of a filter."""
    form, number = visit.form(BulkDecision), 0
    discarding = visit.shop.dead_letters.discard_all(
        form.wanted, form.reason, visit.visitor.label, expect=_expected(form)
    )
    async with aclosing(discarding) as discarded:
        async for _, result in discarded:
            number += result == "discarded"
    links = [("See them", href("dead-letters", state="decided", **_fields(form)))]
    return visit.redirect(href("dead-letters"), Toast(f"Discarded {plural(number, 'letter')}.", links))


def _expected(form: BulkDecision) -> int:
    if form.expected is None:
        raise Problem(422, "give the number of letters as it was shown")
    return form.expected


def _fields(form: BulkDecision) -> dict[str, str]:
    given = {"cause": form.cause, "kind": form.kind, "domain": form.domain, "source": form.source}
    return {name: value for name, value in given.items() if value}


async def correct(visit: Visit) -> Response:
    """Appends a corrected payload. What is rejected is shown again, with the reason."""
    form, dead_letters = visit.form(Fix), visit.shop.dead_letters
    letter = await dead_letters.get(visit.path["id"])
    payload = form.payload.encode(errors="surrogatepass")
    if letter.is_delivery:
        return await _edit(visit, letter, form, payload)
    result = await dead_letters.correct(letter, payload, visit.visitor.label, reason=form.reason)
    if result.reason is not None:
        fault = f"{result.path}: {result.reason}" if result.path else result.reason
        return await _again(visit, letter, form, fault)
    text = f"{letter.id} is corrected by the event at position {result.position:,}."
    return visit.redirect(href("dead-letters", letter=letter.id, state="decided"), Toast(text))


async def _edit(visit: Visit, letter: DeadLetter, form: Fix, document: bytes) -> Response:
    """Has another document sent to a target."""
    try:
        await visit.shop.dead_letters.edit(letter, document, visit.visitor.label, reason=form.reason)
    except Rejected as rejected:
        return await _again(visit, letter, form, rejected.reason)
    links = [("See it", href("dead-letters", letter=letter.id))]
    text = f"{letter.id} will be delivered with your document, once."
    return visit.redirect(href("dead-letters", kind="delivery"), Toast(text, links))


async def _again(visit: Visit, letter: DeadLetter, form: Fix, fault: str) -> Response:
    """The page with what was given, and what is wrong with it."""
    visit.address, visit.pairs = href("dead-letters"), [("letter", letter.id)]
    return await _page(visit, LettersQuery(letter=letter.id), 422, given=form.payload, fault=fault)


async def retry(visit: Visit) -> Response:
    """Retries one letter."""
    letter = await visit.shop.dead_letters.get(visit.path["id"])
    result = await visit.shop.dead_letters.retry(letter, by=visit.visitor.label)
    return visit.redirect(href("dead-letters", letter=letter.id), Toast(f"{letter.id} {RETRIED[result]}."))


async def discard(visit: Visit) -> Response:
    """Discards one letter."""
    letter = await visit.shop.dead_letters.get(visit.path["id"])
    await visit.shop.dead_letters.discard(letter, visit.form(Decision).reason, visit.visitor.label)
    links = [("See it", href("dead-letters", letter=letter.id, state="decided"))]
    return visit.redirect(href("dead-letters", cause=letter.cause), Toast(f"{letter.id} is discarded.", links))


async def badge(shop: Shop) -> Badge | None:
    """How many letters are open."""
    causes = await shop.dead_letters.recent_causes()
    letters = sum(cause.letters for cause in causes)
    return Badge(bounded(letters, MAX_COUNTED)) if letters else None


SCREEN = Screen(
    "dead-letters",
    "Dead letters",
    "n-dead",
    "Needs a person",
    [
        shown_at("/ui/dead-letters", show, LettersQuery),
        decided_at("/ui/dead-letters:retry", retry_many, BulkDecision),
        decided_at("/ui/dead-letters:discard", discard_many, BulkDecision),
        decided_at("/ui/dead-letters/{id}:correct", correct, Fix),
        decided_at("/ui/dead-letters/{id}:retry", retry, Again),
        decided_at("/ui/dead-letters/{id}:discard", discard),
    ],
    badge,
)
