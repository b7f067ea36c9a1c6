"""Writes the generated parts of the documentation again."""

from tests.docs.generated import CHANNELS, CONFIGURATION, PAYLOADS, TRANSFORMS, WHY, rendered
from tests.docs.transform_reference import PARTS

for page, parts in ((PAYLOADS, {}), (CONFIGURATION, {}), (CHANNELS, {}), (WHY, {}), (TRANSFORMS, PARTS)):
    page.write_text(rendered(page.read_text("utf-8"), parts), encoding="utf-8")
