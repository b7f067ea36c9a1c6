"""Rows of a snapshot by which a system that is a target, too, says only what it was sent: they are no drift."""

from pagefold.engine.configuration.config import Config
from pagefold.engine.intake.echo_finder import EchoFinder, Said
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.rebuild.row_comparer import Comparison
from pagefold.engine.stores.store import Store


class EchoRows:
    """Finds them by the receipts of a store."""

    def __init__(self, store: Store, config: Config) -> None:
        self._finder = EchoFinder(store, config, EventValidator(config))

    async def drop(self, comparison: Comparison) -> None:
        """Counts pending repairs that are echoes, and leaves them out. Their streams stay as they are in the log."""
        said = {
            number: Said(each.originator_id, each.originator_version, each.topic, each.content, replaces=True)
            for number, each in enumerate(comparison.pending)
        }
        echoes = (await self._finder.find_said(said)).echoes if said else ()
        if echoes:
            dropped = {comparison.pending[number].originator_id for number in echoes}
            comparison.counts.echoes += len(dropped)
            comparison.pending = [each for each in comparison.pending if each.originator_id not in dropped]
            if comparison.suspects is not None:
                comparison.suspects = [each for each in comparison.suspects if each.originator_id not in dropped]
