"""The token service: which secrets are accepted, for how long, and when a revocation counts."""

import base64
import logging
import re
from collections.abc import Iterator, Sequence
from datetime import timedelta

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefold import Config, Shop, StoreUnavailable
from pagefold.engine.access.token_service import (
    MAX_CACHED_TOKENS,
    MAX_LABEL_CHARACTERS,
    MAX_LIFETIME,
    TOKEN_CACHE_SECONDS,
    TokenService,
)
from pagefold.engine.errors import InvalidTokenRequest, UnknownToken
from pagefold.engine.runtime.redaction import PREFIX, Secret, redact_secrets
from pagefold.engine.stores.audit_records import EVERY, AuditEnd, AuditEntry, AuditFilter, AuditRecords, NewAuditEntry
from pagefold.engine.stores.grants import Grant, Scope, Token, TokenState
from pagefold.engine.stores.store import Store
from pagefold.engine.stores.token_records import Tokens
from tests.support.shared_data import data_file
from tests.support.small_shop import configured
from tests.support.token_fixtures import GUESS, READ, Scene, digest_of, kept, moment

SHAPE = r"pagefold_[A-Za-z0-9_-]{43}"
SECONDS = 10.0


@pytest.fixture
def scene(store: Store, config: Config) -> Iterator[Scene]:
    """A token service on each kind of store."""
    tokens = store.tokens
    yield Scene(store, config)
    store.tokens = tokens


# --- creating tokens ----------------------------------------------------------------------------------


async def test_a_secret_is_accepted(scene: Scene) -> None:
    """It gives the token's grant: its name, scopes and source."""
    secret, token = await scene.service.create(["ingest", "read", "read"], "erp", label="ERP")
    assert token == Token(token.name, "ERP", frozenset(["read", "ingest"]), "erp", moment(0))
    assert await scene.service.verify(secret) == Grant(token.name, frozenset(["read", "ingest"]), "erp")
    other, reader = await scene.service.create(["read"])
    assert await scene.service.verify(str(other)) == Grant(reader.name, READ, None)
    assert await scene.service.tokens() == sorted([token, reader])


async def test_secrets_are_random_and_recognisable(scene: Scene) -> None:
    """Secrets have 256 random bits after a prefix; a token's name is the start of its digest."""
    made = [await scene.service.create(["read"]) for _ in range(50)]
    for secret, token in made:
        assert re.fullmatch(SHAPE, secret)
        assert len(base64.urlsafe_b64decode(secret.removeprefix(PREFIX) + "=")) == 32
        assert re.fullmatch(r"tok_[0-9a-f]{12}", token.name)
        assert digest_of(secret).hex().startswith(token.name.removeprefix("tok_"))
    assert len({secret for secret, _ in made}) == len({token.name for _, token in made}) == 50


