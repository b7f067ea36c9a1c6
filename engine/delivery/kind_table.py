"""The kinds of targets: which class keeps the contract for which table of the configuration.

A kind is imported when a target has it: its library may not be installed.
"""

from pagefold.engine.configuration.target_config import TargetConfig
from pagefold.engine.delivery.http_sender import OUTSIDE, Outside
from pagefold.engine.delivery.target_kind import TargetKind
from pagefold.engine.errors import ConfigurationError


def open_kind(name: str, target: TargetConfig, outside: Outside = OUTSIDE) -> TargetKind:
    """The connection to a target, to be entered. Raises `ConfigurationError`, and `ExtraMissing`."""
    if target.http is not None:
        from pagefold.engine.delivery.kinds.http import HttpTarget  # noqa: PLC0415  # see above

        return HttpTarget(name, target, target.http, outside)
    raise ConfigurationError(f"targets.{name}", "this kind of target is not known")
