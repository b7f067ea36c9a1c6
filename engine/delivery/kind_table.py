"""The kinds of targets: which class keeps the contract for which table of the configuration.

A kind is imported when a target has it: its library may not be installed.
"""

from pagefold.engine.configuration.target_config import TargetConfig
from pagefold.engine.delivery.outside import OUTSIDE, Outside
from pagefold.engine.delivery.target_kind import TargetKind
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.runtime.extras import needs_extra


def open_kind(name: str, target: TargetConfig, outside: Outside = OUTSIDE) -> TargetKind:
    """The connection to a target, to be entered. Raises `ConfigurationError`, and `ExtraMissing`."""
    if target.http is not None:
        with needs_extra(f"the target {name}", "rebuild"):
            from pagefold.engine.delivery.kinds.http import HttpTarget  # noqa: PLC0415  # see above

        return HttpTarget(name, target, target.http, outside)
    if target.files is not None:
        from pagefold.engine.delivery.kinds.files import FilesTarget  # noqa: PLC0415  # see above

        return FilesTarget(name, target, target.files)
    if target.nats is not None:
        from pagefold.engine.delivery.kinds.nats import NatsTarget  # noqa: PLC0415  # see above

        return NatsTarget(name, target, target.nats, outside)
    if target.kafka is not None:
        from pagefold.engine.delivery.kinds.kafka import KafkaTarget  # noqa: PLC0415  # see above

        return KafkaTarget(name, target, target.kafka, outside)
    if target.redis is not None:
        from pagefold.engine.delivery.kinds.redis import RedisTarget  # noqa: PLC0415  # see above

        return RedisTarget(name, target, target.redis, outside)
    with needs_extra(f"the target {name}", "rebuild"):
        return _open_search_engine(name, target, outside)


def _open_search_engine(name: str, target: TargetConfig, outside: Outside) -> TargetKind:
    if target.meilisearch is not None:
        from pagefold.engine.delivery.kinds.meilisearch import MeilisearchTarget  # noqa: PLC0415  # see above

        return MeilisearchTarget(name, target, target.meilisearch, outside)
    if target.opensearch is not None:
        from pagefold.engine.delivery.kinds.opensearch import OpenSearchTarget  # noqa: PLC0415  # see above

        return OpenSearchTarget(name, target, target.opensearch, outside)
    if target.typesense is not None:
        from pagefold.engine.delivery.kinds.typesense import TypesenseTarget  # noqa: PLC0415  # see above

        return TypesenseTarget(name, target, target.typesense, outside)
    if target.algolia is not None:
        from pagefold.engine.delivery.kinds.algolia import AlgoliaTarget  # noqa: PLC0415  # see above

        return AlgoliaTarget(name, target, target.algolia, outside)
    raise ConfigurationError(f"targets.{name}", "this kind of target is not known")