async def test_a_secret_is_shown_on_purpose_only(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a `repr` nor a log line nor an error contains it; `print` does."""
    caplog.set_level(logging.DEBUG)
    secret, token = await scene.service.create(["read"], label="till 3")
    logging.getLogger("a program").warning("made %r", (secret, token))
    with pytest.raises(UnknownToken) as unknown:
        await scene.service.revoke(f"Bearer {secret}")
    assert isinstance(secret, Secret)
    assert f"{secret}" == str(secret) == "".join(secret)
    for text in (repr(secret), repr((secret, token)), f"{secret!r}", str(unknown.value), caplog.text):
        assert secret[len(PREFIX) :] not in text
    assert redact_secrets(f"a {secret}, b {secret}") == f"a {token.name}, b {token.name}"


@pytest.mark.parametrize(
    ("scopes", "source", "expires_in", "label", "words"),
    [
        ([], None, None, "", "scope: none given; a token has one or more of read, ingest, operate"),
        (["admin", "read"], None, None, "", "scope: 'admin' given; a token"),
        (["ingest"], None, None, "", "source: the scope ingest needs a source; the sources are pim, pim2, erp"),
        (["ingest"], "mars", None, "", "source: unknown source 'mars'; the sources are pim"),
        (["ingest", "read"], "", None, "", "source: unknown source ''"),
        (["read", "operate"], "erp", None, "", "source: only a token with the scope ingest"),
        (["read"], None, timedelta(0), "", "expires: must be in the future, at most 3,650 days ahead"),
        (["read"], None, timedelta(seconds=-1), "", "expires: must"),
        (["read"], None, MAX_LIFETIME + timedelta(microseconds=1), "", "expires: must"),
        (["read"], None, timedelta.max, "", "expires: must"),
        (["read"], None, None, "x" * (MAX_LABEL_CHARACTERS + 1), "label: use printable characters, at most 200"),
        (["read"], None, None, "a\0b", "label: use"),
        (["read"], None, None, "a\nb", "label: use"),
        (["read"], None, None, "\ud800", "label: use"),
    ],
)
async def test_an_invalid_token_is_not_created(
    scene: Scene, scopes: list[Scope], source: str | None, expires_in: timedelta | None, label: str, words: str
) -> None:
    """An invalid request names the wrong part, and nothing is stored."""
    with pytest.raises(InvalidTokenRequest, match=f"^{re.escape(words)}"):
        await scene.service.create(scopes, source, expires_in, label)
    assert await scene.service.tokens() == []


async def test_the_longest_lifetime_and_label_are_stored(scene: Scene) -> None:
    """Values up to the limits are stored unchanged."""
    label = "🎽" * MAX_LABEL_CHARACTERS
    secret, token = await scene.service.create(["operate"], None, MAX_LIFETIME, label)
    assert token.label == label
    assert token.expires_at == moment(MAX_LIFETIME.total_seconds())
    assert await scene.service.tokens() == [token]
    assert await scene.service.verify(secret) is not None


@pytest.mark.parametrize(
    ("expires", "revoked", "at", "state"),
    [
        (None, None, 9e6, "live"),
        (10, None, 9.999999, "live"),
        (10, None, 10, "expired"),
        (None, 5, 5, "revoked"),
        (10, 5, 20, "revoked"),
    ],
)
def test_the_state_of_a_token(expires: float | None, revoked: float | None, at: float, state: TokenState) -> None:
    """Live until it expires or is revoked; revoked takes precedence."""
    expires_at, revoked_at = (None if seconds is None else moment(seconds) for seconds in (expires, revoked))
    assert kept("tok_a", expires_at=expires_at, revoked_at=revoked_at).state(moment(at)) == state


# --- verifying ------------------------------------------------------------------------------------


async def test_a_token_expires_immediately(scene: Scene) -> None:
    """To the microsecond, also if it was just verified."""
    secret, token = await scene.service.create(["read"], expires_in=timedelta(seconds=2))
    assert await scene.service.verify(secret) == token.grant
    scene.seconds = 1.999999
    assert await scene.service.verify(secret) == token.grant
    scene.seconds = 2.0
    assert await scene.service.verify(secret) is None
    assert await scene.another().verify(secret) is None


async def test_a_revocation_counts_within_seconds(scene: Scene) -> None:
    """Immediately in this process; in another, once its cache entry is too old."""
    secret, token = await scene.service.create(["read"])
    other, third = scene.another(), scene.another()
    assert await scene.service.verify(secret) == await other.verify(secret) == token.grant
    await scene.service.revoke(token.name)
    assert await scene.service.verify(secret) is None
    assert await third.verify(secret) is None
    scene.seconds = TOKEN_CACHE_SECONDS / 2 - 0.001
    assert await other.verify(secret) == token.grant
    scene.seconds = TOKEN_CACHE_SECONDS / 2
    assert await other.verify(secret) is None
    scene.seconds = 0
    assert await other.verify(secret) is None


async def test_the_cache_time_begins_before_the_lookup(scene: Scene) -> None:
    """A slow lookup does not extend the time in the cache: a token revoked meanwhile is refused in time."""
    secret, token = await scene.service.create(["read"])
    other = scene.another()
    scene.watched.hold()
    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(other.verify, secret)
            await scene.watched.reached.wait()
            await scene.service.revoke(token.name)
            scene.seconds = TOKEN_CACHE_SECONDS
            scene.watched.gate.set()
    assert await other.verify(secret) is None


async def test_a_cached_token_is_looked_up_by_one_caller(scene: Scene) -> None:
    """When a cached token is due, one caller looks it up; concurrent ones use the cache."""
    secret, token = await scene.service.create(["read"])
    await scene.service.verify(secret)
    assert [await scene.service.verify(secret) for _ in range(100)] == [token.grant] * 100
    assert scene.watched.asked == 1
    scene.watched.hold()
    scene.seconds = TOKEN_CACHE_SECONDS / 2
    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(scene.service.verify, secret)
            await scene.watched.reached.wait()
            assert [await scene.service.verify(secret) for _ in range(100)] == [token.grant] * 100
            scene.watched.gate.set()
    assert scene.watched.asked == 2
    scene.seconds = TOKEN_CACHE_SECONDS - 0.001
    assert await scene.service.verify(secret) == token.grant
    assert scene.watched.asked == 2


async def test_guesses_are_not_cached(scene: Scene) -> None:
    """A secret of the right form costs a lookup, any other nothing; no memory grows with them."""
    guesses = [f"{PREFIX}{number:043}" for number in range(300)]
    assert [await scene.service.verify(guess) for guess in guesses] == [None] * 300
    assert scene.watched.asked == 300
    for guess in ("", "x", PREFIX, GUESS[:-1], GUESS + "x", GUESS + "\n", " " + GUESS, GUESS.upper(), "x" * 10**6):
        assert await scene.service.verify(guess) is None
    assert scene.watched.asked == 300
    assert not scene.service._cached


async def test_the_cache_is_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is bounded; evicted tokens are looked up again and accepted."""
    assert MAX_CACHED_TOKENS < 10_000
    monkeypatch.setattr("pagefold.engine.access.token_service.MAX_CACHED_TOKENS", 3)
    made = [await scene.service.create(["read"]) for _ in range(5)]
    for secret, token in made * 2:
        assert await scene.service.verify(secret) == token.grant
        assert len(scene.service._cached) <= 3
    assert scene.watched.asked == 10
    assert await scene.service.verify(made[-1][0])
    assert scene.watched.asked == 10


async def test_an_unavailable_store_is_an_error(scene: Scene) -> None:
    """If the store is unavailable, uncached tokens give an error, and cached ones are accepted."""
    secret, token = await scene.service.create(["read"])
    assert await scene.service.verify(secret) == token.grant
    scene.watched.away = True
    assert await scene.service.verify(secret) == token.grant
    with pytest.raises(StoreUnavailable):
        await scene.service.verify(GUESS)
    scene.seconds = TOKEN_CACHE_SECONDS
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await scene.service.verify(secret)
    scene.watched.away = False
    assert await scene.service.verify(secret) == token.grant


@pytest.mark.parametrize("name", ["tok_0123456789ab", "tok_", "", "a\0b", "\ud800", "tok_0123456789AB", GUESS, "%"])
async def test_an_unknown_token_cannot_be_revoked(scene: Scene, name: str) -> None:
    """The error says where to look, without any secret."""
    with pytest.raises(UnknownToken, match="pagefold tokens list") as error:
        await scene.service.revoke(name)
    assert GUESS not in str(error.value)


async def test_a_secret_that_was_found_can_be_revoked(scene: Scene) -> None:
    """Its secret may be given in place of its name, any number of times."""
    secret, token = await scene.service.create(["read"])
    scene.seconds = 1
    for _ in range(2):
        await scene.service.revoke(secret)
        scene.seconds = 2
    assert await scene.service.verify(secret) is None
    assert await scene.service.tokens() == [token._replace(revoked_at=moment(1))]


async def test_a_shop_has_its_tokens(shop: Shop) -> None:
    """`shop.tokens` is the service, with the machine's clocks."""
    secret, token = await shop.tokens.create(["ingest"], "erp", timedelta(hours=1))
    assert await shop.tokens.verify(secret) == token.grant
    await shop.tokens.revoke(token.name)
    assert await shop.tokens.verify(secret) is None


# --- any text -------------------------------------------------------------------------------------

bodies = st.text(st.sampled_from("abcXYZ019_-=\u017f\u212a\u0660\n é\ud800"), min_size=40, max_size=46)
shown = st.one_of(st.text(st.characters()), bodies.map(PREFIX.__add__), st.from_regex(SHAPE), st.from_regex(SHAPE[:-4]))


class Refusals(AuditRecords):
    """An audit of what is refused."""

    async def begin(self, entry: NewAuditEntry) -> int:
        """One entry like another."""
        return len(entry.action)

    async def end(self, number: int, end: AuditEnd) -> None:
        """It was refused."""
        assert (number, end.outcome) == (len("tokens revoke"), "refused")

    async def newest(
        self, selection: AuditFilter = EVERY, *, below: int | None = None, limit: int = 100
    ) -> Sequence[AuditEntry]:
        """Never called."""
        raise AssertionError(selection, below, limit)

    async def oldest(self) -> str | None:
        """Never called."""
        raise AssertionError

    async def forget(self, before: str, limit: int) -> int:
        """Never called."""
        raise AssertionError(before, limit)


class Nothing(Tokens):
    """A store without tokens."""

    async def add(self, token: Token, digest: bytes) -> None:
        """Never called."""
        raise AssertionError(token, digest)

    async def find(self, digest: bytes) -> Token | None:
        """None for any digest."""
        assert len(digest) == 32
        return None

    async def list_tokens(self, after: Token | None = None, *, limit: int = 100) -> list[Token]:  # noqa: ARG002  # the contract's
        """None."""
        return []

    async def revoke(self, name: str, moment: str) -> bool:  # noqa: ARG002  # the contract's
        """None, of a name that any database takes."""
        assert re.fullmatch("tok_[0-9a-f]{12}", name)
        return False


@given(shown)
async def test_any_text_is_turned_away(text: str) -> None:
    """Whatever is shown as a secret or given as a name: None, `UnknownToken`, and no other error."""
    await _turn_away(text)


async def test_naughty_strings_are_turned_away() -> None:
    """Strings that break software are neither secrets nor names."""
    strings: list[str] = msgspec.json.decode(data_file("naughty", "blns.json").read_bytes())
    for text in strings:
        await _turn_away(text)
        await _turn_away(PREFIX + text)


async def _turn_away(text: str) -> None:
    class Empty:
        tokens = Nothing()
        audit = Refusals()

    service = TokenService(Empty(), configured("sqlite:///nowhere"))  # type: ignore[arg-type]  # a store's tokens are enough
    assert await service.verify(text) is None
    with pytest.raises(UnknownToken):
        await service.revoke(text)
    assert redact_secrets(redact_secrets(text)) == redact_secrets(text)
