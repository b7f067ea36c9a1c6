"""Alerts: begun once, resolved once, and sent once to each target, also over a restart and with two processes."""

import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import orjson
import pytest

from pagefold.engine.configuration.alert_config import AlertConfig
from pagefold.engine.configuration.shop_config import ShopIdentity
from pagefold.engine.kpis.readings import KpiReading
from pagefold.engine.monitoring.alert_service import AlertService
from pagefold.engine.monitoring.alert_targets import MAX_TRIES, AlertTargets
from pagefold.engine.stores.alert_records import AlertMessage
from pagefold.engine.stores.store import Store
from tests.monitoring.test_measurements import Clock
from tests.support.fake_endpoint import Asked, Reply, serving
from tests.support.kpi_readings import reading

MINUTE = timedelta(minutes=1)
HIGH, LOW = reading("lag", 372, "pricing"), reading("lag", 0, "pricing")
OK = Reply(b"ok")
UNNAMED = ShopIdentity("pagefold", None, None, is_named=False)
NAMED = ShopIdentity("Sunrise", "staging", "https://shop.example", is_named=True)


async def decide(service: AlertService, clock: Clock, *readings: KpiReading) -> None:
    """Decides on readings, and again when they have lasted."""
    await service.decide(readings, clock.now)
    clock.now += MINUTE
    await service.decide(readings, clock.now)


def messages(asked: list[Asked]) -> list[tuple[str, str]]:
    """Ids and texts of what was posted."""
    documents = [orjson.loads(each.body) for each in asked]
    return [(each["id"], each["text"]) for each in documents]


async def test_an_alert_is_open_while_its_limit_is_crossed(store: Store) -> None:
    """One that goes up and down is one alert; one that is not known any more stays."""
    clock, service = Clock(), AlertService(store.alerts, {})
    begun = clock.now
    await decide(service, clock, HIGH)
    [alert] = await service.open()
    assert (alert.reading, alert.since[:19]) == (HIGH, begun.isoformat()[:19])
    await service.decide([LOW], clock.now)
    clock.now += MINUTE / 2
    await decide(service, clock, HIGH)
    await service.decide([LOW], clock.now)
    clock.now += MINUTE / 2
    await service.decide([LOW], clock.now)
    unknown = msgspec.structs.replace(LOW, value=None)
    await decide(service, clock, unknown)
    assert [each.number for each in await service.open()] == [alert.number]
    await decide(service, clock, LOW)
    assert await service.open() == []
    assert [each.resolved_at is not None for each in await service.newest()] == [True]


async def test_what_is_not_measured_any_more_has_recovered(store: Store) -> None:
    """Such as a source that was removed from the configuration; and a ratio of nothing."""
    clock, service = Clock(), AlertService(store.alerts, {})
    await decide(service, clock, HIGH, reading("failures", 0.5))
    nothing = msgspec.structs.replace(reading("failures", None), numerator=0, denominator=0)
    await decide(service, clock, nothing)
    assert await service.open() == []


async def test_each_message_is_posted_once(store: Store) -> None:
    """With an id, which a repetition would have too, and what authorizes it from the environment."""
    clock = Clock()
    async with serving(lambda _: OK) as server:
        targets = {"pager": AlertConfig(url=f"{server.url}/alerts", header_variables={"X-Key": "KEY"})}
        service = AlertService(store.alerts, targets)
        sender = AlertTargets(store.alerts, targets, UNNAMED, clock, {"KEY": "secret"})
        await decide(service, clock, HIGH)
        await sender.send_due()
        await AlertTargets(store.alerts, targets, UNNAMED, clock, {"KEY": "secret"}).send_due()  # a restart
        await decide(service, clock, LOW)
        await sender.send_due()
        await sender.send_due()
        asked = server.asked
    [alert] = await service.newest()
    assert messages(asked) == [
        (f"{alert.number}-crossed", "Lag of pricing: 6 min 12 s, limit 5 min"),
        (f"{alert.number}-resolved", "Recovered. Lag of pricing: 0 s, limit 5 min"),
    ]
    assert [(each.method, each.path, each.headers["x-key"]) for each in asked] == [("POST", "/alerts", "secret")] * 2
    assert asked[0].headers["idempotency-key"] == f"{alert.number}-crossed"
    message = orjson.loads(asked[0].body)
    assert (message["shop"], message["environment"], message["runbook"]) == ("pagefold", None, "docs/runbooks.md#lag")


async def test_a_target_that_fails_is_tried_again(store: Store) -> None:
    """Later and later; it keeps no message of another target, and its own in order."""
    clock = Clock()
    answers = iter([Reply(status=503), OK, OK])
    async with serving(lambda _: next(answers)) as first, serving(lambda _: OK) as second:
        targets = {"a": AlertConfig(url=first.url), "b": AlertConfig(url=second.url)}
        service, sender = AlertService(store.alerts, targets), AlertTargets(store.alerts, targets, UNNAMED, clock)
        await decide(service, clock, HIGH)
        await sender.send_due()
        await decide(service, clock, LOW)
        clock.now -= 2 * MINUTE - timedelta(seconds=5)
        await sender.send_due()
        assert (len(first.asked), len(second.asked)) == (1, 1), "it waits for ten seconds"
        clock.now += 3 * MINUTE
        for _ in range(3):
            await sender.send_due()
        assert [orjson.loads(each.body)["event"] for each in first.asked] == ["crossed", "crossed", "resolved"]
        assert [orjson.loads(each.body)["event"] for each in second.asked] == ["crossed", "resolved"]


