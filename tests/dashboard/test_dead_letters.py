"""The screens of dead letters and of the audit: what they say, and each decision by forms alone."""

import json
import re
from collections.abc import Sequence
from html import unescape

import pytest

import pagefold
from pagefold import Shop
from pagefold.engine.audit.audit_views import audit_summary
from pagefold.engine.dashboard.letter_values import retry_advice
from pagefold.engine.dead_letters.request_letters import dead_letter_of_request
from pagefold.engine.stores.field_ledger import FieldFilter
from tests.dead_letters.test_webhook_retrier import ITEMS, PRICE, configured, delivery, outcomes_in, row, sender
from tests.support.dashboard_pages import Browser, browser_of
from tests.support.small_shop import SKU, append, price, stock

LETTERS = "/ui/dead-letters"


async def conflicts(shop: Shop, *amounts: str) -> None:
    """Dead letters of prices where the log has 10.00: `ingest-1` and so on."""
    await append(shop, price("10.00"))
    for amount in amounts:
        await shop.append([price(amount)])


async def toast(browser: Browser, address: str) -> str:
    """What the page after a decision says about it."""
    found = re.search(r'<p class="toast" role="status"><span>(.*?)</span>', (await browser.get(address)).text)
    assert found is not None
    return unescape(found[1])


async def reasons(shop: Shop) -> Sequence[tuple[str, str | None, str, str | None]]:
    """The entries of the audit, oldest first: action, reason, way, outcome."""
    entries = [audit_summary(each) for each in reversed((await shop.audit.page()).entries)]
    return [(each.action, each.reason, each.via, each.outcome) for each in entries]


async def test_nothing_is_dead(shop: Shop) -> None:
    """The page says so, in a sentence; no button is left over."""
    async with browser_of(shop) as browser:
        page = (await browser.get(LETTERS)).text
        assert "None is open: everything that was sent is in the log and in the pages." in page
        assert "No dead letter is open" in page
        assert "Retry" not in page
        assert "No letter is like that" in (await browser.get(f"{LETTERS}?source=erp")).text
        assert (await browser.get(f"{LETTERS}?kind=other")).status_code == 422
        assert (await browser.get(f"{LETTERS}?letter=ingest-7")).status_code == 404
        assert (await browser.get(f"{LETTERS}?after=x")).status_code == 422


async def test_causes_lead_to_their_letters(shop: Shop) -> None:
    """With the most first; the letters of one, and what differs in the one that is chosen."""
    await conflicts(shop, "1.00", "2.00")
    await append(shop, stock(1))
    await shop.append([stock(2)])
    first, second = await shop.dead_letters.causes()
    async with browser_of(shop) as browser:
        page = (await browser.get(LETTERS)).text
        assert "3 open in 2 causes." in page
        assert page.index(f"cause={first.key}") < page.index(f"cause={second.key}")
        assert '<span class="n">3</span>' in page
        page = (await browser.get(f"{LETTERS}?cause={first.key}&letter=ingest-1")).text
        assert 'aria-current="true"><td class="full">' in page
        assert "2 letters" in page
        assert "ingest-3" not in page
        assert "amount: <del>10.00</del> → <ins>1.00</ins>" in page
        assert "The log has other content at this version" in page
        part = await browser.get(f"{LETTERS}?cause={first.key}&part=causes")
        assert (part.status_code, "<form" in part.text, "<b>2</b>" in part.text) == (200, False, True)
        again = await browser.get(
            f"{LETTERS}?cause={first.key}&part=causes", headers={"if-none-match": part.headers["etag"]}
        )
        assert again.status_code == 304


async def test_letters_are_listed_in_chunks(shop: Shop) -> None:
    """The newest first, and a link to those before them."""
    await conflicts(shop, *(f"{number}.50" for number in range(25)))
    async with browser_of(shop) as browser:
        page = (await browser.get(f"{LETTERS}?source=erp")).text
        assert "20 of 25, the newest first" in page
        older = re.search(r'<a href="([^"]*)" rel="next">', page)
        assert older is not None
        page = (await browser.get(unescape(older[1]))).text
        assert "5 of 25" in page
        assert page.index("ingest-5 ·") < page.index("ingest-1 ·")


async def test_a_letter_is_corrected(shop: Shop) -> None:
    """What is rejected is shown again, as it was typed, with what is wrong; nothing was changed."""
    await conflicts(shop, "1.00")
    action = f"{LETTERS}/ingest-1:correct"
    async with browser_of(shop) as browser:
        page = (await browser.get(f"{LETTERS}?letter=ingest-1")).text
        assert '"amount": "1.00"' in unescape(page)
        wrong = {"payload": '{"currency": "EUR", "amount": "1,50"}', "reason": "a comma"}
        answer = await browser.decide(f"{LETTERS}?letter=ingest-1", action, wrong)
        assert answer.status_code == 422
        assert wrong["payload"] in unescape(answer.text)
        assert "Not appended: payload.amount" in answer.text
        good = {"payload": '{"currency": "EUR", "amount": "1.50"}', "reason": "a comma"}
        answer = await browser.decide(f"{LETTERS}?letter=ingest-1", action, good)
        assert answer.status_code == 303
        assert (await toast(browser, answer.headers["location"])).startswith("ingest-1 is corrected by the event at")
        page = (await browser.get(f"{LETTERS}?letter=ingest-1&state=decided")).text
        assert "Corrected" in page
        assert ":correct" not in page
    assert [(outcome, reason) for _, reason, _, outcome in await reasons(shop)] == [
        ("refused", "a comma"),
        ("done", "a comma"),
    ]


