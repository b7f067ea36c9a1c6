"""The troubles of the runbooks, made with the real commands: by the anchor of the section that ends each."""

import json
import shutil
import sqlite3
import time
from typing import Protocol

import httpx2

from tests.runbooks.scene import Answer, Scene
from tests.runbooks.target_troubles import TARGET_TROUBLES
from tests.support.command_line import event, product
from tests.support.small_disk import Disk


class Trouble(Protocol):
    """Makes trouble."""

    __name__: str

    def __call__(self, scene: Scene, /) -> None:
        """Makes it in this shop."""


SKU = "TSHIRT-1"
CSV = "item,rev,changed,{}\n{}#end,{}\n"
SNAPSHOT = '[sources.erp.snapshot]\nfile = "prices.csv"\ncontract = "erp.toml"\nsettle = "0s"\n'
CONTRACT = """
name = "erp-prices"
version = {version}
sku = "item"
sourceVersion = "rev"
occurredAt = "changed"
[pricing]
currency = {{ constant = "EUR" }}
amount = "{amount}"
"""
CDC = """
[sources.erp.cdc]
tables = ["public.prices"]
contract = { sku = "item", pricing = { currency = { constant = "EUR" }, amount = "price" } }
"""


FETCH = """
[sources.ct]
domains = ["catalog"]
[sources.ct.cloudevents]
sources = ["/ct"]
[[sources.ct.cloudevents.fetch]]
only = {{ "data.kind" = ["product"] }}
url = "{}/products/{{data.id}}"
contract = {{ sku = "sku", sourceVersion = "version", catalog = {{ attributes = {{ name = "name" }} }} }}
"""


def price(version: int, amount: str = "19.90", sku: str = SKU, month: int = 1) -> dict[str, object]:
    """A price of a product."""
    return event(sku, version, amount, occurredAt=f"2026-{month:02}-01T00:00:00Z")


def skus(number: int) -> list[str]:
    """The names of products."""
    return [f"TSHIRT-{each}" for each in range(1, number + 1)]


def export(scene: Scene, column: str, version: int, cells: str, number: int = 120) -> None:
    """Writes the snapshot of the ERP."""
    rows = [f"{sku},{version},2026-{version:02}-01T00:00:00Z,{cells}\n" for sku in skus(number)]
    scene.write("prices.csv", CSV.format(column, "".join(rows), len(rows)))


def priced(scene: Scene, number: int = 1, version: int = 17, more: str = "") -> None:
    """Products with a price, on their pages."""
    scene.configure(more)
    scene.ingest(*map(product, skus(number)), *(price(version, sku=sku) for sku in skus(number)))
    scene.fold()


def mapped(scene: Scene) -> None:
    """A source whose snapshot is read by a contract."""
    scene.configure(SNAPSHOT)
    scene.write("erp.toml", CONTRACT.format(version=1, amount="price"))
    scene.write("old.toml", CONTRACT.format(version=1, amount="price"))
    export(scene, "price", 1, "19.90")
    scene.run("pagefold rebuild")


# --- the troubles -----------------------------------------------------------------------------------


def lag(scene: Scene) -> None:
    """No worker runs."""
    scene.configure("[kpis.lag]\nthreshold = 0.5")
    scene.ingest(product(SKU), price(17))
    time.sleep(0.6)


def failures(scene: Scene) -> None:
    """The database writes prices with a comma, and the contract does not know that."""
    scene.configure(f"{CDC}[kpis.failures]\nminimum = 3")
    _send_rows(scene, "16,90", "17,90", "18,90")
    repaired = CDC.replace('amount = "price"', 'amount = { from = "price", number = { decimal = "," } }')
    scene.meanwhile(
        f"pagefold dead-letters retry --cause {scene.names['CAUSE']} --dry-run", lambda: scene.merge(repaired)
    )


def _send_rows(scene: Scene, *amounts: str) -> None:
    url = scene.serve()
    for number, amount in enumerate(amounts, start=1):
        row = (
            f'{{"op":"u","before":null,"after":{{"item":"{SKU}","price":"{amount}"}},'
            f'"source":{{"schema":"public","table":"prices","lsn":{number},"ts_ms":1767434400000}}}}'
        )
        scene.run(f"curl -s http://{url}/v1/cdc/erp -H 'content-type: application/json' -d '{row}'")
    scene.names["CAUSE"] = json.loads(scene.run("pagefold dead-letters causes --json").split("\n")[0])["cause"]


