"""Who looks at the dashboard: the token behind the cookie of a request, and protection against forged requests.

A cookie is a secret of 256 random bits. Where there are tokens, it stands for a session; where everything is allowed
without one, it only proves that a form was made for this browser.
"""

import hmac
from base64 import urlsafe_b64encode
from hashlib import sha256
from http.cookies import SimpleCookie
from typing import NamedTuple

from pagefold.engine.access.session_service import SECRET_LENGTH, SESSION_HOURS, SessionService
from pagefold.engine.dashboard.addresses import href
from pagefold.engine.http.authorization import READS
from pagefold.engine.http.headers import Header, value_of, values_of
from pagefold.engine.http.problems import Problem
from pagefold.engine.stores.grants import Grant, Scope, Token

COOKIE = "pagefold_session"
TOAST = "pagefold_toast"
MAX_COOKIE_BYTES = 8_192
"""Bytes of a cookie header. A longer one is ignored."""

FORGED = "this form was not made for this browser, or is too old: go back, load the page again, and repeat it"


class Visitor(NamedTuple):
    """Somebody who may see the dashboard. `name` is a token's, safe to log; `label` what people call it."""

    name: str
    label: str
    scopes: frozenset[Scope]

    @property
    def may_operate(self) -> bool:
        """Whether it may decide something."""
        return "operate" in self.scopes

    @property
    def may_see(self) -> bool:
        """Whether it may see the dashboard."""
        return bool(self.scopes & {"read", "operate"})


def visitor_with(token: Token) -> Visitor:
    """The visitor of a token."""
    return Visitor(token.name, token.label or token.name, token.scopes)


async def find_visitor(anonymous: Grant | None, sessions: SessionService, secret: str | None) -> Visitor | None:
    """The visitor with a cookie; None who has to sign in.

    `anonymous` is the grant without a token: open reads of pages are not enough for the dashboard.
    """
    if anonymous is not None and anonymous is not READS:
        return Visitor(anonymous.name, anonymous.name, anonymous.scopes)
    token = None if secret is None else await sessions.token_of(secret)
    visitor = None if token is None else visitor_with(token)
    return visitor if visitor is not None and visitor.may_see else None


def cookie_in(headers: list[Header], name: str) -> str | None:
    """The value of a cookie; None if it is absent, or given twice with different values."""
    text = b"; ".join(values_of(headers, b"cookie"))
    if len(text) > MAX_COOKIE_BYTES:
        return None
    found = set()
    for part in text.decode("latin-1").split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            found.add(value)
    return found.pop() if len(found) == 1 else None


def secret_in(headers: list[Header]) -> str | None:
    """The secret in the cookie of a request; None without one."""
    value = cookie_in(headers, COOKIE)
    return value if value is not None and len(value) == SECRET_LENGTH else None


def cookie_header(name: str, value: str, *, seconds: int, secure: bool) -> Header:
    """The header that sets a cookie, which no script sees and no other site sends. 0 seconds remove it."""
    cookie = SimpleCookie()
    cookie[name] = value
    settings = {"path": href(), "max-age": str(seconds), "httponly": "yes", "samesite": "Strict"}
    cookie[name].update(settings | ({"secure": "yes"} if secure else {}))
    return (b"set-cookie", cookie[name].OutputString().encode("latin-1"))


def session_cookie(secret: str, *, secure: bool) -> Header:
    """The header that gives a browser its secret."""
    return cookie_header(COOKIE, secret, seconds=SESSION_HOURS * 3_600, secure=secure)


def is_encrypted(headers: list[Header]) -> bool:
    """Whether the browser has used TLS, as it says itself, or a proxy in front."""
    origin = value_of(headers, b"origin") or b""
    return origin.startswith(b"https://") or value_of(headers, b"x-forwarded-proto") == b"https"


def csrf_token(secret: str) -> str:
    """What a form has to send along with the cookie of this secret. It does not reveal the secret."""
    return urlsafe_b64encode(sha256(b"csrf " + secret.encode()).digest()).decode().rstrip("=")


def signature(secret: str, text: str) -> str:
    """Proves that a text was made for the browser with this secret."""
    return urlsafe_b64encode(hmac.digest(secret.encode(), text.encode(), "sha256")).decode().rstrip("=")


def check_origin(headers: list[Header]) -> None:
    """Refuses a form that another site has sent, as the browser says. Raises `Problem`, 403."""
    site = value_of(headers, b"sec-fetch-site")
    if site is not None and site != b"same-origin":
        raise Problem(403, FORGED)
    origin, host = value_of(headers, b"origin"), value_of(headers, b"host")
    if origin is not None and (host is None or origin.partition(b"://")[2].lower() != host.lower()):
        raise Problem(403, FORGED)


def check_csrf(secret: str | None, given: str) -> None:
    """Refuses a form without the token of the browser's cookie. Raises `Problem`, 403."""
    if secret is None or not hmac.compare_digest(csrf_token(secret).encode(), given.encode()):
        raise Problem(403, FORGED)
