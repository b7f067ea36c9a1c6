"""`pagefold check`: every problem of the configuration, before another command meets one."""

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from pagefold.engine.command.console import count, print_error, write_json
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options
from pagefold.engine.configuration.config import Config, InspectedConfig
from pagefold.engine.configuration.endpoint_config import EndpointConfig, inheriting
from pagefold.engine.configuration.snapshot_config import SnapshotConfig
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.intake.contracts.source_contracts import invalid_contracts
from pagefold.engine.intake.fetch_rules import FetchRules
from pagefold.engine.intake.formats.webhook_pings import WebhookPings
from pagefold.engine.intake.readers.cloudevents import CloudEventMessageReader
from pagefold.engine.intake.readers.debezium import DebeziumReader
from pagefold.engine.intake.readers.webhooks import WebhookReader
from pagefold.engine.intake.webhook_verifier import signature_form
from pagefold.engine.runtime.extras import needs_extra
from pagefold.engine.snapshots.endpoint_client import credentials
from pagefold.engine.snapshots.json_rows import fixed_parts
from pagefold.engine.snapshots.sql_snapshot import database_url


def check(*, as_json: AsJSON = False, options: Injected = Options()) -> int:  # noqa: B008  # it is immutable
    """Check the configuration, and list everything that is wrong with it.

    Checks what every other command would: keys and values, contracts and their examples, addresses, the secrets that
    the environment must have, and the folders of snapshot files. Opens no store, and reads from no source. Exit code 2
    with problems.

    Parameters
    ----------
    as_json
        Print one JSON object per problem and line: place (file and line, or null), key, problem.
    """
    inspected = Config.inspect(options.config, store=options.store)
    problems = problems_of(inspected, os.environ)
    if as_json:
        for each in problems:
            write_json({"place": each.place, "key": each.key, "problem": each.problem})
    elif problems:
        for each in problems:
            print_error(str(each))
    else:
        sources, channels = len(inspected.config.sources), len(inspected.config.channels)
        print(f"the configuration is valid: {count(sources, 'source')}, {count(channels, 'channel')}")
    return Exit.USAGE if problems else Exit.DONE


def problems_of(inspected: InspectedConfig, environment: Mapping[str, str]) -> list[ConfigurationError]:
    """Every problem: those of the file, then those of its sources in this environment.

    A source with problems in the file is not checked further.
    """
    problems = {str(each): each for each in inspected.problems}
    for name in inspected.config.sources:
        if not any(f"{each.key}.".startswith(f"sources.{name}.") for each in inspected.problems):
            for each in _source_problems(inspected.config, name, environment):
                problems.setdefault(str(each), each)
    if not inspected.problems and inspected.config.schedule.tasks:
        problems |= {str(each): each for each in _raised(partial(_timetables, inspected.config))}
    return list(problems.values())


def _timetables(config: Config) -> None:
    with needs_extra("[schedule]", "rebuild"):
        from pagefold.engine.schedule.scheduler import timetables  # noqa: PLC0415  # as most shops need no schedule

    timetables(config)


def _source_problems(config: Config, name: str, environment: Mapping[str, str]) -> Iterator[ConfigurationError]:
    source = config.sources[name]
    if source.webhook is not None:
        for key, form in source.webhook.forms:
            yield from _raised(partial(signature_form, config, f"sources.{name}.webhook{key}", form, environment))
        yield from _raised(partial(WebhookReader, config, name))
        yield from _raised(partial(WebhookPings, config, name))
    if source.cdc is not None:
        yield from _raised(partial(DebeziumReader, config, name))
    if source.cloudevents is not None:
        yield from _raised(partial(CloudEventMessageReader, config, name))
    yield from _fetch_problems(config, name, environment)
    if source.snapshot is not None:
        yield from _raised(partial(fixed_parts, config, name))
        yield from _snapshot_problems(config, name, source.snapshot, environment)
    for table, lookup in source.lookups.items():
        yield from _raised(partial(credentials, config, f"sources.{name}.lookups.{table}", lookup, environment))
    yield from invalid_contracts(config, [name])


def _fetch_problems(config: Config, name: str, environment: Mapping[str, str]) -> Iterator[ConfigurationError]:
    """What is wrong with the fetches of a source, and with the changes that it is asked for."""
    source = config.sources[name]
    parent = source.snapshot if source.snapshot is not None and source.snapshot.url is not None else None
    endpoints: dict[str, EndpointConfig] = {**source.fetches}
    if source.delta is not None:
        yield from _raised(partial(FetchRules, config, name, "delta"))
        endpoints["delta"] = source.delta
    for rule, endpoint in endpoints.items():
        settings = endpoint if parent is None or rule == "delta" else inheriting(endpoint, parent)
        yield from _raised(partial(credentials, config, f"sources.{name}.{rule}", settings, environment))


def _snapshot_problems(
    config: Config, name: str, snapshot: SnapshotConfig, environment: Mapping[str, str]
) -> Iterator[ConfigurationError]:
    if snapshot.file is not None and not Path(snapshot.file).parent.is_dir():
        folder = Path(snapshot.file).parent
        yield config.error(f"sources.{name}.snapshot.file", f"there is no folder {folder} in {Path.cwd()}")
    yield from _raised(partial(credentials, config, f"sources.{name}.snapshot", snapshot, environment))
    yield from _raised(partial(database_url, config, name, environment))


def _raised(make: Callable[[], object]) -> Iterator[ConfigurationError]:
    try:
        make()
    except ConfigurationError as error:
        yield error
