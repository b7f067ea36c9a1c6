"""`[alerts]`: who is told of alerts."""

import pytest

from pagefold import Config
from pagefold.engine.errors import ConfigurationError
from tests.support.small_shop import document


def test_a_target_is_an_address_or_a_command() -> None:
    """Which may ask for some key figures only."""
    config = Config.parse(
        document(alerts={"pager": {"url": "https://a.example/x", "kpis": ["lag"]}, "chat": {"command": ["tell"]}})
    )
    assert config.alerts["pager"].wants("lag", "critical")
    assert not config.alerts["pager"].wants("drift", "critical")
    assert config.alerts["chat"].wants("drift", "warning")


@pytest.mark.parametrize(
    ("table", "key", "problem"),
    [
        ({}, "", "needs either a url or a command"),
        ({"url": "https://a.example", "command": ["tell"]}, "", "needs either a url or a command"),
        ({"url": "ftp://a.example"}, ".url", "is not an address"),
        ({"url": "https://"}, ".url", "is not an address"),
        ({"url": "https://[::1"}, ".url", "is not an address"),
        ({"url": "https://a.example/\n"}, ".url", "is not an address"),
        ({"command": ["tell"], "header_variables": {"X": "KEY"}}, ".header_variables", "goes with a url"),
        ({"url": "https://a.example", "header_variables": {"X": "a secret"}}, ".header_variables.X", "environment"),
        ({"command": ["tell"], "kpis": ["lagg"]}, ".kpis", "did you mean 'lag'?"),
        ({"command": ["tell"], "severities": ["bad"]}, ".severities", "bad"),
    ],
)
def test_what_is_wrong_is_an_error(table: dict[str, object], key: str, problem: str) -> None:
    """It names the key, and shows no secret."""
    with pytest.raises(ConfigurationError, match=problem.replace("?", r"\?")) as error:
        Config.parse(document(alerts={"pager": table}))
    assert error.value.key.startswith(f"alerts.pager{key}")
    assert "a secret" not in str(error.value)
