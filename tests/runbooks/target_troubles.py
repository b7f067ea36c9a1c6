"""The troubles with targets, as those of `tests.runbooks.troubles`."""

import json
import time
from collections.abc import Callable

from tests.runbooks.receiver import Receiver
from tests.runbooks.scene import SECONDS_TO_SHOW, Scene
from tests.support.command_line import product

TARGET = """
[targets.search]
timeout_seconds = 1.0
tries = 1
{}
[targets.search.http]
url = "{}"
path = "/products/{{channel}}/{{sku}}"
method = "PUT"
withdraw_method = "DELETE"
read = true
networks = ["127.0.0.0/8"]
"""


def delivering(scene: Scene, pages: int, keys: str = "", more: str = "") -> Receiver:
    """A shop with a target that holds its pages, or gets them."""
    receiver = scene.receiver()
    scene.configure(TARGET.format(keys, receiver.url) + more)
    scene.ingest(*(product(f"TSHIRT-{each}") for each in range(1, pages + 1)))
    scene.fold()
    return receiver


def until(holds: Callable[[], bool]) -> None:
    """Waits until it holds."""
    deadline = time.monotonic() + SECONDS_TO_SHOW
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def target_down(scene: Scene) -> None:
    """It answers every request with 503."""
    receiver = delivering(scene, 2, more='[kpis.target-down]\nthreshold = "100ms"')
    receiver.refuse = lambda _path, _page: (503, {})
    scene.serve("--work")
    until(lambda: "target-down" in scene.crossed())

    def back() -> None:
        receiver.refuse = lambda _path, _page: None

    resume = 'pagefold targets resume search --reason "they are back" --as ada'
    scene.meanwhile(resume, back)
    scene.at_end(lambda: _holds(receiver, 2))


def _holds(receiver: Receiver, pages: int) -> None:
    assert len(receiver.held) == pages


def delivery_throttled(scene: Scene) -> None:
    """It allows four requests in any second."""
    receiver = delivering(scene, 20)

    def refuse(_path: str, _page: bytes) -> tuple[int, dict[str, str]] | None:
        return (429, {"retry-after": "1"}) if receiver.is_asked_too_often(4) else None

    receiver.refuse = refuse
    scene.serve("--work")
    until(lambda: receiver.refused > 0)
    before = [0]

    def counted() -> None:
        until(lambda: len(receiver.held) == 20)
        before[0] = receiver.refused

    scene.meanwhile('pagefold targets deliver search --sku TSHIRT-1 --reason "a test of the limit" --as ada', counted)

    def not_refused() -> None:
        assert receiver.refused == before[0]

    scene.at_end(not_refused)


def delivery_failures(scene: Scene) -> None:
    """It refuses pages without a note."""
    receiver = delivering(scene, 2, more="[kpis.delivery-failures]\nminimum = 1\n")
    receiver.refuse = lambda _path, page: None if b'"note"' in page else (422, {})
    scene.serve("--work")
    until(lambda: "delivery-failures" in scene.crossed())
    until(lambda: '"letters":2' in scene.run("pagefold dead-letters causes --json"))
    [cause] = [json.loads(line) for line in scene.run("pagefold dead-letters causes --json").split("\n")[:1]]
    scene.names["CAUSE"] = cause["cause"]

    def repaired() -> None:
        until(lambda: len(receiver.held) == 1)
        assert b"by hand" in receiver.held["/products/web-de/TSHIRT-1"][1]
        receiver.refuse = lambda _path, _page: None

    scene.meanwhile(f"pagefold dead-letters retry --cause {cause['cause']}", repaired)
    scene.at_end(lambda: _holds(receiver, 2))


def delivery_lag(scene: Scene) -> None:
    """A large import, and a rate from the first days."""
    receiver = delivering(scene, 20, "rate = 0.5", '[kpis.delivery-lag]\nthreshold = "500ms"')
    scene.serve("--work")
    until(lambda: "delivery-lag" in scene.crossed())
    scene.at_end(lambda: _holds(receiver, 20))


def outbound_drift(scene: Scene) -> None:
    """It was emptied, and somebody compares."""
    receiver = delivering(scene, 9)
    scene.serve("--work")
    until(lambda: "search  http, idle" in scene.run("pagefold targets show search") and len(receiver.held) == 9)
    for path in list(receiver.held)[1:]:
        del receiver.held[path]
    scene.run("pagefold targets verify search --sample 0")
    found = scene.run("pagefold targets verify search", 1)
    assert "9 pages, 8 not as acknowledged" in found
    until(lambda: len(receiver.held) == 9)
    receiver.held.clear()
    scene.at_end(lambda: _holds(receiver, 9))


SAGA = """
[targets.stock.files]
folder = "stock"
seconds = 0.2
[sagas.listing]
targets = ["stock", "search"]
pivot = "stock"
"""


def sagas_stuck(scene: Scene) -> None:
    """One target has a page, and the other one refuses it."""
    receiver = delivering(scene, 1, more=SAGA)
    receiver.refuse = lambda _path, _page: (422, {})
    scene.serve("--work")
    until(lambda: "sagas-stuck" in scene.crossed())

    def taken() -> None:
        receiver.refuse = lambda _path, _page: None

    scene.meanwhile('pagefold sagas resume listing TSHIRT-1 web-de --reason "they take it now" --as ada', taken)
    scene.at_end(lambda: _holds(receiver, 1))


TARGET_TROUBLES = (
    target_down,
    delivery_failures,
    delivery_lag,
    delivery_throttled,
    outbound_drift,
    sagas_stuck,
)
