"""`pagefold tokens`: what is printed where, and that a secret is shown once."""

import re
from pathlib import Path

import anyio
import pytest

import pagefold
from pagefold.engine.stores.grants import Grant
from tests.support.command_line import Ran, finished, on_sqlite, run_pagefold, settle, spawn

SHAPE = r"pagefold_[A-Za-z0-9_-]{43}"
NAME = r"tok_[0-9a-f]{12}"
ONCE = "the secret is not shown again: store it safely\n"


@pytest.fixture
def shop(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a configuration and an empty store of each kind."""
    return settle(tmp_path, store_url, monkeypatch)


def verified(secret: str) -> Grant | None:
    """The grant that a server would give for it."""

    async def verify() -> Grant | None:
        async with pagefold.open() as opened:
            return await opened.tokens.verify(secret)

    return anyio.run(verify)


def test_the_secret_is_all_that_is_printed(shop: Path) -> None:
    """Standard output has only the secret, to be piped; standard error says what the token may do."""
    ran = run_pagefold("tokens", "create", "--source", "erp", "--scope", "ingest", "--expires", "90d", "--label", "ERP")
    secret = ran.out.removesuffix("\n")
    assert ran.code == 0
    assert re.fullmatch(SHAPE, secret)
    assert re.fullmatch(rf"{NAME} may ingest for erp, until [0-9-]{{10}} [0-9:]{{8}} UTC\n{ONCE}", ran.err)
    grant = verified(secret)
    assert grant is not None
    assert ran.err.startswith(f"{grant.name} ")
    assert grant == Grant(grant.name, frozenset(["ingest"]), "erp")


def test_a_token_with_several_scopes(shop: Path) -> None:
    """Each scope is an option of its own; without --expires, the token is valid until it is revoked."""
    ran = run_pagefold("tokens", "create", "--scope", "operate", "--scope", "read")
    assert re.fullmatch(f"{NAME} may read and operate, until it is revoked\n{ONCE}", ran.err)
    grant = verified(ran.out.strip())
    assert grant is not None
    assert grant == Grant(grant.name, frozenset(["read", "operate"]), None)


def test_tokens_as_json(shop: Path) -> None:
    """`create` prints the fields of `list` and the secret, which `list` never prints."""
    created = run_pagefold(
        "tokens", "create", "--scope", "ingest", "--source", "erp", "--expires", "12h", "--json"
    ).document
    secret = created.pop("secret")
    assert re.fullmatch(SHAPE, secret)
    other = run_pagefold("tokens", "create", "--scope", "read", "--label", "ünïcode 🎽", "--json").document
    ran = run_pagefold("tokens", "list", "--json")
    assert ran.documents == [created, {name: value for name, value in other.items() if name != "secret"}]
    assert secret not in ran.out
    assert re.fullmatch(NAME, created["name"])
    assert created["expiresAt"] > created["createdAt"]
    assert {name: created[name] for name in ("scopes", "source", "label", "revokedAt", "state")} == {
        "scopes": ["ingest"],
        "source": "erp",
        "label": "",
        "revokedAt": None,
        "state": "live",
    }
    assert (other["expiresAt"], other["label"]) == (None, "ünïcode 🎽")


def test_tokens_are_listed(shop: Path) -> None:
    """Each has a line with its scopes and state; without any, a message says how to create one."""
    assert run_pagefold("tokens", "list") == (0, "", "no tokens; `pagefold tokens create` makes one\n")
    run_pagefold("tokens", "create", "--scope", "read", "--label", "storefront")
    run_pagefold("tokens", "create", "--scope", "ingest", "--source", "pim", "--expires", "1d")
    header, first, second = run_pagefold("tokens", "list").out.splitlines()
    assert header.split() == ["name", "state", "scopes", "source", "created", "expires", "label"]
    assert re.fullmatch(rf"{NAME}  live   read +\S+ \S+ +storefront", first)
    assert re.fullmatch(rf"{NAME}  live   ingest +pim +\S+ \S+  \S+ \S+", second)


def test_a_list_of_tokens_is_bounded(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most `limit` are listed, in whatever chunks they are read; a message says that there are more."""
    monkeypatch.setattr("pagefold.engine.command.tokens.MAX_LISTED", 2)
    for number in range(5):
        run_pagefold("tokens", "create", "--scope", "read", "--label", f"{number}")
    for limit in range(1, 7):
        ran = run_pagefold("tokens", "list", "--limit", f"{limit}", "--json")
        assert [each["label"] for each in ran.documents] == [f"{number}" for number in range(min(limit, 5))]
        assert ran.err == ("… and later ones; --limit shows more\n" if limit < 5 else "")
    assert run_pagefold("tokens", "list", "--limit", "0").code == 2


def test_tokens_are_revoked(shop: Path) -> None:
    """By name or by secret, several at once; unknown names are reported, and the others are revoked."""
    first, second, third = (run_pagefold("tokens", "create", "--scope", "read", "--json").document for _ in range(3))
    ran = run_pagefold("tokens", "revoke", first["name"], second["secret"])
    assert ran.out == f"{first['name']}  revoked\n{second['name']}  revoked\n"
    assert (ran.code, ran.err) == (0, "running servers reject them within 5 s\n")
    assert [verified(each["secret"]) is None for each in (first, second, third)] == [True, True, False]
    ran = run_pagefold("tokens", "revoke", "tok_1", first["name"], third["name"])
    assert (ran.code, ran.out) == (1, f"{first['name']}  revoked\n{third['name']}  revoked\n")
    assert ran.err.startswith("pagefold: there is no token 'tok_1'; `pagefold tokens list` shows them\n")
    assert {each["state"] for each in run_pagefold("tokens", "list", "--json").documents} == {"revoked"}
    ran = run_pagefold("tokens", "revoke", "tok_1")
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)


def test_no_log_has_a_secret(shop: Path) -> None:
    """Not even the debug log of any command that handles a secret."""

    def told(*arguments: str) -> Ran:
        return finished(spawn("--log-level", "debug", "tokens", *arguments))

    secret = told("create", "--scope", "read").out.strip()
    assert re.fullmatch(SHAPE, secret)
    rans = [
        told("list"),
        told("revoke", secret),
        told("revoke", f"Bearer {secret}"),
        told("revoke", "--bogus", secret),
        run_pagefold("tokens", secret),
    ]
    assert [ran.code for ran in rans] == [0, 0, 1, 2, 2]
    assert secret.removeprefix("pagefold_") not in "".join(ran.out + ran.err for ran in rans)


@on_sqlite
def test_arguments_that_are_no_text(shop: Path) -> None:
    """Bytes that are not UTF-8, which Python passes on as lone surrogates, are refused like other wrong arguments."""
    odd = b"\xff".decode(errors="surrogateescape")
    assert run_pagefold("tokens", "create", "--scope", "read", "--label", odd).code == 2
    assert run_pagefold("tokens", "create", "--scope", "ingest", "--source", odd).code == 2
    ran = run_pagefold("tokens", "revoke", odd)
    assert (ran.code, ran.err) == (1, "pagefold: there is no token '\\udcff'; `pagefold tokens list` shows them\n")
