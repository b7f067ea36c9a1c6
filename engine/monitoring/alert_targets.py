"""Sends alerts to their targets: each message once, and again until it has arrived.

A message is done with when its target has accepted it. If a process dies in between, the message is sent again, with
the same id, by which a receiver can know it.
"""

import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from itertools import groupby
from typing import IO

import anyio
import msgspec
from anyio.to_thread import run_sync

from pagefold.domains.values import format_timestamp
from pagefold.engine.configuration.alert_config import AlertConfig
from pagefold.engine.configuration.shop_config import ShopIdentity
from pagefold.engine.kpis.readings import KpiReading
from pagefold.engine.runtime.clock import moment
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.runtime.memory_file import file_in_memory
from pagefold.engine.runtime.task_groups import run_together
from pagefold.engine.stores.alert_records import AlertEvent, AlertMessage, Alerts

POLL_SECONDS = 2.0
TIMEOUT_SECONDS = 10.0
FIRST_WAIT, MAX_WAIT = timedelta(seconds=10), timedelta(minutes=15)
MAX_TRIES = 100
"""Attempts for a message, over a day. Then it is given up."""

MAX_MESSAGES = 100
MAX_ERROR = 300

log = Logger(__name__)


class AlertNotice(msgspec.Struct, frozen=True, rename="camel"):
    """What a target is sent. `id` is the same whenever the same message is sent; `since` is when the alert began.

    `text` begins with the shop and its environment if the configuration names them; `runbook` is where it says what to
    do: an address if that of the server is known.
    """

    id: str
    event: AlertEvent
    text: str
    since: str
    shop: str
    environment: str | None
    runbook: str
    reading: KpiReading


class SendingFailedError(Exception):
    """A target did not take a message."""


class SecretMissingError(SendingFailedError):
    """The environment lacks a variable of the configuration."""

    def __init__(self, variable: str) -> None:
        super().__init__(f"the environment variable {variable} is not set")


class AlertTargets:
    """The targets of one shop. One process sends at a time."""

    def __init__(
        self,
        alerts: Alerts,
        targets: Mapping[str, AlertConfig],
        shop: ShopIdentity,
        clock: Callable[[], datetime] = moment,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._alerts = alerts
        self._targets = targets
        self._shop = shop
        self._clock = clock
        self._environment = environment

    async def run(self) -> None:
        """Sends what is due, until it is cancelled. Raises `StoreError`."""
        while True:
            await self.send_due()
            await anyio.sleep(POLL_SECONDS)

    async def send_due(self) -> None:
        """Sends what is due now. A target that does not answer keeps only its own messages. Raises `StoreError`."""
        due = await self._alerts.due(format_timestamp(self._clock()), MAX_MESSAGES)
        by_target = groupby(sorted(due, key=lambda each: (each.target, each.alert)), key=lambda each: each.target)
        await run_together(*(partial(self._send_all, target, list(messages)) for target, messages in by_target))

    async def _send_all(self, target: str, messages: list[AlertMessage]) -> None:
        for message in messages:
            if not await self._send(self._targets.get(target), message):
                break

    async def _send(self, target: AlertConfig | None, message: AlertMessage) -> bool:
        """Sends a message, and notes it. Whether the target has taken it; one that is gone takes everything."""
        try:
            if target is not None:
                with anyio.CancelScope(shield=True), anyio.fail_after(TIMEOUT_SECONDS):  # else it might be sent twice
                    await send(target, notice_of(message, self._shop), self._environment)
        except (SendingFailedError, OSError, TimeoutError, ValueError) as error:
            await self._note_failure(message, f"{type(error).__name__}: {error}"[:MAX_ERROR])
            return False
        with anyio.CancelScope(shield=True):
            await self._alerts.sent(message, format_timestamp(self._clock()))
        return True

    async def _note_failure(self, message: AlertMessage, error: str) -> None:
        given_up = message.tries + 1 >= MAX_TRIES
        log.warning("an alert was not sent", target=message.target, error=error, tries=message.tries + 1, last=given_up)
        at = self._clock()
        wait = min(FIRST_WAIT * 2 ** min(message.tries, 10), MAX_WAIT)
        await self._alerts.failed(message, error, format_timestamp(at + wait))
        if given_up:
            await self._alerts.sent(message, format_timestamp(at))


def notice_of(message: AlertMessage, shop: ShopIdentity) -> AlertNotice:
    """What a target is sent."""
    reading = msgspec.json.decode(message.reading, type=KpiReading)
    text = reading.text if message.event == "crossed" else f"Recovered. {reading.text}"
    return AlertNotice(
        id=f"{message.alert}-{message.event}",
        event=message.event,
        text=f"{shop.text}: {text}" if shop.is_named else text,
        since=message.since,
        shop=shop.name,
        environment=shop.environment,
        runbook=shop.runbook(reading.runbook),
        reading=reading,
    )


async def send(target: AlertConfig, notice: AlertNotice, environment: Mapping[str, str]) -> None:
    """Sends a notice. Raises `SendingFailedError`, `OSError`, `ValueError`."""
    body = msgspec.json.encode(notice)
    if target.url is None:
        await _run(target.command, notice, body, environment)
        return
    headers = {name: _secret(environment, variable) for name, variable in target.header_variables.items()}
    await run_sync(partial(_post, target.url, notice.id, body, headers), abandon_on_cancel=True)


async def _run(command: list[str], notice: AlertNotice, body: bytes, environment: Mapping[str, str]) -> None:
    variables = {
        "PAGEFOLD_ALERT_EVENT": notice.event,
        "PAGEFOLD_ALERT_KPI": notice.reading.kpi,
        "PAGEFOLD_ALERT_LABEL": notice.reading.label,
        "PAGEFOLD_ALERT_SEVERITY": notice.reading.severity,
        "PAGEFOLD_ALERT_TEXT": notice.text,
        "PAGEFOLD_ALERT_SHOP": notice.shop,
        "PAGEFOLD_ALERT_ENVIRONMENT": notice.environment or "",
        "PAGEFOLD_ALERT_RUNBOOK": notice.runbook,
    }
    with file_in_memory() as file:  # a program that ends without reading would break a pipe
        file.write(body)
        file.seek(0)
        ran = await anyio.run_process(command, stdin=file, check=False, env={**environment, **variables})
    if ran.returncode:
        last = ran.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise SendingFailedError(f"exit code {ran.returncode}" + (f": {last}" if last else ""))


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: what authorizes a request is for the configured address."""

    def redirect_request(  # what urllib calls
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: object, newurl: str
    ) -> None:
        """Follows none."""


_opener = urllib.request.build_opener(_NoRedirects)


def _post(url: str, identifier: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Posts a message. Runs in a thread."""
    usual = {"Content-Type": "application/json", "User-Agent": "pagefold", "Idempotency-Key": identifier}
    request = urllib.request.Request(url, body, usual | dict(headers), method="POST")  # noqa: S310  # http or https
    try:
        with _opener.open(request, timeout=TIMEOUT_SECONDS) as response:
            response.read(1)
    except urllib.error.HTTPError as error:
        with error:
            raise SendingFailedError(f"it answers {error.code} {_phrase(error.code)}".strip()) from None


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in {each.value for each in HTTPStatus} else ""


def _secret(environment: Mapping[str, str], variable: str) -> str:
    value = environment.get(variable)
    if not value:
        raise SecretMissingError(variable)
    return value
