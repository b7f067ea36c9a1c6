"""Events are lost, sections are corrupted, a product disappears from its sources. Then the rebuild."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from anyio.to_thread import run_sync

from pagefold.engine.demo.corruption import damage
from pagefold.engine.demo.event_loss import BadLine, Loss
from pagefold.engine.demo.faults import Faults, deliver
from pagefold.engine.demo.live_phase import Stage
from pagefold.engine.demo.page_check import Verdict
from pagefold.engine.demo.rebuild_check import Expected, Findings, RebuildCheck
from pagefold.engine.demo.reference_model import DOMAINS, Document, Drift, Model, Stream
from pagefold.engine.demo.sample_shop import Shop as Story
from pagefold.engine.demo.snapshot_export import export
from pagefold.engine.runtime.task_groups import run_beside

HURT_SKUS = 8
"""So many SKUs are at the mercy of somebody who spoils sections: two for each domain."""


class Rebuilt(NamedTuple):
    """What was lost, what there was to find, what was found by only looking and then for good, and what the pages were.

    `events` is how many events each domain must have now, `example` a stream that had drifted.
    """

    losses: Counter[Loss]
    gone: str
    expected: Expected
    before: Verdict
    looked: Findings
    mended: Findings
    after: Verdict
    events: Mapping[str, int]
    example: Stream


class LossScenario:
    """The second half of the demo. `model` has all events of the first half."""

    def __init__(self, stage: Stage, story: Story, model: Model) -> None:
        self._stage = stage
        self._scene = stage.scene
        self._story = story
        self._model = model
        self._told = model.copy()
        self._gone = stage.ledger.quietest()
        self._line = BadLine(model, self._gone, story.seed, self._scene.advance)
        self._recovery = RebuildCheck(stage.shop, self._scene.advance)
        self._scene.lost = self._line.losses
        self._scene.found = self._recovery.kinds

    async def play(self, changes: Iterator[Document], count: int) -> Rebuilt:
        """Everything that happens after a day, beginning with `count` changes more."""
        await self._lose(changes, count)
        drift = self._model.drift(self._told, {self._gone})
        sections = await damage(self._stage.shop, self._unhurt({stream.sku for stream in drift}))
        taken_at = datetime.now(UTC)
        rows = await run_sync(export, self._model, self._stage.shop.config, {self._gone}, taken_at)
        expected = Expected(rows, drift, sections)
        before = await self._judge("Comparing after the losses")
        looked = await self._recover(expected, dry_run=True)
        async with run_beside(self._scene.storefront.browse):
            mended = await self._recover(expected, dry_run=False)
        self._withdraw(drift, taken_at)
        after = await self._judge("Comparing with the model")
        return Rebuilt(
            losses=self._line.losses,
            gone=self._gone,
            expected=expected,
            before=before,
            looked=looked,
            mended=mended,
            after=after,
            events=self._events(drift),
            example=self._example(drift),
        )

    async def _lose(self, changes: Iterator[Document], count: int) -> None:
        """The launches and the changes, over a bad line."""
        said = itertools.chain(self._story.launches(), changes)
        deliveries = deliver(said, Faults(), self._story.seed + 1)
        self._scene.begin("Delivering on a bad line", sum(1 for _ in self._story.launches()) + count, "events")
        await self._stage.deliver(self._line.passes(deliveries), self._told)

    def _unhurt(self, drifted: set[str]) -> list[str]:
        """Some products of which nothing was lost."""
        skus = (product.sku for product in self._story.products if product.sku not in drifted)
        return list(itertools.islice(skus, HURT_SKUS))

    async def _judge(self, act: str) -> Verdict:
        self._scene.begin(act, sum(self._scene.channels.values()), "pages")
        return await self._stage.judge(self._model)

    async def _recover(self, expected: Expected, *, dry_run: bool) -> Findings:
        """The snapshots of all sources beside the log, then all pages beside the log."""
        findings = Findings()
        act = "A dry run of the rebuild" if dry_run else "Rebuilding from snapshots"
        self._scene.begin(act, sum(expected.rows.values()), "rows")
        await self._recovery.compare_sources(findings, dry_run=dry_run)
        await self._stage.shop.catch_up()
        counts = await self._stage.shop.store.pages.counts()
        act = "Verifying every section" if dry_run else "Folding every page again"
        self._scene.begin(act, sum(sections for sections, _ in counts.values()), "sections")
        await self._recovery.compare_pages(findings, dry_run=dry_run)
        return findings

    def _withdraw(self, drift: Mapping[Stream, Drift], taken_at: datetime) -> None:
        """The sources have taken back what they said of the product that is gone."""
        for stream, kind in drift.items():
            if kind == "orphan":
                self._model.withdraw(stream, taken_at)

    def _events(self, drift: Mapping[Stream, Drift]) -> dict[str, int]:
        """What each domain was told, and an event more for each of its streams that had drifted."""
        mended = Counter(stream.domain for stream in drift)
        return {domain: self._told.events(domain) + mended[domain] for domain in DOMAINS}

    def _example(self, drift: Mapping[Stream, Drift]) -> Stream:
        """Of the streams that were behind, else of all that had drifted, the one that was so by most versions."""
        behind = [stream for stream, kind in drift.items() if kind == "newer"] or list(drift)
        return max(behind, key=lambda stream: (self._behind(stream), stream))

    def _behind(self, stream: Stream) -> int:
        sent, arrived = self._model.head(stream), self._told.head(stream)
        return sent.version - arrived.version if sent and arrived else 0
