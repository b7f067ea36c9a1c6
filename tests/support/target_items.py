"""Pages, withdrawals and hostile SKUs, as a kind of target is given them."""

import msgspec
import orjson

from pagefold.engine.delivery.documents import idempotency_key
from pagefold.engine.delivery.target_kind import Item, PageKey
from pagefold.engine.reading.page_tags import tag_of
from pagefold.projections.streams import sku_error
from tests.support.shared_data import data_file

CHANNEL = "web-de"


def page_item(sku: str = "A/1 ä", body: bytes | None = None, position: int = 42, channel: str = CHANNEL) -> Item:
    """A page."""
    document = orjson.dumps({"sku": sku, "channel": channel, "position": position}) if body is None else body
    page, tag = PageKey(sku, channel), tag_of(document)
    return Item(page, document, tag, position, idempotency_key("shop", page, tag, position))


def withdrawal(sku: str = "A/1 ä", position: int = 43, channel: str = CHANNEL) -> Item:
    """A withdrawal."""
    page = PageKey(sku, channel)
    return Item(page, None, "", position, idempotency_key("shop", page, "", position))


def pages(number: int, position: int = 42) -> list[Item]:
    """Some pages."""
    return [page_item(f"S{each}", position=position) for each in range(number)]


def hostile_skus() -> list[str]:
    """Strings that have broken programs, as far as they are SKUs; each once."""
    strings: list[str] = msgspec.json.decode(data_file("naughty", "blns.json").read_bytes())
    wrong = ["{sku}", "{channel}", "a.b.>", "*", "../../etc", "%2F", "a/b?c#d", '"id":"x"', "ä" * 60, "A\u2028B"]
    return [each for each in dict.fromkeys([*strings, *wrong]) if sku_error(each) is None]
