"""Sessions in stores: found by their digest, ended, expired, and limited in number."""

from pagefold.engine.stores.session_records import Session
from pagefold.engine.stores.store import Store
from tests.support.token_fixtures import digest_of, moment


def session(name: str, of: str = "ada", begun: int = 0, ends: int = 100) -> Session:
    """A session, by name."""
    return Session(digest_of(name), digest_of(of), moment(begun), moment(ends))


async def test_a_session_is_found_until_it_is_removed(store: Store) -> None:
    """It comes back complete by its digest, nothing else does, and removing it twice is harmless."""
    await store.sessions.add(session("a"), keep=5)
    assert await store.sessions.find(digest_of("a")) == session("a")
    assert await store.sessions.find(digest_of("b")) is None
    for _ in range(2):
        await store.sessions.remove(digest_of("a"))
    assert await store.sessions.find(digest_of("a")) is None


async def test_expired_and_surplus_sessions_are_removed(store: Store) -> None:
    """A new one removes those that have ended by then, and of its token all but the newest."""
    await store.sessions.add(session("old", ends=1), keep=2)
    await store.sessions.add(session("other", of="bob", begun=1), keep=2)
    assert await store.sessions.find(digest_of("old")) is None
    for begun, name in enumerate("abc", start=2):
        await store.sessions.add(session(name, begun=begun), keep=2)
    found = [name for name in ("a", "b", "c", "other") if await store.sessions.find(digest_of(name)) is not None]
    assert found == ["b", "c", "other"]
