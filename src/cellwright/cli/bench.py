"""`cellwright bench`: how fast every cell is on this machine, beside its peers."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from cellwright.cli import flags
from cellwright.cli.interrupt import orderly, while_read
from cellwright.cli.terminal import console

if TYPE_CHECKING:
    from cellwright.bench import Wish

EXAMPLES = """
cellwright bench
cellwright bench --quick
cellwright bench --cells all --shapes all --json > bench.json
cellwright bench --cells lstm,cells.py:Leaky --shapes 100x16x128 --threads 1
cellwright bench --cells lstm,gru --peers
"""

CELLS, QUICK_CELLS = "lstm,gru,rnn,peephole", "lstm,gru"
QUICK_SECONDS = 0.1

Cells = Annotated[
    str | None,
    typer.Option(
        metavar="CELL,CELL,...",
        help=f"names or file.py:Class, parted by commas, or all (default {CELLS})",
        show_default=False,
    ),
]
Shapes = Annotated[
    str | None,
    typer.Option(
        metavar="TxBxH,...",
        help="steps x rows x units, parted by commas, or all (default: four of ten)",
        show_default=False,
    ),
]
Quick = Annotated[
    bool,
    typer.Option("--quick", help="some seconds: two cells, two small shapes, no first calls"),
]
Dtype = Annotated[str, typer.Option(metavar="NAME", help="float32 or float64")]
Repeats = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="rounds of every measurement (default: as many as fit half a second, at least 3)",
        show_default=False,
    ),
]
Peers = Annotated[
    bool, typer.Option("--peers", help="compare with JAX and ONNX Runtime too, where installed")
]
Threads = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="threads of the CPU (default torch's choice)", show_default=False
    ),
]


def bench(
    cells: Cells = None,
    shapes: Shapes = None,
    quick: Quick = False,
    threads: Threads = None,
    dtype: Dtype = "float32",
    repeats: Repeats = None,
    peers: Peers = False,
    as_json: flags.Json = False,
) -> int:
    """Time cells as machine code beside torch.nn and a loop, on this machine.

    Every speed is shown after both sides were found to agree.
    """
    from cellwright.bench import DEFAULT, QUICK, Pace, Wish, parse, subjects

    standard = QUICK_CELLS if quick else CELLS
    found = subjects(standard if cells is None else cells)
    chosen = parse(shapes) if shapes is not None else QUICK if quick else DEFAULT
    pace = Pace(repeats, QUICK_SECONDS if quick else Pace.seconds)
    return measure(Wish(found, chosen, dtype, threads, pace, peers, first_calls=not quick), as_json)


def measure(wish: "Wish", as_json: bool) -> int:
    """Show a benchmark as it goes on, and all of it as JSON where that is asked for."""
    from cellwright import bench as room

    out = console(typer.get_text_stream("stderr") if as_json else None)
    report, stop = room.Report(), room.Stop()
    table = room.Table([s.name for s in wish.cells], wish.peer_names(), out.width)

    def put(lines: list[str]) -> None:
        for line in lines:
            out.print(line, soft_wrap=True)

    with orderly(stop, lambda: None) as ending:
        show = while_read(put, stop, ending)
        try:
            for event in room.bench(wish, stop):
                report.add(event)
                show(table.lines(event))
        except room.Stopped:
            report.stopped = True
        show(table.ending(report))
        if report.stopped:
            show(["stopped: what is shown was measured, the rest was not"])
    if as_json:
        console().file.write(json.dumps(report.to_dict(), indent=2) + "\n")
    return ending.code
