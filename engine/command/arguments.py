"""The arguments of a command, parsed. An option that does not exist is an error that names the nearest one."""

from collections.abc import Callable, Iterable, Sequence
from inspect import BoundArguments
from typing import NamedTuple

from cyclopts import App, UnknownCommandError, UnknownOptionError

from pagefold.engine.command.options import UsageError
from pagefold.engine.configuration.spelling import nearest_name

END_OF_OPTIONS = "--"
STANDARD_STREAM = "-"


class ParsedCommand(NamedTuple):
    """A command's function, its arguments, and whether it takes the options of every command."""

    function: Callable[..., object]
    arguments: BoundArguments
    takes_options: bool


def parse_command(app: App, tokens: Sequence[str]) -> ParsedCommand:
    """Parses a command line without the options of every command. Raises `UsageError` and `CycloptsError`."""
    try:
        function, arguments, injected = app.parse_args(tokens, exit_on_error=False, print_error=False)
    except UnknownOptionError as error:
        raise _unknown_option(app, tokens, error.token.keyword or error.token.value) from None
    except UnknownCommandError as error:
        given = (error.unused_tokens or [""])[0]
        if not given.startswith("-"):
            raise
        raise _unknown_option(app, tokens, given) from None
    for value in _texts([*arguments.args, *arguments.kwargs.values()]):
        if value.startswith("-") and value != STANDARD_STREAM and value in _before_end_of_options(tokens):
            raise _unknown_option(app, tokens, value)
    return ParsedCommand(function, arguments, "options" in injected)


def _texts(values: Iterable[object]) -> Iterable[str]:
    return (value for value in values if isinstance(value, str))


def _before_end_of_options(tokens: Sequence[str]) -> Sequence[str]:
    return tokens[: tokens.index(END_OF_OPTIONS)] if END_OF_OPTIONS in tokens else tokens


def _unknown_option(app: App, tokens: Sequence[str], given: str) -> UsageError:
    name = given.partition("=")[0]
    nearest = nearest_name(name, _option_names(app, tokens))
    hint = "`--help` lists the options" if nearest is None else f"did you mean {nearest}?"
    return UsageError(name, f"unknown option; {hint}")


def _option_names(app: App, tokens: Sequence[str]) -> list[str]:
    """The options of the command in the tokens, and those of every command."""
    command = app.parse_commands(tokens)[1][-1]
    own = command.assemble_argument_collection() if command.default_command is not None else ()
    arguments = [*own, *app.meta.assemble_argument_collection()]
    names = [name for argument in arguments if argument.parse for name in argument.names]
    return [*(name for name in names if name.startswith("--")), "--help", "--version"]
