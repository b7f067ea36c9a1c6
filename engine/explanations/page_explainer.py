"""Explains one page of a store, under the configuration that counts."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import orjson

from pagefold.domains import DOMAINS
from pagefold.domains.domain import JSON
from pagefold.engine.applied.applied_configuration import AppliedConfiguration
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.spelling import suggestion
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.explanations.explanation import (
    ExplainedSection,
    ExplainedValue,
    Input,
    PageExplanation,
    Reason,
    named_positions,
    origin_event,
    reason,
)
from pagefold.engine.explanations.page_inputs import read_inputs
from pagefold.engine.explanations.section_explainer import SectionAnswer, SectionExplainer
from pagefold.engine.stores.store import Store
from pagefold.projections import Splicer, normalise_sku
from pagefold.projections.explanations import leaves, written_path
from pagefold.projections.streams import encode_part

_ABOUT_STORED = {"not-folded", "not-applied", "wrong"}
_IDENTITY = next(domain.name for domain in DOMAINS if domain.gives_identity)


MAX_CHANNELS = 100
"""Channels whose explainers are cached: each has compiled what the channel depends on."""


class Explainer:
    """Explains the pages of a store, under the configuration that counts."""

    def __init__(self, store: Store, applied: AppliedConfiguration) -> None:
        self._applied = applied
        self._of_channel = lru_cache(MAX_CHANNELS)(lambda channel: PageExplainer(store, applied.config, channel))
        applied.on_change(lambda _: self._of_channel.cache_clear())

    async def explain(self, sku: str, channel: str) -> PageExplanation:
        """Explains one page, which need not exist. Raises `ConfigurationError` for a channel that does not count."""
        await self._applied.refresh()
        channels = self._applied.config.channels
        if channel not in channels:
            raise ConfigurationError("", f"unknown channel {channel!r}; {suggestion(channel, channels, 'channels')}")
        return await self._of_channel(channel).explain(sku)


class PageExplainer:
    """Explains the pages of one channel of a store. Reads only."""

    def __init__(self, store: Store, config: Config, channel: str) -> None:
        self._store = store
        self._channel = channel
        channels = config.resolved_channels
        [found] = [each for each in channels if each.name == channel]
        self._sections = [SectionExplainer(store, config, domain, channels, found) for domain in DOMAINS]
        self._splicer = Splicer(DOMAINS, [found])

    async def explain(self, sku: str) -> PageExplanation:
        """Explains the page of a SKU, which need not exist. Raises `StoreUnavailable`."""
        name = normalise_sku(sku)
        inputs = await read_inputs(self._store, encode_part(name), name, self._channel)
        answers = [await section.explain(name, inputs) for section in self._sections]
        page = self._page(name, answers)
        sections = [answer.section for answer in answers]
        values = [] if page is None else list(_page_values(page, answers))
        events = {event.notification_id: event for answer in answers for event in answer.events}
        status = "absent" if page is None else str(page["status"])
        return PageExplanation(
            sku=name,
            channel=self._channel,
            status=status,  # type: ignore[arg-type]  # the splicer's are the same
            ready=page is not None and bool(page["ready"]),
            position=inputs.position,
            reasons=list(_page_reasons(status, sections)),
            values=values,
            sections=sections,
            events=[origin_event(events[position]) for position in sorted(named_positions(values, sections))],
        )

    def _page(self, name: str, answers: Sequence[SectionAnswer]) -> dict[str, JSON] | None:
        """The page as the log gives it, decoded."""
        rows = [(each.section.domain, *content[:5]) for each in answers if (content := each.folded.content) is not None]
        text = self._splicer.splice(name, self._channel, sorted(rows), disabled=True) if rows else None
        return None if text is None else orjson.loads(text)


def _page_values(page: dict[str, JSON], answers: Sequence[SectionAnswer]) -> Iterator[ExplainedValue]:
    """The values of a page outside of its sections."""
    domains = {domain.name for domain in DOMAINS}
    for path, value in leaves({name: value for name, value in page.items() if name not in domains}):
        inputs: list[Input] = []
        if path[0] == "sourceVersions":
            domain, _, source = str(path[1]).partition("/")
            [answer] = [each for each in answers if each.section.domain == domain]
            inputs = [Input(answer.folded.shown[source].notification_id, "sourceVersion", value)]
        elif path[0] == "updatedAt":
            inputs = [Input(each, "occurredAt", value) for each in _occurred_at(answers, value)]
        yield ExplainedValue(written_path(path), value, "page", "", inputs, [])


def _occurred_at(answers: Sequence[SectionAnswer], moment: object) -> Iterator[int]:
    """The position of an event of the page that occurred at a moment."""
    for answer in answers:
        parents = [each.event for origins in answer.folded.origins.values() for each in origins[1:]]
        for event in (*answer.folded.events.values(), *parents):
            if origin_event(event).occurred_at == moment:
                yield event.notification_id
                return


def _page_reasons(status: str, sections: Sequence[ExplainedSection]) -> Iterator[Reason]:
    """Why a page is not shown, or not ready."""
    if status == "absent":
        yield reason("no-event")
    for section in sections:
        if status == "disabled" and section.domain == _IDENTITY:
            yield from (each for each in section.reasons if each.code not in _ABOUT_STORED)
        if section.required and not section.ready:
            yield reason("not-ready", section.domain)
