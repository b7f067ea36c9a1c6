"""Differences of pages: between two moments, two configurations, two channels, or any of these together."""

from pagefold.engine.applied.applied_configuration import AppliedConfiguration
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.folding.logged_spellings import spelled_sources
from pagefold.engine.plans.page_view import PageView
from pagefold.engine.plans.plan import Plan
from pagefold.engine.plans.planner import OnPlanned
from pagefold.engine.plans.planner_pool import ALL, ignore, plan_pages
from pagefold.engine.reading.past_pages import View
from pagefold.engine.replay.section_verifier import StreamRange, prefix_range
from pagefold.engine.stores.store import Store
from pagefold.projections import normalise_sku
from pagefold.projections.streams import encode_part


class Differences:
    """Finds differences of pages of one store."""

    def __init__(self, store: Store, applied: AppliedConfiguration) -> None:
        self._store = store
        self._applied = applied

    async def between(  # noqa: PLR0913  # what is compared, and how
        self,
        before: View,
        after: View,
        *,
        channels: tuple[str, str] | None = None,
        sku: str | None = None,
        prefix: str = "",
        on_planned: OnPlanned = ignore,
        every_change: bool = False,
        processes: int | None = 1,
    ) -> Plan:
        """What is different in the pages of `after` from those of `before`, two views as `PastPages.view` makes them.

        With `channels`, pages of the first one in `before` are compared with those of the second one in `after`; they
        are counted under the name of the first. `sku` limits it to one product, `prefix` to those that begin with it.
        Writes nothing. The others as in `plan_pages`. Raises `ConfigurationError` for a channel that a view does not
        have, and `LogReplaced`.
        """
        await self._applied.refresh()
        one, two = (None, None) if channels is None else channels
        counting = self._applied.config
        return await plan_pages(
            self._store,
            _page_view(before, counting, one, one),
            _page_view(after, counting, two, one),
            on_planned=on_planned,
            every_change=every_change,
            processes=processes,
            streams=_streams(sku, prefix),
        )


def _page_view(view: View, counting: Config, channel: str | None, shown_as: str | None) -> PageView:
    if channel not in (None, *view.config.channels):
        raise ConfigurationError(
            "", f"unknown channel {channel!r}; there are {', '.join(sorted(view.config.channels))}"
        )
    return PageView(view.config, spelled_sources(counting, view.config), view.moment.position, channel, shown_as)


def _streams(sku: str | None, prefix: str) -> StreamRange:
    if sku is not None:
        name = encode_part(normalise_sku(sku))
        return StreamRange(f"{name}/", f"{name}0")  # which follows "/"
    return prefix_range(normalise_sku(prefix)) if prefix else ALL
