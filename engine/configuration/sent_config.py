"""A configuration as it is sent to another process."""

from typing import Self

import msgspec

from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.page_settings import PageSettings


class SentConfig(msgspec.Struct, frozen=True, array_like=True):
    """A configuration, and what pages depend on: no file has the releases and the day that count."""

    file: Config
    settings: PageSettings

    @classmethod
    def of(cls, config: Config) -> Self:
        """What is sent."""
        return cls(config, config.page_settings)

    @property
    def config(self) -> Config:
        """What was sent."""
        return self.file.under(self.settings)
