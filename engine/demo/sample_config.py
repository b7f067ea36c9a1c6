"""The configuration of the sample shop."""

import json
from pathlib import Path

CONFIG = """\
# Halm & Faden: one shop, four channels, two warehouses.
[store]
url = {url}

[sources.pim]                                    # what a product is
domains = ["catalog"]
[sources.pim.inherit]                            # a variant says only what its parent does not
[sources.erp]                                    # what it costs
domains = ["pricing"]
[sources.wms-berlin]                             # how many there are
domains = ["inventory"]
[sources.wms-reno]
domains = ["inventory"]
[sources.dam]                                    # what it looks like
domains = ["media"]

[channels.web-de]
locale = "de-DE"
fallbacks = ["en"]
currency = "EUR"
requires = ["catalog", "pricing", "inventory", "media"]
[channels.web-de.sources]
inventory = ["wms-berlin"]

[channels.marketplace-de]{marketplace}
locale = "de-DE"
fallbacks = ["en"]
currency = "EUR"
requires = ["catalog", "pricing", "inventory"]
[channels.marketplace-de.sources]
inventory = ["wms-berlin"]

[channels.web-fr]
locale = "fr-FR"
fallbacks = ["en"]
currency = "EUR"
requires = ["catalog", "pricing", "inventory", "media"]
[channels.web-fr.sources]
inventory = ["wms-berlin", "wms-reno"]

[channels.web-us]
locale = "en-US"
fallbacks = []
currency = "USD"
requires = ["catalog", "pricing", "inventory", "media"]
[channels.web-us.sources]
inventory = ["wms-reno", "wms-berlin"]
"""

REQUIREMENTS = """
# What products must have: in France a description in French, on the marketplace a short name, else they are not shown.
[[channels.web-fr.requirements]]
name = "france"
version = 2
[channels.web-fr.requirements.families]
tshirt = "clothing"
hemd = "clothing"
dress = "clothing"
jeans = "clothing"
[[channels.web-fr.requirements.requires]]
attributes = ["name", "description"]
locale = "channel"
[[channels.web-fr.requirements.requires]]
attributes = ["size", "colour"]
family = ["clothing"]
[[channels.web-fr.requirements.requires]]
attributes = ["claim"]
severity = "warns"
[[channels.marketplace-de.requirements]]
name = "marketplace"
[[channels.marketplace-de.requirements.requires]]
attributes = ["name"]
check = { max_length = 22 }
[[channels.marketplace-de.requirements.requires]]
fields = ["family", "categories"]
"""

SNAPSHOTS = """
# Each source's snapshot. The demo takes less than a minute, so there is no time to settle.
[sources.pim.snapshot]
file = {pim}
settle = 0
[sources.erp.snapshot]
file = {erp}
settle = 0
[sources.wms-berlin.snapshot]
file = {berlin}
settle = 0
[sources.wms-reno.snapshot]
file = {reno}
settle = 0
[sources.dam.snapshot]
file = {dam}
settle = 0
"""

SNAPSHOT_FILES = {
    "pim": "pim.ndjson.gz",
    "erp": "erp.ndjson",
    "berlin": "wms-berlin.ndjson",
    "reno": "wms-reno.ndjson.gz",
    "dam": "dam.ndjson.gz",
}


def sample_config(url: str, snapshots: Path | None, *, requirements: bool) -> str:
    """The configuration as TOML: see `sample_shop.Shop.config`."""
    hides = '\nincomplete = "hide"' if requirements else ""
    text = CONFIG.format(url=json.dumps(url), marketplace=hides) + (REQUIREMENTS if requirements else "")
    if snapshots is None:
        return text
    files = {name: json.dumps(str(snapshots / file)) for name, file in SNAPSHOT_FILES.items()}
    return text + SNAPSHOTS.format(**files)