async def test_a_letter_is_retried_and_discarded(shop: Shop) -> None:
    """Each says what came of it; a discard asks for a reason on a page of its own."""
    await conflicts(shop, "1.00", "2.00")
    async with browser_of(shop) as browser:
        page = f"{LETTERS}?letter=ingest-1"
        answer = await browser.decide(page, f"{LETTERS}/ingest-1:retry", {})
        assert await toast(browser, answer.headers["location"]) == "ingest-1 is still dead: nothing has changed."
        confirm = f"{page}&confirm=discard-one"
        action = f"{LETTERS}/ingest-1:discard"
        assert (await browser.decide(confirm, action, {"reason": " "})).status_code == 422
        answer = await browser.decide(confirm, action, {"reason": "a test"})
        assert await toast(browser, answer.headers["location"]) == "ingest-1 is discarded."
        assert (
            await browser.decide(f"{LETTERS}?confirm=discard", f"{LETTERS}:discard", {"reason": "x"})
        ).status_code == 303
    assert await shop.dead_letters.count() == 0
    assert (await shop.dead_letters.get("ingest-1")).reason == "a test"


async def test_a_bulk_decision_is_about_what_was_shown(shop: Shop) -> None:
    """It carries the number that was counted, and is refused when there is another one by now."""
    await conflicts(shop, "1.00", "2.00")
    [cause] = await shop.dead_letters.causes()
    confirm = f"{LETTERS}?cause={cause.key}&confirm=discard"
    async with browser_of(shop) as browser:
        page = unescape((await browser.get(confirm)).text)
        assert "Discard 2 letters?" in page
        assert cause.text in page
        old = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page)
        await shop.append([price("3.00")])
        answer = await browser.post(
            f"{LETTERS}:discard",
            data={**dict(old), "expected": "2", "reason": "a test"},
            headers={"origin": "http://localhost"},
        )
        assert answer.status_code == 409
        assert "expected 2, but it is 3 by now: look again" in answer.text
        assert await shop.dead_letters.count() == 3
        retry = f"{LETTERS}?cause={cause.key}&confirm=retry"
        answer = await browser.decide(retry, f"{LETTERS}:retry", {"reason": "the ERP was repaired"})
        assert await toast(browser, answer.headers["location"]) == "Retried 3 letters: 3 still dead."
        answer = await browser.decide(confirm, f"{LETTERS}:discard", {"reason": "a test"})
        assert await toast(browser, answer.headers["location"]) == "Discarded 3 letters."
        decided = (await browser.get(f"{LETTERS}?cause={cause.key}&state=decided")).text
        assert decided.count("discarded by anonymous: a test") >= 3
    assert await reasons(shop) == [
        ("dead-letters discard", "a test", "dashboard", "refused"),
        ("dead-letters retry", "the ERP was repaired", "dashboard", "done"),
        ("dead-letters discard", "a test", "dashboard", "done"),
    ]


NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202e"


async def test_nothing_in_a_letter_is_markup(shop: Shop) -> None:
    """Neither in its body, its headers, its error, nor in what was typed."""
    letter = dead_letter_of_request(
        "erp", json.dumps({NASTY: NASTY}).encode(), NASTY, identifier="1", headers={"x-topic": NASTY}
    )
    await shop.store.dead_letters.add([letter])
    async with browser_of(shop) as browser:
        page = (await browser.get(LETTERS)).text
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        fields = {"payload": NASTY + "</textarea>", "reason": NASTY}
        answer = await browser.decide(LETTERS, f"{LETTERS}/ingest-1:correct", fields)
        assert answer.status_code == 422
        assert "<img src=x" not in answer.text
        assert answer.text.count("</textarea>") == 1
        page = (await browser.get("/ui/audit")).text
        assert "<img src=x" not in page


async def test_who_only_reads_sees_no_button_that_works(shop: Shop) -> None:
    """Buttons say what is missing, and decisions are refused."""
    await conflicts(shop, "1.00")
    secret, _ = await shop.tokens.create(["read"], label="bob")
    async with browser_of(shop, None) as browser:
        await browser.sign_in(secret)
        page = (await browser.get(f"{LETTERS}?letter=ingest-1")).text
        assert "Append the fix: needs operate" in page
        answer = await browser.decide(f"{LETTERS}?letter=ingest-1", f"{LETTERS}/ingest-1:retry", {})
        assert answer.status_code == 403
    assert await shop.dead_letters.count() == 1


