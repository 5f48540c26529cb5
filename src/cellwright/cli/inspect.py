"""`cellwright inspect`: verbs that look inside a trained model, each in a module of its own."""

from types import ModuleType

import typer

from cellwright.cli import (
    inspect_attribute,
    inspect_gradients,
    inspect_memory,
    inspect_step,
    inspect_units,
    inspect_walkthrough,
)
from cellwright.cli.help import Verb

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Look inside a trained model: follow its numbers step by step.",
)
# A verb is a function called like the last word of its module's name, with EXAMPLES beside it.
VERBS: tuple[ModuleType, ...] = (
    inspect_walkthrough,
    inspect_step,
    inspect_attribute,
    inspect_gradients,
    inspect_memory,
    inspect_units,
)

for _verb in VERBS:
    _name = _verb.__name__.rpartition("inspect_")[2]
    app.command(_name, cls=Verb.with_examples(_verb.EXAMPLES))(getattr(_verb, _name))
