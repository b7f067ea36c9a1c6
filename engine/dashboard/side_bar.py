"""The frame around every screen: the side bar with its badges, and the line at the top."""

import time
from collections.abc import Sequence
from typing import Any

import anyio

from pagefold.engine.dashboard.addresses import address_of
from pagefold.engine.dashboard.screen import GROUPS, Badge, Screen
from pagefold.engine.errors import PagefoldError
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.runtime.store_timeout import with_timeout
from pagefold.engine.shop import Shop

BADGE_SECONDS = 2.0
"""How long badges are cached: all tabs share them."""

log = Logger(__name__)


class SideBar:
    """The screens by group, with their badges, cached for `BADGE_SECONDS`."""

    def __init__(self, shop: Shop, screens: Sequence[Screen]) -> None:
        self._shop = shop
        self._groups = [(group, [each for each in screens if each.group == group]) for group in GROUPS]
        self._badges: dict[str, Badge | None] = {}
        self._until = 0.0
        self._lock = anyio.Lock()

    async def groups(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """The groups, each with its screens as templates show them."""
        badges = await self._read_badges()
        return [
            (
                group,
                [
                    {
                        "name": screen.name,
                        "title": screen.title,
                        "icon": screen.icon,
                        "address": address_of(screen.address),
                        "badge": badges.get(screen.name),
                    }
                    for screen in screens
                ],
            )
            for group, screens in self._groups
            if screens
        ]

    async def _read_badges(self) -> dict[str, Badge | None]:
        async with self._lock:
            if time.monotonic() >= self._until:
                for _, screens in self._groups:
                    for screen in screens:
                        self._badges[screen.name] = await self._badge(screen)
                self._until = time.monotonic() + BADGE_SECONDS
        return self._badges

    async def _badge(self, screen: Screen) -> Badge | None:
        """The badge of a screen; none if it cannot be read: the screen itself says why."""
        if screen.badge is None:
            return None
        try:
            return await with_timeout(_awaited(screen, self._shop))
        except PagefoldError as error:
            log.warning("a badge cannot be read", screen=screen.name, error=str(error))
            return None


async def _awaited(screen: Screen, shop: Shop) -> Badge | None:
    assert screen.badge is not None  # noqa: S101  # checked by the caller
    return await screen.badge(shop)