def dead_letters(scene: Scene) -> None:
    """A row that nobody can use."""
    scene.configure(f"{CDC}[kpis.dead-letters]\nthreshold = 0")
    _send_rows(scene, "a test")


def conflicts(scene: Scene) -> None:
    """The ERP sends another price under the same version."""
    priced(scene, more="[kpis.conflicts]\nminimum = 3")
    scene.ingest(price(17, "18.90"), codes=(0, 1))


def expiring(scene: Scene) -> None:
    """Nobody has decided for long."""
    priced(scene, more="[dead_letters]\nconflict_days = 5")
    scene.ingest(price(17, "18.90"), codes=(0, 1))


def drift(scene: Scene) -> None:
    """Somebody has deleted a row of the store."""
    priced(scene)
    with sqlite3.connect(scene.folder / "shop" / "pages.db") as store:
        store.execute("DELETE FROM sections WHERE domain = 'pricing'")
    store.close()


def refused(scene: Scene) -> None:
    """Nobody folds, and the server takes no more."""
    scene.configure("[http]\nlag_seconds = 0.05")
    scene.ingest(product(SKU))
    url = scene.serve()
    assert httpx2.post(f"http://{url}/v1/events", json=[]).status_code == 429


def checks(scene: Scene) -> None:
    """As above."""
    refused(scene)


def schema_drift(scene: Scene) -> None:
    """The ERP was upgraded: a price is an object by now."""
    scene.configure(SNAPSHOT.replace("csv", "ndjson"))
    for name in ("erp.toml", "old.toml"):
        scene.write(name, CONTRACT.format(version=1, amount="price"))
    export_lines(scene, 1, "19.90")
    scene.run("pagefold rebuild")
    export_lines(scene, 2, {"gross": "15.90"})
    scene.run("pagefold rebuild", 1)

    def corrected() -> None:
        scene.write("erp.toml", CONTRACT.format(version=2, amount="price.gross"))

    scene.meanwhile("pagefold contracts diff old.toml erp.toml", corrected)


def export_lines(scene: Scene, version: int, amount: object, number: int = 120) -> None:
    """Writes the snapshot of the ERP as JSON."""
    rows = [
        {"item": sku, "rev": version, "changed": f"2026-{version:02}-01T00:00:00Z", "price": amount}
        for sku in skus(number)
    ]
    scene.write(
        "prices.ndjson", "".join(json.dumps(row) + "\n" for row in (*rows, {"snapshot": "end", "count": number}))
    )


def unmapped(scene: Scene) -> None:
    """The export has one more column."""
    mapped(scene)
    export(scene, "price,brand", 2, "19.90,ACME")
    scene.run("pagefold rebuild")


def looks_reset(scene: Scene) -> None:
    """The ERP counts from 1 again."""
    priced(scene, more=SNAPSHOT)
    scene.write("erp.toml", CONTRACT.format(version=1, amount="price"))
    scene.ingest(*(price(version, "15.90", month=version + 1) for version in (1, 2, 3)))
    scene.fold()
    export(scene, "price", 3, "15.90", number=1)


def held_runs(scene: Scene) -> None:
    """The export was cut off, and says that it is whole."""
    priced(scene, 9, more='[sources.erp.snapshot]\nfile = "prices.ndjson"\nsettle = "0s"')
    scene.write(
        "prices.ndjson", '{"snapshot":"begin","takenAt":"2036-01-01T02:00:00Z"}\n{"snapshot":"end","count":0}\n'
    )
    said = scene.run("pagefold rebuild", 1)
    scene.names["RUN"] = said.split()[2]


def failed_rebuilds(scene: Scene) -> None:
    """The export was not written, and somebody has rebuilt by hand."""
    mapped(scene)
    (scene.folder / "prices.csv").unlink()
    scene.run("pagefold rebuild --source erp", 3)
    scene.meanwhile("pagefold rebuild --source erp", lambda: export(scene, "price", 2, "15.90"))


def not_applied(scene: Scene) -> None:
    """Somebody has changed the currency of a channel."""
    priced(scene, 9)
    scene.merge('[channels.web-de]\ncurrency = "USD"')
    scene.fold()


