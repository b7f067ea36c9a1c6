"""What a target has acknowledged of a page, and is to get, as people and programs see it."""

import msgspec

from pagefold.engine.stores.delivery_records import WITHDRAWN, DeliveryState, Holding, StoredDelivery


class Receipt(msgspec.Struct, frozen=True, rename="camel"):
    """A page of a target. A tag names the exact bytes of a document; that of a withdrawal is empty.

    `state` is `current`, `waiting`, `held`, `dead` or `discarded`. `holding` is what the target holds by this receipt:
    `current`, `behind` another version or an unknown one, `missing`, `surplus`, or `none`, as it should. `acked_tag` is
    null if nothing was ever sent, and `?` if the target may hold any version. The page is not current `since` a moment;
    it is sent at `due_at`, unless it is claimed: then its claim ends. `attempts` counts refusals of this version,
    `answer` is the last one. With `is_edited`, a person's document is sent in place of the page's.
    """

    target: str
    sku: str
    channel: str
    state: DeliveryState
    holding: Holding
    wanted_tag: str
    wanted_position: int
    acked_tag: str | None
    acked_position: int
    acked_at: str | None
    attempts: int
    since: str | None
    due_at: str | None
    answer: str
    is_edited: bool


def receipt_of(row: StoredDelivery) -> Receipt:
    """The receipt that a row is."""
    return Receipt(
        row.target,
        row.sku,
        row.channel,
        row.state,
        holding_of(row),
        row.wanted_tag,
        row.wanted_position,
        row.acked_tag,
        row.acked_position,
        row.acked_at,
        row.attempts,
        row.since,
        row.due_at,
        row.answer,
        row.is_edited,
    )


def holding_of(row: StoredDelivery) -> Holding:
    """What the target holds of a page, by its receipt: as both stores count it."""
    holds_nothing = not row.acked_tag
    if row.wanted_tag == WITHDRAWN:
        return "none" if holds_nothing else "surplus"
    if row.state == "current":
        return "current"
    return "missing" if holds_nothing else "behind"
