"""The screens of a memory report that show pictures: each one's figures, captions and tables.

`at` begins every id, so that several reports fit into one document; `most` is how many pictures
of a kind a notebook shows, without the longest tables, and None for a page, which shows all.
"""

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cellwright.inspect.memory import plots, tables
from cellwright.inspect.memory.report import HalfLives, MemoryReport
from cellwright.lm.gates import quantile
from cellwright.web.charts import Tone, details, key, percent, table

MOST_LISTED: Final = 4096  # half-lives that a page lists one by one
ENDS: Final = (("below 0.1", Tone.ORANGE), ("above 0.9", Tone.TEAL), ("between", Tone.GREY))


def context(report: MemoryReport, at: str, most: int | None) -> str:
    """The headline: loss against context; below it, what each context still lacks."""
    of, facts = report.context, report.facts

    def loss(wide: bool) -> str:
        return plots.context_plot(of, facts, f"{at}context-{_size(wide)}", wide)

    def lack(wide: bool) -> str:
        return plots.lack_plot(of, facts, f"{at}lack-{_size(wide)}", wide)

    band = "± one standard error"
    drawn = _both(loss, key(plots.CURVES, band=band), most)
    drawn += '<p class="plot-title">What each context still lacks</p>'
    drawn += key(plots.CURVES[:-1], band=band) + _both(lack, "", most)
    said = (
        f"Mean loss in nats, and its standard error (se): trained at {of.places:,} places, the "
        f"controls at {of.controls:,} of them"
    )
    rows = table(said, tables.CONTEXT_HEADS, tables.context_rows(of))
    said = "What each context still lacks: nats above the loss with all text before"
    rows += table(said, tables.LACK_HEADS, tables.lack_rows(of))
    return _figure(drawn, report.methods["context"], details("The numbers", rows))


def gradients(report: MemoryReport, at: str, most: int | None) -> str:
    """A panel for the tokens and for each state of each layer."""
    found = report.gradients
    if not found:
        return ""
    norms = plots.gradient_limits(found)
    panels = [
        _panel(
            f"x, the embedded {report.facts.unit}s" if one.of == "x" else tables.place(one.of),
            "",
            plots.gradient_plot(one, report.facts, norms, f"{at}gradient-{k}"),
        )
        for k, one in enumerate(found[:most])
    ]
    drawn = key(plots.CONTROLS, band="half of all places (quartiles)") + _panels(panels)
    how = report.methods["gradients"] + _less(len(found), most)
    if most is not None:
        return _figure(drawn, how, "")
    rows = [
        table(f"Norm of the gradient: {tables.place(one.of)}", tables.GRADIENT_HEADS, made)
        for one in found
        for made in [tables.gradient_rows(one)]
    ]
    return _figure(drawn, how, details("The numbers", "\n".join(rows)))


def half_lives(report: MemoryReport, at: str, most: int | None) -> str:
    """A panel for each state that is multiplied with a gate."""
    found = report.half_lives
    if not found:
        return ""
    steps = plots.life_limits(found)
    panels = [
        _panel(
            f"{one.state}, layer {one.layer}",
            _lasting(one),
            plots.life_plot(one, report.facts, steps, f"{at}half-life-{k}"),
        )
        for k, one in enumerate(found[:most])
    ]
    drawn = key(plots.CONTROLS) + _panels(panels)
    said = "Half-lives in steps, and the share of units with longer ones"
    rows = table(said, tables.LIFE_HEADS, tables.life_rows(found))
    folded = details("The numbers", rows)
    if most is None and sum(len(one.trained) for one in found) <= MOST_LISTED:
        each = [
            table(
                f"Half-life of each unit in steps: {one.state}, layer {one.layer}",
                ("unit", "trained", "untrained"),
                tables.each_life(one),
            )
            for one in found
        ]
        folded += details("Every unit", "\n".join(each))
    how = f"{report.methods['half-lives']} The strokes below each field are single units."
    return _figure(drawn, how + _less(len(found), most), folded)


