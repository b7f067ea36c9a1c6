"""Every screen of the dashboard, in the order of the side bar."""

from collections.abc import Sequence

from pagefold.engine.dashboard.screen import Screen
from pagefold.engine.dashboard.screens import (
    audit,
    components,
    contracts,
    dead_letters,
    overview,
    plans,
    product,
    releases,
    runbooks,
    runs,
    search,
    sign_in,
    targets,
)

SCREENS: Sequence[Screen] = (
    overview.SCREEN,
    search.SCREEN,
    product.SCREEN,
    dead_letters.SCREEN,
    runs.SCREEN,
    plans.SCREEN,
    targets.SCREEN,
    contracts.SCREEN,
    releases.SCREEN,
    audit.SCREEN,
    runbooks.SCREEN,
    sign_in.SCREEN,
    components.SCREEN,
)
