"""Screens of the dashboard, and their routes.

To add a screen, write `engine/dashboard/screens/NAME.py` with its handlers, `async def show(visit: Visit) -> Response`,
and one `SCREEN`:

    SCREEN = Screen("audit", "Audit", "n-audit", "Flow", [shown_at("/ui/audit", show, AuditQuery)])

add it to `SCREENS` in `engine/dashboard/screen_table.py`, and write its template, which extends `frame.html`. When a
handler runs, the visitor may see the dashboard; that of a decision runs after its CSRF token was checked, for visitors
with the scope `operate`. It raises `Problem`, or any error of the store: both are shown as a page.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Literal, NamedTuple, TypeAlias

import msgspec
from starlette.responses import Response

from pagefold.engine.dashboard.visit import Visit
from pagefold.engine.http.routing import NoQuery
from pagefold.engine.intake.operators import MAX_REASON_LENGTH
from pagefold.engine.shop import Shop

Handler: TypeAlias = Callable[[Visit], Awaitable[Response]]
State: TypeAlias = Literal["ok", "move", "wait", "warn", "held", "bad"]
"""Colour, shape and word of what is shown: fine, in motion, not yet, a warning, waits for a person, wrong."""

Group: TypeAlias = Literal["", "Needs a person", "Flow"]
GROUPS: tuple[Group, ...] = ("", "Needs a person", "Flow")

ReasonText = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_REASON_LENGTH)]


class NoForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fields of a decision without any."""


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The fields of a decision: why, and the number of what it is about, as it was shown; refused if it has changed."""

    reason: ReasonText
    expected: Annotated[int, msgspec.Meta(ge=0)] | None = None


class Badge(NamedTuple):
    """What the side bar says beside a screen: a number, or a few words with a state."""

    text: str
    state: State | None = None


BadgeReader: TypeAlias = Callable[[Shop], Awaitable[Badge | None]]


class ScreenRoute(msgspec.Struct, frozen=True):
    """One address of a screen. `path` has its parameters in braces.

    `query` has a field for each query parameter, `form` for each field of a decision. `public` needs no session.
    """

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    query: type[msgspec.Struct] = NoQuery
    form: type[msgspec.Struct] = NoForm
    public: bool = False


class Screen(NamedTuple):
    """A screen. `icon` is a symbol of `icons.html`; without a `group` it is not in the side bar.

    Its first route is where the side bar leads. `badge` is read every ten seconds: it must be cheap.
    """

    name: str
    title: str
    icon: str
    group: Group | None
    routes: Sequence[ScreenRoute]
    badge: BadgeReader | None = None

    @property
    def address(self) -> str:
        """The path of its first route."""
        return self.routes[0].path


def shown_at(path: str, handler: Handler, query: type[msgspec.Struct] = NoQuery) -> ScreenRoute:
    """A route that shows something, to every visitor."""
    return ScreenRoute("GET", path, handler, query=query)


def decided_at(path: str, handler: Handler, form: type[msgspec.Struct] = Decision) -> ScreenRoute:
    """A route that decides something, for visitors with the scope `operate`. It redirects to a page that shows it."""
    return ScreenRoute("POST", path, handler, form=form)
