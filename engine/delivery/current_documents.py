"""The documents that targets would be sent now, to be shown to people."""

from collections.abc import Mapping

from pagefold.engine.configuration.target_config import TargetConfig
from pagefold.engine.delivery.documents import document_maker
from pagefold.engine.reading.page_reader import PageReader


class CurrentDocuments:
    """The documents of the pages of one shop."""

    def __init__(self, targets: Mapping[str, TargetConfig], pages: PageReader) -> None:
        self._targets = targets
        self._pages = pages

    async def get(self, target: str, sku: str, channel: str) -> bytes | None:
        """The document of a page; None if it would be withdrawn, or if the configuration has no such target."""
        config = self._targets.get(target)
        if config is None or (config.channels and channel not in config.channels):
            return None
        return document_maker(config)(await self._pages.get_json(sku, channel)).body
