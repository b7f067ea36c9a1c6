"""The last 24 hours of key figures, which have a point for each minute: what was read seconds ago is shown again."""

import time
from collections.abc import Callable

from pagefold.engine.shop import Shop

FRESH_SECONDS = 10.0


class Histories:
    """Those of one shop, shared by all visitors. `ticks` is a clock of seconds."""

    def __init__(self, ticks: Callable[[], float] = time.monotonic) -> None:
        self._ticks = ticks
        self._known: dict[tuple[str, str], tuple[float, dict[int, float]]] = {}

    async def get(self, shop: Shop, name: str, label: str) -> dict[int, float]:
        """A key figure of a label by minute, up to `FRESH_SECONDS` old. Raises `StoreUnavailable`."""
        now = self._ticks()
        self._known = {key: each for key, each in self._known.items() if each[0] > now}
        if (name, label) not in self._known:
            points = await shop.kpis.history(name, label)
            self._known[name, label] = now + FRESH_SECONDS, {point.minute: point.value for point in points}
        return self._known[name, label][1]
