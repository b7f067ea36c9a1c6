"""Requests with which a sender tests an address before it uses it: unsigned, with a body that the configuration knows.

WooCommerce sends the form `webhook_id=5` when a webhook is saved, and turns the webhook on only after a 200.
"""

from pagefold.engine.configuration.config import Config
from pagefold.engine.intake.formats.webhook_signatures import webhook_settings
from pagefold.engine.runtime.extras import needs_extra

MAX_PING_BYTES = 1_000


class WebhookPings:
    """Recognizes the pings of one source. Raises `ConfigurationError` for a pattern that RE2 does not read."""

    def __init__(self, config: Config, source: str) -> None:
        self._pattern = None
        pattern, key = webhook_settings(config, source).ping, f"sources.{source}.webhook.ping"
        if pattern is None:
            return
        with needs_extra(key, "contracts"):
            from pagefold.projections.transforms import InvalidMapping  # noqa: PLC0415  # with the extra
            from pagefold.projections.transforms.patterns import compile_pattern  # noqa: PLC0415  # with the extra
        try:
            self._pattern = compile_pattern(pattern, key)
        except InvalidMapping as error:
            raise config.error(key, error.problem) from None

    def __contains__(self, body: bytes) -> bool:
        """Whether a whole body, of at most 1,000 bytes, has the pattern."""
        if self._pattern is None or len(body) > MAX_PING_BYTES or not body.isascii():
            return False
        return self._pattern.fullmatch(body.decode("ascii")) is not None