# --- the audit ------------------------------------------------------------------------------------


async def test_the_audit_is_listed_and_selected(shop: Shop) -> None:
    """Who, what, about what, what came of it, why, and the command; signing in is there, too."""
    secret, token = await shop.tokens.create(["operate"], label="ada")
    await conflicts(shop, "1.00")
    async with browser_of(shop, None) as browser:
        await browser.sign_in(secret)
        await browser.decide(
            f"{LETTERS}?letter=ingest-1&confirm=discard-one", f"{LETTERS}/ingest-1:discard", {"reason": "a test"}
        )
        page = (await browser.get("/ui/audit")).text
        assert page.index("dead-letters discard") < page.index("sign-in</a>") < page.index("tokens create</a>")
        page = (await browser.get("/ui/audit?action=dead-letters&target=ingest-1&by=ada")).text
        assert "a test" in page
        assert f"caller {token.name}" in page
        assert "tokens create</a>" not in page
        assert "pagefold audit --by ada --action dead-letters --target ingest-1" in re.sub(r"</?span[^>]*>", "", page)
        assert "No entry is like that" in (await browser.get("/ui/audit?by=nobody")).text
        assert (await browser.get("/ui/audit?after=x")).status_code == 422


async def test_differences_of_a_run_are_shown(shop: Shop) -> None:
    """With how many there were."""
    await append(shop, price("10.00"))
    await shop.catch_up()
    async with shop.store.coordination.fold_transaction("pricing") as folding:
        await folding.remove([SKU])
    await shop.verify()
    async with browser_of(shop) as browser:
        page = (await browser.get("/ui/audit")).text
        assert f"{SKU}/" in page
        assert re.search(r"\d+ differences?</summary>", page)


@pytest.mark.parametrize("number", [0, 60])
async def test_older_entries_are_linked(shop: Shop, number: int) -> None:
    """There is a link if there are more than one page of them."""
    for each in range(number):
        await shop.audit.record("sign-in", by=f"person-{each}")
    async with browser_of(shop) as browser:
        page = (await browser.get("/ui/audit")).text
        older = re.search(r'<a href="([^"]*)" rel="next">', page)
        assert (older is not None) == (number > 50)
        if older is None:
            assert "Nothing was done yet" in page
        else:
            assert "person-0<" in (await browser.get(unescape(older[1]))).text


# --- what we would do ourselves -------------------------------------------------------------------


async def test_a_retry_is_offered_first_only_where_it_helps(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of requests, that is once the contract can read the newest; looking takes nothing, and counts no field."""
    monkeypatch.setenv("PLAIN", "hush")
    unread = ITEMS | {"pricing": PRICE | {"amount": "name"}}
    async with pagefold.open(configured(store_url, items=unread)) as shop, sender(shop) as client:
        rows = row("A", "1.00", name="eleven", shop="*"), row("B", "2.00", name="twelve", shop="*")
        assert await outcomes_in(client, "webhooks", delivery(*rows)) == ["kept", "kept"]
        cause = (await shop.dead_letters.causes())[0].key
        async with browser_of(shop) as browser:
            page = (await browser.get(f"{LETTERS}?cause={cause}")).text
            assert "the newest is still refused" in page
            assert "twelve" in page
            assert '<a class="btn" href="/ui/dead-letters?cause=' in page
            assert '<button class="primary">Append the fix' in page
    async with pagefold.open(configured(store_url)) as shop, browser_of(shop) as browser:
        fields = await shop.store.fields.entries(FieldFilter("erp"), limit=10)
        page = (await browser.get(f"{LETTERS}?cause={cause}")).text
        assert "the newest can be read: a retry takes it" in page
        assert '<a class="btn primary" href="/ui/dead-letters?cause=' in page
        assert "<button>Append the fix" in page
        assert await shop.dead_letters.count() == 2
        assert await shop.store.fields.entries(FieldFilter("erp"), limit=10) == fields
        mixed = (await browser.get(f"{LETTERS}?source=erp")).text
        assert "These have several causes." in mixed
        assert "btn primary" not in mixed


@pytest.mark.parametrize(
    ("kind", "is_request", "refusal", "helps"),
    [
        ("waiting", False, None, (False, False)),
        ("projection", False, None, (False, True)),
        ("ingest", False, None, (False, True)),
        ("ingest", True, "no number", (False, True)),
        ("ingest", True, None, (True, False)),
        (None, False, None, (False, False)),
    ],
)
def test_what_helps(kind: str | None, is_request: bool, refusal: str | None, helps: tuple[bool, bool]) -> None:  # noqa: FBT001  # a parameter of the test
    """A retry, a corrected payload, or neither: one primary button at most."""
    advice = retry_advice(kind, is_request=is_request, refusal=refusal)
    assert (advice.retry_helps, advice.fix_helps) == helps
