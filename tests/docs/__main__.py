"""Writes the generated parts of the documentation again."""

from tests.docs.generated import CONFIGURATION, PAYLOADS, rendered

for page in (PAYLOADS, CONFIGURATION):
    page.write_text(rendered(page.read_text("utf-8")), encoding="utf-8")
