"""How a verb explains itself: typer's page, and below it examples as one would type them."""

from typing import Any

from typer.core import TyperCommand

from cellwright.cli.faults import close_pipe
from cellwright.cli.terminal import console


class Verb(TyperCommand):
    """A command whose help ends in examples, printed as they stand: they are made to be copied."""

    examples: str = ""

    @classmethod
    def with_examples(cls, text: str) -> "type[Verb]":
        """A command class with these examples."""
        return type("VerbWithExamples", (cls,), {"examples": text.strip("\n")})

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print typer's page, then the examples."""
        super().format_help(ctx, formatter)
        out = console()
        out.print(" Examples", style="bold")
        for line in self.examples.splitlines():
            out.print(f"   {line}".rstrip(), soft_wrap=True)
        out.print()

    def invoke(self, ctx: Any) -> Any:
        """Run the verb; a closed pipe ends it before typer makes an exit code 1 of it."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            return close_pipe()
