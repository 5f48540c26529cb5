"""Every cell as machine code, beside a loop in torch and torch.nn's own layers, as Markdown.

    python benchmarks/cells.py [--cells lstm,gru] [--shapes 100x16x128] [--repeats 9] [--threads 2]

What `cellwright bench` shows, on all cells and shapes unless some are named.
"""

import argparse
from collections.abc import Iterable

from cellwright.bench import Event, Pace, Report, Table, Wish, bench, parse, subjects
from cellwright.language.errors import CellwrightError


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
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--threads", type=int)
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
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    measure("all", (__doc__ or "").splitlines()[0], peers=False)
