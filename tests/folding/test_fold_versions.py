"""Pages follow from the log and the code: a release that folds differently folds every page again."""

from collections.abc import Mapping
from dataclasses import replace

from pagefold import Config, Shop
from pagefold.domains import DOMAINS
from pagefold.domains.domain import SectionBody
from pagefold.engine.consumers.consumer import Consumer
from pagefold.engine.runtime.counters import Counters
from tests.support.rebuild_fixtures import Intruder
from tests.support.small_shop import catalog, price, say, section, stock

SPOILT = b'{"before":"the release"}'
BY_NAME = {domain.name: domain for domain in DOMAINS}


def test_the_version_of_a_fold_is_in_the_fingerprint(config: Config) -> None:
    """Each domain has its own."""
    assert {domain.fold_version for domain in DOMAINS} == {1, 2}
    for domain in DOMAINS:
        newer = replace(domain, fold_version=domain.fold_version + 1)
        assert config.fingerprint(newer) != config.fingerprint(domain) == config.fingerprint(replace(domain))


async def test_an_upgrade_folds_again(shop: Shop, config: Config) -> None:
    """The pages of a domain with a new version are folded again; those of others are not."""
    await say(shop, catalog("Shirt"), price("9.90"), stock(3))
    intruder = Intruder(config.store.url)
    before = intruder.sections()
    intruder.put([each._replace(body=SPOILT) for each in before.values()])
    inventory = BY_NAME["inventory"]
    newer = replace(
        inventory,
        fold_version=inventory.fold_version + 1,
        fold=lambda _contributions, _context, _trace: SectionBody(b'{"is":"new"}'),
    )
    assert not await _is_behind(shop)
    await Consumer(shop.store, newer, config, Counters()).catch_up()
    bodies: Mapping[str, object] = {
        key[2]: each.body for key, each in intruder.sections().items() if key[1] == "web-de"
    }
    assert bodies == {"catalog": SPOILT, "pricing": SPOILT, "inventory": b'{"is":"new"}'}
    assert await _is_behind(shop)
    await shop.catch_up()
    assert (await section(shop, "inventory"))["available"] == 3
    assert not await _is_behind(shop)


async def _is_behind(shop: Shop) -> bool:
    """Whether the status says that the pages of a domain must be folded again."""
    status = await shop.status()
    return any(each.configuration_changed for each in status.domains)
