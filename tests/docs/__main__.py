"""Writes the generated parts of the documentation again."""

from tests.docs.generated import CHANNELS, CONFIGURATION, KPIS_PAGE, PAYLOADS, TRANSFORMS, WHY, rendered
from tests.docs.transform_reference import PARTS

PAGES = (PAYLOADS, CONFIGURATION, CHANNELS, WHY, KPIS_PAGE)

for page, parts in (*((each, {}) for each in PAGES), (TRANSFORMS, PARTS)):
    page.write_text(rendered(page.read_text("utf-8"), parts), encoding="utf-8")