def recovery_needed(scene: Scene) -> None:
    """The log is that of yesterday, the pages are not."""
    priced(scene, more='[sources.erp.snapshot]\nfile = "prices.ndjson"\nsettle = "0s"')
    shutil.copy(scene.folder / "shop" / "events.db", scene.folder / "yesterday.db")
    scene.ingest(price(18, "15.90"))
    scene.fold()
    shutil.copy(scene.folder / "yesterday.db", scene.folder / "shop" / "events.db")
    scene.ingest(price(18, "15.90"), codes=(3,))
    line = (scene.folder / "events.ndjson").read_text("utf-8")
    scene.write("prices.ndjson", f'{line}{{"snapshot":"end","count":1}}\n')


def store_full(scene: Scene) -> None:
    """Backups have filled the disk of the store."""
    scene.write("later.ndjson", json.dumps(price(18)) + "\n")
    room = scene.mount("disk")
    scene.configure('[store]\nurl = "sqlite:///disk/shop"')
    scene.serve("--work")
    backup = room / "backups" / "2025-11-01"
    backup.mkdir(parents=True)
    (scene.folder / "backups").symlink_to(room / "backups")
    Disk(backup).fill()


def queue(scene: Scene) -> None:
    """The system that has the products is away."""
    away = [True]

    def answer(_path: str) -> Answer:
        return (503, {}, "") if away else (200, {}, '{"sku":"TSHIRT-1","version":1,"name":"T-Shirt"}')

    scene.configure(FETCH.format(scene.endpoint(answer)))
    message = '{"specversion":"1.0","id":"1","source":"/ct","type":"changed","data":{"kind":"product","id":"p1"}}'
    url = scene.serve()
    scene.run(f"curl -s http://{url}/v1/events -H 'content-type: application/cloudevents+json' -d '{message}'")
    time.sleep(0.6)
    scene.run("pagefold fetches run", 1)

    def back() -> None:
        away.clear()
        time.sleep(1.1)  # the pause after a failure

    scene.meanwhile("pagefold fetches run", back)


def throttled(scene: Scene) -> None:
    """The ERP allows four requests in any second."""
    asked, refused = list[float](), [0]

    def answer(path: str) -> Answer:
        asked.append(time.monotonic())
        if len(asked) > 4 and asked[-1] - asked[-5] < 1:
            refused[0] += 1
            return 429, {"retry-after": "1"}, ""
        page = int(path.partition("page=")[2] or 0)
        return 200, {}, f'{{"items":[],"next":{page + 1 if page < 7 else "null"}}}'

    scene.configure(
        delta(scene.endpoint(answer), 'cursor = "next"\ncursor_parameter = "page"\nrequests_per_second = 50.0')
    )
    scene.run("pagefold sync erp")
    assert refused[0] > 0
    refused[0] = 0
    scene.meanwhile("pagefold sync erp", asked.clear)  # a pause: what was asked before counts no more

    def not_refused() -> None:
        assert refused[0] == 0

    scene.at_end(not_refused)


def source_overdue(scene: Scene) -> None:
    """The ERP has another password."""
    away = [True]

    def answer(_path: str) -> Answer:
        return (401, {}, "") if away else (200, {}, '{"items":[]}')

    url = scene.endpoint(answer)
    scene.configure(delta(url))
    scene.meanwhile("pagefold sync erp", away.clear, nth=2)


def delta(url: str, more: str = "") -> str:
    """A source that is asked for changes."""
    return (
        f'[sources.erp.delta]\nurl = "{url}/prices?since={{since}}"\nitems = "items"\nevery = "10m"\n'
        f'timeout_seconds = 2.0\ncontract = {{ sku = "item", sourceVersion = "rev", occurredAt = "changed", '
        f'pricing = {{ currency = {{ constant = "EUR" }}, amount = "price" }} }}\n{more}'
    )


def server_down(scene: Scene) -> None:
    """Somebody has written a currency that is none, and the server was restarted."""
    priced(scene)
    scene.merge('[channels.web-de]\ncurrency = "EURO"')
    scene.run("pagefold serve --port 0", 2)


EVERY: tuple[Trouble, ...] = (
    *(lag, queue, failures, conflicts, drift, throttled, refused, dead_letters, expiring, schema_drift, unmapped),
    *(
        source_overdue,
        looks_reset,
        held_runs,
        failed_rebuilds,
        not_applied,
        checks,
        store_full,
        recovery_needed,
        server_down,
    ),
    *TARGET_TROUBLES,
)

TROUBLES = {trouble.__name__.replace("_", "-"): trouble for trouble in EVERY}
"""By the anchor of the section."""
