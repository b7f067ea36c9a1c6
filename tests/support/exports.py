"""A shop whose sources are read by contract, and its pages."""

from pathlib import Path
from typing import Any

import orjson

from pagefold import Config, Shop
from pagefold.engine.rebuild.rebuild_service import RunReport

CHANNELS = """
[channels.de]
locale = "de-DE"
fallbacks = ["en"]
currency = "EUR"
[channels.us]
locale = "en-US"
currency = "USD"
[channels.print]
locale = "en-US"
currency = "USD"
[channels.pl]
locale = "pl-PL"
currency = "PLN"
"""


def shop_in(folder: Path, store: str, sources: str) -> Config:
    """A configuration with these sources, in a file of the folder, beside which its contracts are."""
    file = folder / "pagefold.toml"
    file.write_text(f'store.url = "{store}"\n{CHANNELS}\n{sources}', encoding="utf-8")
    return Config.load(file)


def at(value: Any, path: str) -> Any:  # noqa: ANN401  # JSON
    """The value at a dotted path of a page; None where there is none."""
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


async def page_of(shop: Shop, sku: str, channel: str) -> Any:  # noqa: ANN401  # JSON
    """A page, decoded, if only a disabled one; None if there is none."""
    body = await shop.pages.get_json(sku, channel, disabled=True)
    return None if body is None else orjson.loads(body)


def refusals_of(report: RunReport) -> list[tuple[int, str]]:
    """The row of each refusal of a run, and its place with the reason."""
    found: Any = report.refusals
    return [(row, f"{path}: {reason}") for row, path, reason in found]
