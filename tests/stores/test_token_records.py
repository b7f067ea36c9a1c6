"""Tokens in stores: what is stored of them, and what is not."""

import base64
from collections.abc import Iterable
from pathlib import Path

import anyio
import apsw
import asyncpg
import pytest

from pagefold import Config
from pagefold.engine.access.token_service import TokenService
from pagefold.engine.runtime.redaction import PREFIX
from pagefold.engine.stores import open_store
from pagefold.engine.stores.grants import SCOPES, Scope, Token, scope_text, scopes_in
from pagefold.engine.stores.sqlite import folder_of
from pagefold.engine.stores.store import Store
from tests.support.databases import query
from tests.support.postgres import PostgresServer
from tests.support.token_fixtures import GUESS, READ, digest_of, kept, moment


async def test_a_token_is_found_by_its_digest(store: Store) -> None:
    """It comes back complete, and nothing else has its digest."""
    whole = Token("tok_a", "ü 🎽 '\"\\", frozenset(SCOPES), "erp", moment(0), moment(1))
    await store.tokens.add(whole, digest_of("a"))
    await store.tokens.add(kept("tok_b"), digest_of("b"))
    assert await store.tokens.find(digest_of("a")) == whole
    assert await store.tokens.find(digest_of("b")) == kept("tok_b")
    assert await store.tokens.find(digest_of("c")) is None
    assert await store.tokens.find(b"") is None


async def test_tokens_are_listed_in_order_of_creation(store: Store) -> None:
    """By timestamp, then by name; revoked ones too."""
    assert await store.tokens.list_tokens() == []
    for name, seconds in (("tok_c", 1), ("tok_b", 2), ("tok_a", 1)):
        await store.tokens.add(kept(name, seconds), digest_of(name))
    assert await store.tokens.revoke("tok_a", moment(9))
    expected = [kept("tok_a", 1, revoked_at=moment(9)), kept("tok_c", 1), kept("tok_b", 2)]
    assert await store.tokens.list_tokens() == expected
    for limit in (1, 2):
        found: list[Token] = []
        while page := await store.tokens.list_tokens(found[-1] if found else None, limit=limit):
            assert len(page) <= limit
            found += page
        assert found == expected


async def test_adding_a_token_can_be_repeated(store: Store) -> None:
    """An existing digest changes nothing, its revocation included."""
    for _ in range(2):
        await store.tokens.add(kept("tok_a"), digest_of("a"))
        assert await store.tokens.revoke("tok_a", moment(1))
    assert await store.tokens.list_tokens() == [kept("tok_a", revoked_at=moment(1))]


async def test_invalid_digests_are_refused(store: Store) -> None:
    """The database refuses anything but 32 bytes, such as a secret by mistake, and an existing name."""
    refused = (apsw.ConstraintError, asyncpg.IntegrityConstraintViolationError)
    with pytest.raises(refused, match=r"(?i)check"):
        await store.tokens.add(kept("tok_a"), GUESS.encode())
    await store.tokens.add(kept("tok_a"), digest_of("a"))
    with pytest.raises(refused, match=r"(?i)unique"):
        await store.tokens.add(kept("tok_a"), digest_of("b"))
    assert await store.tokens.list_tokens() == [kept("tok_a")]


async def test_the_first_revocation_counts(store: Store) -> None:
    """A later one finds the token, and changes nothing; an unknown name is not found."""
    await store.tokens.add(kept("tok_a"), digest_of("a"))
    assert await store.tokens.revoke("tok_a", moment(5))
    assert await store.tokens.revoke("tok_a", moment(6))
    assert not await store.tokens.revoke("tok_b", moment(7))
    assert await store.tokens.find(digest_of("a")) == kept("tok_a", revoked_at=moment(5))


async def test_concurrent_revocations_are_one(store: Store, config: Config) -> None:
    """Of many concurrent ones, in two processes, all succeed, and one timestamp is stored, also after a late one."""
    await store.tokens.add(kept("tok_a"), digest_of("a"))
    other = await open_store(config)
    revoked: list[bool] = []

    async def revoke(at: Store, seconds: float) -> None:
        revoked.append(await at.tokens.revoke("tok_a", moment(seconds)))

    async with anyio.create_task_group() as group:
        for number in range(16):
            group.start_soon(revoke, (store, other)[number % 2], number)
    assert revoked == [True] * 16
    [stands] = await other.tokens.list_tokens()
    assert stands.revoked_at in {moment(number) for number in range(16)}
    await revoke(other, 99)
    assert await store.tokens.list_tokens() == [stands]
    await other.close()


async def test_tokens_are_seen_by_every_process_immediately(store: Store, config: Config) -> None:
    """A token that one open store adds or revokes is seen by another, and by one that is opened later."""
    other = await open_store(config)
    await store.tokens.add(kept("tok_a"), digest_of("a"))
    assert await other.tokens.find(digest_of("a")) == kept("tok_a")
    assert await other.tokens.revoke("tok_a", moment(1))
    assert await store.tokens.find(digest_of("a")) == kept("tok_a", revoked_at=moment(1))
    await other.close()
    later = await open_store(config, create=False)
    assert await later.tokens.list_tokens() == [kept("tok_a", revoked_at=moment(1))]
    await later.close()


@pytest.mark.parametrize("scopes", [READ, frozenset(["operate", "read"]), frozenset(SCOPES), frozenset()])
def test_scopes_are_written_and_read(scopes: frozenset[Scope]) -> None:
    """In a fixed order; an unknown scope of a newer program allows nothing."""
    assert scopes_in(scope_text(scopes)) == scopes_in(f"admin {scope_text(scopes)} reader") == scopes
    assert scope_text(frozenset(["operate", "ingest"])) == "ingest operate"


# --- files --------------------------------------------------------------------------


def holds(files: Iterable[Path], needle: bytes) -> bool:
    """Whether any of the files contains the bytes."""
    return any(needle in file.read_bytes() for file in files)


def files_of(config: Config, server: PostgresServer | None) -> list[Path]:
    """The files of a store: its folder; or the table, its indexes and the write-ahead log of its server."""
    if server is None:
        return [file for file in folder_of(config.store.url).rglob("*") if file.is_file()]
    url, data = config.store.url, server.folder / "data"
    query(url, "CHECKPOINT")
    names = query(
        url, "SELECT pg_relation_filepath(oid) FROM pg_class WHERE relname ~ '^tokens' AND relkind IN ('r', 'i')"
    )
    return [data / name for (name,) in names] + [file for file in (data / "pg_wal").iterdir() if file.is_file()]


async def test_the_secret_is_stored_nowhere(store: Store, config: Config, request: pytest.FixtureRequest) -> None:
    """No file of the database has the secret, as text or bytes, after creation, use and revocation; only the digest."""
    server = None
    if config.store.url.startswith("postgresql:"):
        server = request.getfixturevalue("postgres_server")
    tokens = TokenService(store, config)
    secret, token = await tokens.create(["ingest"], "erp", label="a label to look for")
    assert await tokens.verify(secret)
    await tokens.revoke(token.name)
    assert await TokenService(store, config).verify(secret) is None
    body = secret.removeprefix(PREFIX)
    files = files_of(config, server)
    assert holds(files, b"a label to look for")
    assert holds(files, digest_of(secret))
    for needle in (body.encode(), body[:20].encode(), base64.urlsafe_b64decode(body + "=")):
        assert not holds(files, needle)
        assert not holds(files, needle.hex().encode())
