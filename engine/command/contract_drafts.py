"""`pagefold contracts diff`, `suggest` and `generate`: what changed between contracts, and what one might say."""

from collections import Counter
from pathlib import Path

from pagefold.engine.command.console import print_message, show_table, write_json
from pagefold.engine.command.options import AsJSON, Exit
from pagefold.engine.intake.contracts.contract import Contract, Form
from pagefold.engine.intake.contracts.contract_diff import contract_changes
from pagefold.engine.intake.contracts.source_contracts import DEFAULTS


def diff(old: Path, new: Path, /, *, form: Form = "json", as_json: AsJSON = False) -> int:
    """Show what changed between two contracts, and whether it is breaking. Exit code 1 if a change is.

    A change is compatible if the new contract still makes everything that the old one makes of a record, in the same
    way; it may make more, and refuse less. It is breaking if a value may be missing, be another one, or be refused.

    Parameters
    ----------
    old
        The TOML file of the contract as it was.
    new
        The TOML file of the contract as it shall be.
    form
        The form of the records, unless the contracts say their own.
    as_json
        Print one JSON object per change and line: place, effect, text.
    """
    before, after = (
        Contract.load(file, source="any", channels=(), form=form, defaults=DEFAULTS["cdc"]) for file in (old, new)
    )
    changes = contract_changes(before, after)
    effects = Counter(change.effect for change in changes)
    if as_json:
        for change in changes:
            write_json(change._asdict())
    elif changes:
        show_table(["place", "effect", "change"], changes, wrapped={"change"})
    summary = ", ".join(f"{effects[effect]:,} {effect}" for effect in ("breaking", "compatible"))
    print_message(f"{before.identity} to {after.identity}: {summary if changes else 'no change'}")
    if changes and before.identity == after.identity:
        print_message(f"both are version {after.head.version}: give the new one the next version")
    return Exit.REFUSED if effects["breaking"] else Exit.DONE
