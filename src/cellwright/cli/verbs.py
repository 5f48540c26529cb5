"""The verbs of `cellwright`, put together."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from cellwright.cli import bench, cache, cells, compare, demo, evaluate, generate, show, train
from cellwright.cli import inspect as inspecting
from cellwright.cli.faults import guard
from cellwright.cli.help import Verb
from cellwright.cli.terminal import console, tolerate_encoding

app = typer.Typer(
    name="cellwright",
    add_completion=True,
    invoke_without_command=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Write a recurrent cell as its equations; train it, look inside it, ship it.",
)

OVERVIEW = """\
Cellwright: write a recurrent cell as its equations; train it, compare it.

  see it work       cellwright demo
  train             cellwright train book.txt --out runs/book
  hear it           cellwright generate runs/book --prompt "It was "
  score it          cellwright evaluate runs/book other.txt
  compare cells     cellwright compare book.txt --cells lstm,gru,rnn
  look at cells     cellwright cells
                    cellwright show lstm
  look inside       cellwright inspect walkthrough runs/book --text "It was"
  see how fast      cellwright bench

Every verb explains itself: cellwright train --help\
"""


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        console().print(f"cellwright {version('cellwright')}")
        raise typer.Exit


@app.callback()
def overview(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Show the overview when no verb is given."""
    if context.invoked_subcommand is None:
        console().print(OVERVIEW)


for _verb in (train, evaluate, generate, compare, cells, show, bench, cache, demo):
    _name = _verb.__name__.rpartition(".")[2]
    app.command(_name, cls=Verb.with_examples(_verb.EXAMPLES))(getattr(_verb, _name))
app.add_typer(inspecting.app, name="inspect")


def run(argv: Sequence[str] | None = None) -> int:
    """Parse `argv`, run the verb, return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    tolerate_encoding()
    command = typer.main.get_command(app)
    return guard(
        lambda: command.main(arguments, prog_name="cellwright", standalone_mode=False), arguments
    )
