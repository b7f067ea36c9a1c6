"""Deliveries of which something could not be made an event: when they need a person, and how they are tried again."""

from collections.abc import Sequence

from anyio.to_thread import run_sync

from engine.appending import append_found
from engine.config import Config
from engine.dead_letters import Append, Retried
from engine.events import AppendResult
from engine.formats.webhooks import Unmapped, Webhooks
from engine.stores.letters import NOWHERE, DeadLetter
from projections.streams import decode_part


class Deliveries:
    """Tries webhooks that are in dead letters again, as the configuration is now."""

    def __init__(self, config: Config, append: Append) -> None:
        self._config = config
        self._append = append

    async def try_again(self, letter: DeadLetter) -> Retried:
        """Appends what can be made of a delivery: `resolved` when that is all of it. What is in the log is no obstacle.

        Raises `ConfigurationError` for paths that cannot work.
        """
        source = decode_part(letter.originator_id.removeprefix(NOWHERE))
        settings = self._config.sources.get(source)
        if settings is None or settings.webhook is None:
            return "still dead"
        found = await run_sync(Webhooks(self._config, source).read, letter.state)
        if isinstance(found, Unmapped):
            return "still dead"
        return "resolved" if fault_in(await append_found(found, self._append)) is None else "still dead"


def fault_in(results: Sequence[AppendResult]) -> str | None:
    """Why a delivery needs a person: the first of its items that could not be taken, counted from 0.

    A conflict is no reason: it has a letter of its own.
    """
    for index, result in enumerate(results):
        if result.outcome == "rejected":
            place = f"{result.path}: " if result.path else ""
            return f"item {index}: {place}{result.reason}" if len(results) > 1 else f"{place}{result.reason}"
    return None
