"""Every cell as machine code, beside a loop in torch and torch.nn's own layers, as Markdown.

    python benchmarks/cells.py [--cells lstm,gru] [--shapes 100x16x128] [--repeats 9] [--threads 2]

What `cellwright bench` shows, on all cells and shapes unless some are named.
"""

import argparse
from collections.abc import Callable, Iterable

from cellwright.bench import Event, Pace, Report, Table, Wish, bench, parse, subjects
from cellwright.cli.faults import describe
from cellwright.language.errors import CellwrightError


def whole(least: int) -> Callable[[str], int]:
    """A reader of whole numbers of at least `least`, for a parser's `type`."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least}, got {text!r}")
        return int(text)

    return read


def show(events: Iterable[Event], table: Table) -> None:
    """Print events as they come, and their means."""
    report = Report()
    for event in events:
        report.add(event)
        print(*table.lines(event), sep="\n", flush=True)
    print(*table.ending(report), sep="\n")


def measure(cells: str, summary: str, *, peers: bool) -> None:
    """Read the arguments, whose cells are `cells` by default, and print the tables."""
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--cells", default=cells)
    parser.add_argument("--shapes", default="all")
    parser.add_argument("--repeats", type=whole(1))
    parser.add_argument("--threads", type=whole(1))
    args = parser.parse_args()
    try:
        wish = Wish(
            subjects(args.cells),
            parse(args.shapes),
            threads=args.threads,
            pace=Pace(args.repeats),
            peers=peers,
        )
        names = [subject.name for subject in wish.cells]
        show(bench(wish), Table(names, wish.peer_names(), 100, markdown=True))
    except CellwrightError as error:
        parser.exit(2, f"{parser.prog}: {describe(error)}\n")


if __name__ == "__main__":
    measure("all", (__doc__ or "").splitlines()[0], peers=False)