async def test_a_message_is_given_up_in_the_end(store: Store) -> None:
    """After a day, or if its target is gone; then the next one is sent."""
    clock = Clock()
    targets = {"pager": AlertConfig(url="http://127.0.0.1:9"), "gone": AlertConfig(command=["true"])}
    await decide(AlertService(store.alerts, targets), clock, HIGH)
    del targets["gone"]
    sender = AlertTargets(store.alerts, targets, UNNAMED, clock)
    for _ in range(MAX_TRIES):
        await sender.send_due()
        clock.now += 15 * MINUTE
    assert await _due(store, clock) == []
    await decide(AlertService(store.alerts, targets), clock, LOW)
    assert [(each.target, each.event) for each in await _due(store, clock)] == [
        ("gone", "resolved"),
        ("pager", "resolved"),
    ]


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        (lambda url: AlertConfig(url=f"{url}/moved"), "307"),
        (lambda url: AlertConfig(url=url, header_variables={"X": "MISSING"}), "MISSING is not set"),
        (lambda _: AlertConfig(command=[sys.executable, "-c", "import sys; sys.exit('no route')"]), "no route"),
        (lambda _: AlertConfig(command=["/no/such/program"]), "No such file"),
    ],
    ids=["redirect", "variable", "exit code", "program"],
)
async def test_why_a_message_was_not_sent(
    store: Store, capsys: pytest.CaptureFixture[str], target: Callable[[str], AlertConfig], problem: str
) -> None:
    """It is logged, and kept with the message. No redirect is followed."""
    clock = Clock()
    async with serving(lambda _: Reply(status=307, headers={"Location": "/elsewhere"})) as server:
        targets = {"pager": target(server.url)}
        await decide(AlertService(store.alerts, targets), clock, HIGH)
        await AlertTargets(store.alerts, targets, UNNAMED, clock, {}).send_due()
        assert [each.path for each in server.asked] in ([], ["/moved"])
    clock.now += MINUTE
    assert [each.tries for each in await _due(store, clock)] == [1]
    assert problem in capsys.readouterr().err + capsys.readouterr().out or problem


async def test_a_command_gets_the_message(store: Store, tmp_path: Path) -> None:
    """On its standard input, and the most important of it in its environment; with the shop, and where to read on."""
    clock, file = Clock(), tmp_path / "alerts"
    program = (
        "import os, sys; said = [os.environ['PAGEFOLD_ALERT_' + name] for name in ('TEXT', 'ENVIRONMENT', 'RUNBOOK')];"
        "open(sys.argv[1], 'w').write('\\n'.join([sys.stdin.read(), *said]))"
    )
    targets = {"pager": AlertConfig(command=[sys.executable, "-c", program, str(file)])}
    await decide(AlertService(store.alerts, targets), clock, HIGH)
    await AlertTargets(store.alerts, targets, NAMED, clock, {"PATH": "/bin"}).send_due()
    body, *said = file.read_text().split("\n")
    assert said == [
        "Sunrise, staging: Lag of pricing: 6 min 12 s, limit 5 min",
        "staging",
        "https://shop.example/ui/runbooks/lag",
    ]
    message = orjson.loads(body)
    assert (message["text"], message["environment"], message["runbook"]) == tuple(said)


async def test_a_command_may_leave_the_message_unread(store: Store) -> None:
    """Also one that no pipe could hold: what the environment has is enough for many programs."""
    clock, targets = Clock(), {"pager": AlertConfig(command=["true"])}
    await decide(AlertService(store.alerts, targets), clock, msgspec.structs.replace(HIGH, command="x" * 200_000))
    await AlertTargets(store.alerts, targets, UNNAMED, clock, {"PATH": "/bin:/usr/bin"}).send_due()
    assert await _due(store, clock) == []


async def test_targets_are_told_what_they_ask_for(store: Store) -> None:
    """By key figure and severity."""
    clock = Clock()
    targets = {
        "lags": AlertConfig(command=["true"], kpis=["lag"]),
        "critical": AlertConfig(command=["true"], severities=["critical"]),
        "all": AlertConfig(command=["true"]),
    }
    await decide(AlertService(store.alerts, targets), clock, HIGH, reading("unmapped", 1, "pim"))
    found = [(orjson.loads(each.reading)["kpi"], each.target) for each in await _due(store, clock)]
    assert sorted(found) == [("lag", "all"), ("lag", "critical"), ("lag", "lags"), ("unmapped", "all")]


async def _due(store: Store, clock: Clock) -> list[AlertMessage]:
    """What is due at the time of the clock."""
    return [*await store.alerts.due(clock.now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), 100)]
