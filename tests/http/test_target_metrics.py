"""Metrics of targets: what was delivered, what waits, and how each is doing."""

import msgspec

import pagefold
from pagefold import Config
from pagefold.engine.configuration.target_config import FilesTargetConfig, TargetConfig
from pagefold.engine.stores.delivery_records import Settlement, Wanted
from tests.http.test_kpi_metrics import samples
from tests.support.http_clients import client_of, service_of


async def test_each_target_has_its_metrics(config: Config) -> None:
    """Also one to which nothing was delivered yet; key figures have its name as their label."""
    table = TargetConfig(files=FilesTargetConfig(folder="out"))
    with_targets = msgspec.structs.replace(config, targets={"export": table, "other": table})
    async with pagefold.open(with_targets) as shop:
        wanted = [Wanted(sku, "web-de", "1", 1) for sku in "ABCD"]
        await shop.store.deliveries.mark("export", "", "1", wanted)
        claim, _ = await shop.store.deliveries.claim("export", "me", 3, 60)
        settled = [Settlement("A", "web-de", "dead", "1"), Settlement("B", "web-de", "delivered", "1")]
        await shop.store.deliveries.settle(claim, settled, {"requests": 7, "throttled": 2})
        await shop.store.delivery_targets.open_circuit("export", "503", 60.0)
        async with client_of(service_of(shop, reads_open=True)) as client:
            found = samples((await client.get("/metrics")).text)
    assert found["pagefold_target_deliveries_total,delivered,export"] == 1
    assert found["pagefold_target_deliveries_total,dead,export"] == 1
    assert found["pagefold_target_requests_total,export"] == 7
    assert found["pagefold_target_throttled_total,export"] == 2
    assert found["pagefold_target_waiting,export"] == 2
    assert found["pagefold_target_oldest_seconds,export"] > 0
    assert found["pagefold_target_dead,export"] == found["pagefold_dead_letters,,delivery"] == 1
    assert found["pagefold_target_circuit_open,export"] == 1
    assert found["pagefold_target_drift_ratio,export"] == 0.75
    assert found["pagefold_target_state,down,export"] == 1
    assert found["pagefold_target_state,idle,export"] == 0
    assert found["pagefold_target_pace,other"] == found["pagefold_target_state,starting,other"] == 1
    assert found["pagefold_kpi_value,delivery-queue,export"] == 2
    assert found["pagefold_kpi_value,target-down,export"] >= 0
