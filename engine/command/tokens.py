"""`pagefold tokens`: the tokens of HTTP clients."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Annotated

from cyclopts import App, Parameter
from rich.text import Text

import pagefold
from pagefold.engine.access.token_service import MAX_LISTED, TOKEN_CACHE_SECONDS
from pagefold.engine.command.console import print_error, print_message, printable, show_table, write_json
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options, UsageError
from pagefold.engine.errors import UnknownToken
from pagefold.engine.runtime import clock
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.runtime.redaction import redact_secrets
from pagefold.engine.shop import Shop
from pagefold.engine.stores.grants import Scope, Token, TokenState, scope_text

_STYLES: Mapping[TokenState, str] = {"live": "green", "expired": "yellow", "revoked": "red"}

tokens = App(
    name="tokens",
    help="""\
Create, list and revoke the tokens that authenticate HTTP clients.

A token has scopes: *read* (pages, lists, histories), *ingest* (append events of one source), *operate* (dead letters,
metrics). `create` prints its secret once; the store keeps only a SHA-256 of it. Its name, such as `tok_7f3a90b1c2d4`,
is not secret.
""",
    help_epilogue="""\
**Examples**

```text
pagefold tokens create --source erp --scope ingest --expires 90d --label "ERP"
pagefold tokens create --scope read --scope operate > operator.token
pagefold tokens list
pagefold tokens revoke tok_7f3a90b1c2d4
```
""",
)


@tokens.command(help_epilogue="")
def create(
    *,
    scope: list[Scope],
    source: Annotated[str | None, Parameter(metavar="SOURCE")] = None,
    expires: Annotated[str | None, Parameter(metavar="TIME")] = None,
    label: Annotated[str, Parameter(metavar="TEXT", show_default=False)] = "",
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Create a token and print its secret, which cannot be shown again.

    Only the secret goes to standard output, so that it can be piped into a file or a vault.

    Parameters
    ----------
    scope
        What it may do. Repeat for several scopes.
    source
        The source whose events it may append: required for the scope ingest, not allowed for others.
    expires
        Its lifetime: a number and a unit, such as `90d`, `12h` or `30m`. Without it, it is valid until it is revoked.
    label
        A note: who uses it, and what for.
    as_json
        Print one JSON object: secret, and the fields of list.
    """
    lifetime = None if expires is None else _lifetime(expires)
    return run(lambda: _create(scope, source, lifetime, label, options, as_json=as_json))


_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800, "M": 2_592_000, "y": 31_536_000}
_lifetime_part = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([smhdwMy])", re.ASCII)


def _lifetime(text: str) -> timedelta:
    """A length of time such as `90d` or `1d12h`. Raises `UsageError` with what is allowed."""
    parts = _lifetime_part.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        with suppress(OverflowError):
            return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))
    example = f"{text}d for {text} days" if text.isdecimal() else "90d or 12h"
    raise UsageError(
        "--expires", f"{text!r} is not a length of time; add a unit (s, m, h, d, w, M, y), such as {example}"
    )


async def _create(
    scopes: Sequence[Scope],
    source: str | None,
    expires: timedelta | None,
    label: str,
    options: Options,
    *,
    as_json: bool,
) -> int:
    async with pagefold.open(options.load(), create=False) as shop:
        secret, token = await shop.tokens.create(scopes, source, expires, label)
    if as_json:
        write_json({"secret": str(secret)} | _document(token, clock.now()))
    else:
        print(secret)
    bound = "" if token.source is None else f" for {token.source}"
    ends = "until it is revoked" if token.expires_at is None else f"until {_moment(token.expires_at)} UTC"
    print_message(f"{token.name} may {' and '.join(scope_text(token.scopes).split())}{bound}, {ends}")
    print_message("the secret is not shown again: store it safely")
    return Exit.DONE


@tokens.command(name="list", help_epilogue="")
def list_tokens(
    *,
    limit: Annotated[int, Parameter(help="List at most this many, the oldest.")] = 1_000,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """List tokens, oldest first, expired and revoked ones too.

    Parameters
    ----------
    as_json
        Print one JSON object a line: name, label, scopes, source, createdAt, expiresAt, revokedAt, state.
    """
    return run(lambda: _list(limit, options, as_json=as_json))


async def _list(limit: int, options: Options, *, as_json: bool) -> int:
    if limit < 1:
        raise UsageError("--limit", f"{limit} is less than 1")
    async with pagefold.open(options.load(), create=False) as shop:
        found = [token async for token in _first(shop, limit + 1)]
    shown, moment = found[:limit], clock.now()
    if as_json:
        for token in shown:
            write_json(_document(token, moment))
    elif shown:
        columns = ("name", "state", "scopes", "source", "created", "expires", "label")
        show_table(columns, [_row(token, moment) for token in shown], wrapped=("label",))
    else:
        print_message("no tokens; `pagefold tokens create` makes one")
    if len(found) > limit:
        print_message("… and later ones; --limit shows more")
    return Exit.DONE


async def _first(shop: Shop, limit: int) -> AsyncIterator[Token]:
    """The oldest tokens, at most `limit`."""
    after: Token | None = None
    while limit > 0:
        page = await shop.tokens.tokens(after=after, limit=min(limit, MAX_LISTED))
        for token in page:
            yield token
        if len(page) < min(limit, MAX_LISTED):
            return
        after, limit = page[-1], limit - len(page)


def _row(token: Token, moment: str) -> tuple[str | Text, ...]:
    state = token.state(moment)
    created, expires = _moment(token.created_at), _moment(token.expires_at or "")
    styled = Text(state, style=_STYLES[state])
    return token.name, styled, scope_text(token.scopes), token.source or "", created, expires, printable(token.label)


def _document(token: Token, moment: str) -> dict[str, object]:
    return {
        "name": token.name,
        "label": token.label,
        "scopes": scope_text(token.scopes).split(),
        "source": token.source,
        "createdAt": token.created_at,
        "expiresAt": token.expires_at,
        "revokedAt": token.revoked_at,
        "state": token.state(moment),
    }


def _moment(text: str) -> str:
    return text[:19].replace("T", " ")


@tokens.command(usage="pagefold tokens revoke [OPTIONS] NAME...", help_epilogue="")
def revoke(
    *names: Annotated[str, Parameter(name="NAME", required=True)],
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Revoke tokens, permanently. Running servers reject them within seconds.

    Exit code 1 if a name is unknown; the other tokens are revoked.

    Parameters
    ----------
    names
        Such as `tok_7f3a90b1c2d4`; `pagefold tokens list` shows them. The secret itself is accepted too.
    """
    return run(lambda: _revoke(names, options))


async def _revoke(names: Sequence[str], options: Options) -> int:
    revoked = 0
    async with pagefold.open(options.load(), create=False) as shop:
        for name in names:
            try:
                await shop.tokens.revoke(name)
            except UnknownToken as error:
                print_error(str(error))
            else:
                print(f"{redact_secrets(name)}  revoked")
                revoked += 1
    if revoked:
        print_message(f"running servers reject them within {TOKEN_CACHE_SECONDS:g} s")
    return Exit.DONE if revoked == len(names) else Exit.REFUSED
