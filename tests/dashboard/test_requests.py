"""Buttons that ask workers for something, on the dashboard; without JavaScript."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from pagefold import Config, Shop
from pagefold.engine.requests.request_service import RequestService
from pagefold.engine.runtime.clock import now
from pagefold.engine.stores.grants import Grant
from pagefold.engine.stores.sync_notes import SyncNote, SyncNotes
from pagefold.projections.field_changes import FieldChange
from tests.requests.test_requests import ended, priced
from tests.support.dashboard_pages import SAME_ORIGIN, Browser, browser_of, hidden_fields
from tests.support.rebuild_fixtures import rebuild, with_snapshots

HOSTILE = "<img src=x onerror=alert(1)>"
ESCAPED = "&lt;img src=x onerror=alert(1)&gt;"
READER = Grant("tok_reader", frozenset(["read"]), None)
REBUILD, VERIFY = "/ui/runs?confirm=rebuild", "/ui/runs?confirm=verify"


@pytest.fixture
def config(store_url: str, tmp_path: Path) -> Config:
    """The small shop, whose ERP has a snapshot, and which asks its PIM for changes."""
    return with_snapshots(store_url, tmp_path, "erp", deltas={"pim": {"url": "http://127.0.0.1:9/items?since={since}"}})


@pytest.fixture
async def browser(shop: Shop) -> AsyncIterator[Browser]:
    """A browser of somebody who may do everything."""
    async with browser_of(shop) as opened:
        yield opened


async def hold_sync(shop: Shop, removals: int = 6) -> None:
    """A sync of the PIM that would remove something, and says it again."""
    notes = SyncNotes(shop.store, "pim")
    await notes.newest()
    sample = (f"{HOSTILE}/*/catalog/pim", [FieldChange("name", HOSTILE, None)])
    note = SyncNote("pim-1", "pim", now(), now(), now(), held=f"{removals} {HOSTILE}", removals=removals)
    note.samples.append(sample)
    await shop.append_noted([], notes.event(note))


async def seen(shop: Shop, browser: Browser) -> str:
    """The address of a dry run of the ERP that has ended; it would change three streams."""
    answer = await browser.decide(REBUILD, "/ui/requests:rebuild", {"source": "erp", "reason": HOSTILE})
    assert answer.status_code == 303
    await ended(shop, (await RequestService(shop).open())[0])
    return answer.headers["location"]


async def test_a_rebuild_by_its_dry_run(shop: Shop, config: Config, browser: Browser) -> None:
    """It waits for a worker, shows what it found, and is started with the number that was typed."""
    await priced(shop, config)
    await browser.decide(REBUILD, "/ui/requests:rebuild", {"source": "erp", "reason": HOSTILE})
    [request] = await RequestService(shop).open()
    address = f"/ui/requests/{request.number}"
    page = (await browser.get(address)).text
    assert "It waits for a worker" in page
    assert "Start the rebuild" not in page
    assert address in (await browser.get("/ui/runs?part=asked")).text
    await ended(shop, request)
    assert "data-follow" in (await browser.get(f"{address}?part=progress")).text
    page = (await browser.get(address)).text
    for words in ("It would change 3 streams", "<del>1.00</del> → <ins>2.00</ins>", ">SKU-000<", ">SKU-001<", ESCAPED):
        assert words in page
    assert HOSTILE not in page
    assert "data-follow" not in page
    start = f"{address}:start"
    for fields, status in (({}, 422), ({"expected": "2"}, 409), ({"expected": "x"}, 422)):
        assert (await browser.decide(address, start, {"reason": "seen", **fields})).status_code == status
    answer = await browser.decide(address, start, {"reason": "seen", "expected": "3"})
    assert answer.status_code == 303
    assert "Asked for the rebuild" in (await browser.get(answer.headers["location"])).text
    again = await browser.decide(address, start, {"reason": "seen", "expected": "3"})
    assert again.status_code == 409
    assert "was asked for already" in again.text
    done = await ended(shop, (await RequestService(shop).open())[0])
    rebuilt = done.rebuilt()
    assert rebuilt is not None
    assert f"/ui/runs/{rebuilt.report.run}" in (await browser.get(answer.headers["location"])).text
    again = await browser.decide(address, start, {"reason": "seen", "expected": "3"})
    assert (again.status_code, "began after this dry run" in again.text) == (409, True)
    listed = (await browser.get("/ui/runs?kind=scheduled")).text
    assert listed.count('href="/ui/requests/') == 2


async def test_a_stale_dry_run_starts_nothing(shop: Shop, config: Config, browser: Browser) -> None:
    """Somebody has rebuilt the source by a command since the form was shown."""
    await priced(shop, config)
    address = await seen(shop, browser)
    await rebuild(shop, "erp")
    answer = await browser.decide(address, f"{address}:start", {"reason": "seen", "expected": "3"})
    assert answer.status_code == 409
    assert "make another one" in answer.text
    assert await RequestService(shop).open() == []


async def test_a_sample_is_verified(shop: Shop, config: Config, browser: Browser) -> None:
    """The number is bounded; the result is on the page, and in the audit with the reason."""
    await priced(shop, config)
    for sample in ("0", "10001", "many", ""):
        answer = await browser.decide(VERIFY, "/ui/requests:verify", {"sample": sample, "reason": "x"})
        assert answer.status_code == 422
    answer = await browser.decide(VERIFY, "/ui/requests:verify", {"sample": "20", "reason": HOSTILE})
    await ended(shop, (await RequestService(shop).open())[0])
    page = (await browser.get(answer.headers["location"])).text
    assert "sections are as the log says" in page
    page = (await browser.get("/ui/audit?action=verify")).text
    assert ESCAPED in page
    assert HOSTILE not in page


async def test_a_request_is_cancelled_while_it_waits(shop: Shop, browser: Browser) -> None:
    """Its page says by whom and why, and has no button any more; one that has begun is not cancelled."""
    fields = {"sample": "20", "reason": "x"}
    address = (await browser.decide(VERIFY, "/ui/requests:verify", fields)).headers["location"]
    assert "Cancel the request" in (await browser.get(address)).text
    answer = await browser.decide(address, f"{address}:cancel", {"reason": HOSTILE})
    assert (answer.status_code, answer.headers["location"]) == (303, address)
    page = (await browser.get(address)).text
    assert (ESCAPED in page, HOSTILE in page, "Cancel the request" in page) == (True, False, False)
    assert "It was not done" in page
    address = (await browser.decide(VERIFY, "/ui/requests:verify", fields)).headers["location"]
    form = hidden_fields((await browser.get(address)).text, f"{address}:cancel")
    [request] = await RequestService(shop).open()
    assert await shop.store.schedule.take_up(request.number, now())
    answer = await browser.post(f"{address}:cancel", data={**form, "reason": "x"}, headers=SAME_ORIGIN)
    assert (answer.status_code, "has begun" in answer.text) == (409, True)
    assert "Cancel the request" not in (await browser.get(address)).text


@pytest.mark.parametrize(("decision", "words"), [("append", "removes something from 6"), ("leave-out", "leaves 6")])
async def test_a_held_sync_is_decided(shop: Shop, browser: Browser, decision: str, words: str) -> None:
    """After seeing what it would remove, with that number; while a worker carries it out, nobody else decides."""
    await hold_sync(shop)
    page = (await browser.get("/ui/runs")).text
    assert ESCAPED in page
    assert HOSTILE not in page
    assert '<span class="nowrap">--leave-out</span> <span class="nowrap">--expect</span>' in page
    fields = {"source": "pim", "decision": decision, "reason": "looked into", "expected": "6"}
    stale = await browser.decide("/ui/runs", "/ui/requests:sync", {**fields, "expected": "5"})
    assert (stale.status_code, "expected 5, but it is 6" in stale.text) == (409, True)
    answer = await browser.decide("/ui/runs", "/ui/requests:sync", fields)
    assert answer.status_code == 303
    assert words in (await browser.get(answer.headers["location"])).text
    page = (await browser.get("/ui/runs")).text
    assert "a worker carries it out" in page
    assert 'action="/ui/requests:sync"' not in page
    [request] = await RequestService(shop).open()
    assert request.asked.reason == "looked into"


async def test_a_sync_that_is_not_held_any_more(shop: Shop, browser: Browser) -> None:
    """Its form was shown before the source was repaired."""
    await hold_sync(shop)
    hidden = await browser.get("/ui/runs")
    notes = SyncNotes(shop.store, "pim")
    note = await notes.newest()
    assert note is not None
    await shop.append_noted([], notes.event(note.completed()))
    token = re.search(r'name="csrf" value="([^"]+)"', hidden.text)
    assert token is not None
    fields = {"csrf": token[1], "source": "pim", "decision": "append", "reason": "x", "expected": "6"}
    answer = await browser.post("/ui/requests:sync", data=fields)
    assert (answer.status_code, "not any more" in answer.text) == (409, True)
    assert "would remove too much" not in (await browser.get("/ui/runs")).text


async def test_who_only_reads_asks_for_nothing(shop: Shop) -> None:
    """The buttons say what is missing, and the requests are refused."""
    await hold_sync(shop)
    async with browser_of(shop, READER) as reader:
        for page, action, fields in (
            (REBUILD, "/ui/requests:rebuild", {"source": "erp"}),
            (VERIFY, "/ui/requests:verify", {"sample": "5"}),
            ("/ui/runs", "/ui/requests:sync", {"source": "pim", "decision": "append", "expected": "6"}),
        ):
            assert "needs operate" in (await reader.get(page)).text
            answer = await reader.decide(page, action, {**fields, "reason": "x"})
            assert answer.status_code == 403
    assert await RequestService(shop).open() == []


async def test_a_token_that_is_revoked_before_the_form_is_sent(shop: Shop) -> None:
    """The page says that nothing was done, and leads back."""
    secret, token = await shop.tokens.create(["operate"], None, label="ada")
    async with browser_of(shop, None) as browser:
        await browser.sign_in(secret)
        page = await browser.get(VERIFY)
        await shop.tokens.revoke(token.name)
        found = re.search(r'name="csrf" value="([^"]+)"', page.text)
        assert found is not None
        fields = {"csrf": found[1], "sample": "5", "reason": "x"}
        answer: httpx2.Response = await browser.post(
            "/ui/requests:verify", data=fields, headers={"referer": f"http://localhost{VERIFY}"}
        )
    assert answer.status_code == 401
    assert "nothing was done" in answer.text
    assert 'value="/ui/runs?confirm=verify"' in answer.text
    assert await RequestService(shop).open() == []


async def test_requests_that_are_none(browser: Browser) -> None:
    """Whatever is in the address or the form."""
    for number in ("1", "0", "-1", "x", "9" * 30, "%00", HOSTILE):
        answer = await browser.get(f"/ui/requests/{number}")
        assert answer.status_code == 404
        assert HOSTILE not in answer.text
    answer = await browser.decide(REBUILD, "/ui/requests:rebuild", {"source": HOSTILE, "reason": "x"})
    assert answer.status_code == 422
    assert HOSTILE not in answer.text
