"""Signing in with a token, and signing out."""

from urllib.parse import urlsplit, urlunsplit

import msgspec
from starlette.responses import Response

from pagefold.engine.access.session_service import SESSION_HOURS
from pagefold.engine.dashboard.addresses import href, safe_next
from pagefold.engine.dashboard.formats import clock_text
from pagefold.engine.dashboard.screen import NoForm, Screen, ScreenRoute
from pagefold.engine.dashboard.visit import Visit
from pagefold.engine.dashboard.visitors import COOKIE, cookie_header, is_encrypted, session_cookie, visitor_with
from pagefold.engine.http.authorization import MAX_CREDENTIAL_BYTES
from pagefold.engine.http.headers import value_of
from pagefold.engine.runtime import clock
from pagefold.engine.stores.grants import Token

UNKNOWN = "This token is unknown. Check that it was copied whole."
SIGNED_OUT = "Your session has ended, or its token was revoked: nothing was done. Sign in, and send it again."
NOT_ENOUGH = "This token has neither the scope read nor operate: it only sends events."


class SignInQuery(msgspec.Struct, frozen=True):
    """Where to continue."""

    next: str = ""


class SignInForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token's secret, and where to continue. The user's name is there for password managers."""

    token: str = ""
    next: str = ""
    username: str = ""


async def show(visit: Visit) -> Response:
    """The form. A visitor who is signed in continues at once."""
    address = safe_next(visit.query(SignInQuery).next)
    if visit.is_known:
        return visit.redirect(address)
    note = "" if visit.is_new or not visit.query(SignInQuery).next else "You are not signed in, or your session ended."
    return await _form(visit, address, note=note)


async def sign_in_again(visit: Visit) -> Response:
    """The form, for a visitor who has sent another one without a session: back to its page, to send it again."""
    sent_from = urlsplit((value_of(visit.headers, b"referer") or b"").decode("latin-1"))
    address = safe_next(urlunsplit(("", "", sent_from.path, sent_from.query, "")))
    return await _form(visit, address, note=SIGNED_OUT, status=401)


async def sign_in(visit: Visit) -> Response:
    """Begins a session, with a secret that no browser has sent before, and ends the one before it."""
    form = visit.form(SignInForm)
    address, secret = safe_next(form.next), form.token.strip()
    sessions = visit.sessions
    token = await sessions.known_token(secret) if len(secret) <= MAX_CREDENTIAL_BYTES else None
    if token is not None and not visitor_with(token).may_see:
        return await _form(visit, address, error=NOT_ENOUGH, status=403)
    begun = await sessions.begin(secret) if token is not None else None
    if token is not None:
        async with visit.shop.audit.action("sign-in", by=token.name) as action:
            if begun is None:
                action.refuse(_why_not(token))
    if begun is None:
        return await _form(visit, address, error=_why_not(token), status=403)
    await sessions.end(visit.secret)
    return visit.redirect(address, cookies=[session_cookie(begun[0], secure=is_encrypted(visit.headers))])


async def ask_to_sign_out(visit: Visit) -> Response:
    """A page with one button: a link alone must not end a session."""
    return await visit.page("sign_out")


async def sign_out(visit: Visit) -> Response:
    """Ends the session, in the store and in the browser."""
    if visit.is_known:
        await visit.shop.audit.record("sign-out")
    await visit.sessions.end(visit.secret)
    gone = cookie_header(COOKIE, "", seconds=0, secure=is_encrypted(visit.headers))
    return visit.redirect(href("sign-in"), cookies=[gone])


async def _form(visit: Visit, address: str, *, note: str = "", error: str = "", status: int = 200) -> Response:
    return await visit.page("sign_in", status, next=address, note=note, error=error, hours=SESSION_HOURS)


def _why_not(token: Token | None) -> str:
    """Why a token is refused: who has its secret may know."""
    if token is None:
        return UNKNOWN
    now = clock.moment()
    if token.revoked_at is not None:
        return f"This token was revoked at {clock_text(token.revoked_at, now)} UTC. Ask for a new one."
    return f"This token has expired at {clock_text(token.expires_at or token.created_at, now)} UTC. Ask for a new one."


SCREEN = Screen(
    "sign-in",
    "Sign in",
    "n-page",
    None,
    [
        ScreenRoute("GET", "/ui/sign-in", show, query=SignInQuery, public=True),
        ScreenRoute("POST", "/ui/sign-in", sign_in, form=SignInForm, public=True),
        ScreenRoute("GET", "/ui/sign-out", ask_to_sign_out),
        ScreenRoute("POST", "/ui/sign-out", sign_out, form=NoForm, public=True),
    ],
)