def _lasting(one: HalfLives) -> str:
    """The panel's numbers in words: the middle half-life, and what never fades."""
    middle = quantile(one.trained, 0.5)
    never = sum(v is None for v in one.trained)
    what = ", steps between resets" if one.resets else ""
    said = f"by {one.keep}{what}; half of the units: {tables.life(middle)}"
    said += "" if middle is None else " steps or less"
    return f"{said}; {never:,} of {len(one.trained):,} never fade" if never else said


def gates(report: MemoryReport, at: str, most: int | None) -> str:
    """A histogram for each gate of each layer; stuck gates and dead units."""
    found = report.gates
    drawn, folded = "", ""
    if found:
        top = max(share for gate in found for share in gate.histogram)
        top = min(1.0, max(0.1, top * 1.05))
        panels = [
            _panel(
                f"{gate.name}, layer {gate.layer}",
                f"{percent(gate.low)} below 0.1, {percent(gate.high)} above 0.9",
                plots.gate_plot(gate, top, f"{at}gate-{k}"),
            )
            for k, gate in enumerate(found[:most])
        ]
        drawn = key(ENDS, "bar") + _panels(panels)
        said = "Shares of the values, and units that never leave one end"
        folded = table(said, tables.GATE_HEADS, tables.gate_rows(found))
    if report.dead:
        rows = [[f"layer {one.layer}", tables.units(one.dead, one.units)] for one in report.dead]
        said = "Dead units: the output hardly moves, within 0.01 of one value at every token"
        folded += table(said, ("layer", "dead units"), rows)
    if found and most is None:
        heads = ("value", *(f"{gate.name}, layer {gate.layer}" for gate in found))
        bins = table("Share of each gate's values", heads, tables.bin_rows(found))
        folded += details("The numbers", bins)
    if not folded:
        return ""
    return _figure(drawn, report.methods["gates"] + _less(len(found), most), folded)


def units(report: MemoryReport, at: str, most: int | None) -> str:
    """The best unit of each feature beside what it must beat."""
    found = report.probes
    if not found:
        return ""
    drawn = _both(lambda wide: plots.probe_plot(found, f"{at}probes-{_size(wide)}", wide), "", most)
    legend = key(plots.DOTS, "point", band="best unit, labels shuffled")
    said = "Best unit of each feature, and what it is held against (AUC)"
    rows = table(said, tables.PROBE_HEADS, tables.probe_rows(found))
    return _figure(legend + drawn, report.methods["units"], rows)


SCREENS: Final[Mapping[str, Callable[[MemoryReport, str, int | None], str]]] = {
    "context": context,
    "gradients": gradients,
    "half-lives": half_lives,
    "gates": gates,
    "units": units,
}


def _size(wide: bool) -> str:
    return "wide" if wide else "narrow"


def _both(draw: Callable[[bool], str], narrow_key: str, most: int | None) -> str:
    """A drawing for wide places and one for narrow ones; report.css shows the one that fits.

    A notebook has the first alone.
    """
    if most is not None:
        return f"<div>{draw(True)}</div>"
    return (
        f'<div class="for-wide">{draw(True)}</div>'
        f'<div class="for-narrow">{narrow_key}{draw(False)}</div>'
    )


def _figure(drawn: str, how: str, folded: str) -> str:
    if 'class="below ' in drawn:
        how += " Open marks at the foot of a field stand for values too small for its axis."
    return (
        f'<figure class="plot">{drawn}\n<figcaption>{html.escape(how)}</figcaption>\n'
        f"{folded}</figure>"
    )


def _panels(panels: Sequence[str]) -> str:
    return f'<div class="panels">{"".join(panels)}</div>'


def _panel(name: str, said: str, drawn: str) -> str:
    below = f"<span>{html.escape(said)}</span>" if said else ""
    return (
        f'<div class="panel"><p><bdi class="of">{html.escape(name)}</bdi>{below}</p>{drawn}</div>'
    )


def _less(count: int, most: int | None) -> str:
    """What a notebook leaves out of a row of panels."""
    if most is None or count <= most:
        return ""
    return f" Of {count} pictures {most} are shown here; the page has all of them."
