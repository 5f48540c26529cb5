"""Table: what a benchmark finds, as text for a window or as Markdown, event after event."""

from collections.abc import Sequence

from cellwright.bench import jax_peer
from cellwright.bench.cases import Case
from cellwright.bench.first import FirstCall
from cellwright.bench.grid import Column, Grid, wrapped
from cellwright.bench.report import OF_LSTM, SHARE, Event, Heading, Note, Report, Summary
from cellwright.bench.sides import NN
from cellwright.bench.steps import ONE_STEP, OneStep

HEADS = {NN: "x nn"}  # of a column, where it is not the peer's own name
UNSTEADY = 1.5  # upper quartile over lower one, beyond which a median says little
BUSY = (
    "The machine was busy: in {} of {} rows a quarter of the calls took half as long again as "
    "another quarter. Measure again when nothing else runs."
)
LEGEND = (
    "x nn: how many times faster than torch.nn's own layer. x loop: than a loop of torch "
    "operations with the input's product before it. GFLOP/s counts the matrix products alone; "
    "% peak is of the multiply-adds measured beside them on as many threads; / lstm is this rate "
    "over the LSTM's own. Medians, taken in turn after both sides agreed."
)
STEP_LEGEND = "One step at B = 1, H = 256; x nn: how many times faster than torch.nn's own cell."
FIRST_LEGEND = (
    "First inference, and first training step after it, in a new process: with an empty cache, "
    "and from the cache. again: whether another T > 1 or B compiled once more."
)


class Table:
    """Turns events into lines; a head is written where a new kind of rows begins."""

    def __init__(
        self, cells: Sequence[str], peers: Sequence[str], window: int, *, markdown: bool = False
    ) -> None:
        self._window, self._markdown = window, markdown
        self._peers = tuple(peers)
        self._streaming = tuple(peer for peer in peers if peer != jax_peer.NAME)
        name = Column("cell", max(map(len, cells), default=4), left=True)
        kind = Column("", 9, left=True)
        shape = Column("TxBxH", 11, left=True)
        ratios = tuple(Column(HEADS.get(p, f"x {p}"), 5) for p in peers)
        rates = (Column("GFLOP/s", 5), Column("% peak", 4), Column("/ lstm", 5))
        streaming = tuple(Column(HEADS.get(p, f"x {p}"), 5) for p in self._streaming)
        cached = Column("cached", 6)
        first = (Column("inference, ms", 6), cached, Column("training, ms", 6), cached)
        grids = {
            Case: (name, shape, kind, Column("ms", 7), *ratios, *rates),
            OneStep: (name, Column(ONE_STEP, 14, left=True), Column("us", 7), *streaming),
            FirstCall: (name, *first, Column("again", 3)),
            Summary: (name, Column("", 5, left=True), kind, *ratios, *rates[1:]),
        }
        self._grids = {event: Grid(columns, window) for event, columns in grids.items()}
        self._now: type | None = None

    def lines(self, event: Event) -> list[str]:
        """The lines that an event adds."""
        if isinstance(event, Heading):
            return self._heading(event)
        if isinstance(event, Note):
            return self._text(event.text)
        if isinstance(event, Case):
            return self._row(Case, self._case(event))
        if isinstance(event, OneStep):
            ratios = [_times(event.ratios.get(peer)) for peer in self._streaming]
            time = _figures(1e6 * event.ours.median)
            return self._row(OneStep, [event.cell, event.way, time, *ratios])
        pairs = zip(event.compiled, event.cached, strict=True)
        numbers = [f"{1e3 * s:.0f}" for pair in pairs for s in pair]
        return self._row(FirstCall, [event.cell, *numbers, "yes" if event.again else "no"])

    def ending(self, report: Report) -> list[str]:
        """The means and the worst of all rows, and what the columns say."""
        lines: list[str] = []
        found = report.summaries()
        for cell, kind in dict.fromkeys((s.cell, s.kind) for s in found):
            of = {s.what: s for s in found if (s.cell, s.kind) == (cell, kind)}
            for word in ("mean", "worst"):
                lines += self._row(Summary, [cell, word, kind, *self._numbers(of, word)])
        if worst := [f"{_figures(w.ratio)} x {w.peer} ({w})" for w in report.worst()]:
            lines += ["", *self._text("Worst: " + "; ".join(worst) + ".")]
        unsteady = [case for case in report.cases if case.ours.spread > UNSTEADY]
        if unsteady:
            lines += ["", *self._text(BUSY.format(len(unsteady), len(report.cases)))]
        legends = [(LEGEND, report.cases), (STEP_LEGEND, report.steps)]
        for text, rows in [*legends, (FIRST_LEGEND, report.firsts)]:
            lines += ["", *self._text(text)] if rows else []
        return lines

    def _numbers(self, of: dict[str, Summary], word: str) -> list[str]:
        def number(what: str) -> float | None:
            found = of.get(what)
            return None if found is None else found.mean if word == "mean" else found.worst

        ratios = [_times(number(peer)) for peer in self._peers]
        share = number(SHARE)
        return [*ratios, _percent(share), _times(number(OF_LSTM))]

    def _case(self, case: Case) -> list[str]:
        ratios = [_times(case.ratios.get(peer)) for peer in self._peers]
        return [
            case.cell,
            str(case.shape),
            case.kind,
            _figures(1e3 * case.ours.median),
            *ratios,
            _figures(case.rate / 1e9),
            _percent(case.share),
            _times(case.of_lstm),
        ]

    def _heading(self, heading: Heading) -> list[str]:
        count = heading.host.threads
        every = f", {heading.peak_all / 1e9:.0f} on {count}" if count > 1 else ""
        peak = f"FMA peak, measured: {heading.peak_one / 1e9:.0f} GFLOP/s on 1 thread{every}"
        return [*self._text(f"{heading.host}; {heading.dtype}"), *self._text(peak)]

    def _row(self, kind: type, values: list[str]) -> list[str]:
        grid = self._grids[kind]
        lines: list[str] = []
        if self._now is not kind:
            self._now = kind
            lines = ["", *(grid.markdown_head() if self._markdown else grid.head())]
        return [*lines, *([grid.markdown_row(values)] if self._markdown else grid.row(values))]

    def _text(self, text: str) -> list[str]:
        return [text] if self._markdown else wrapped(text, self._window)


def _times(ratio: float | None) -> str:
    """A ratio, or nothing where there is none."""
    return "" if ratio is None else _figures(ratio)


def _percent(share: float | None) -> str:
    """A share in percent; one place below ten."""
    return "" if share is None else f"{100 * share:.{1 if share < 0.0995 else 0}f}"


def _figures(number: float) -> str:
    """Two places below a hundred, none above."""
    return f"{number:.2f}" if number < 100 else f"{number:.0f}"
