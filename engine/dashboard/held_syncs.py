"""Syncs that would remove too much, and wait for a decision."""

from typing import NamedTuple

from pagefold.engine.requests.work_request import Request
from pagefold.engine.shop import Shop
from pagefold.engine.stores.schedule_records import sync_task
from pagefold.engine.stores.sync_notes import SyncNote, SyncNotes


class HeldSync(NamedTuple):
    """A sync that is held: its note, and the decision that a worker is about to carry out, if there is one."""

    note: SyncNote
    decided: Request | None


async def held_syncs(shop: Shop, asked: list[Request]) -> list[HeldSync]:
    """Those of all sources, in the order of the configuration. `asked` are the open requests."""
    open_requests = {each.run.task: each for each in asked}
    found = []
    for name, source in shop.config.sources.items():
        note = await SyncNotes(shop.store, name).newest() if source.delta is not None else None
        if note is not None and note.held:
            found.append(HeldSync(note, open_requests.get(sync_task(name))))
    return found
