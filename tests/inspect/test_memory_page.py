"""The page of a memory report as text: what it holds, escapes, leaves out, and refuses."""

import html
import math
import os
import re
from dataclasses import replace

import pytest

from cellwright.inspect.errors import InspectError
from cellwright.inspect.memory import Asked
from cellwright.inspect.memory import page as memory_page
from cellwright.inspect.memory.page import body, emphasise, notebook, write_report
from cellwright.inspect.memory.report import SCREENS, Decay, Losses, MemoryReport
from cellwright.inspect.memory.tables import beyond, bits, each_life, place, plural, used
from cellwright.inspect.memory.tables import units as named
from cellwright.inspect.units.probes import Probed
from cellwright.lm.gates import quantile
from cellwright.web.charts import number, percent
from tests.inspect.memory_example import example

ODD = "</script><b onclick=x>'\"&\u0301 😀 \u05d0\u202e"


def cells(made: str, caption: str) -> list[list[str]]:
    """The rows of the table with that caption, as a reader sees them."""
    _, _, rest = made.partition(f"<caption>{html.escape(caption)}")
    table, _, _ = rest.partition("</table>")
    return [
        [html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", table)
    ]


def bare() -> MemoryReport:
    """A report on a cell without gates, whose text has no feature to probe."""
    why = {
        name: f"the cell has no {name}" for name in ("gradients", "half-lives", "gates", "units")
    }
    return replace(
        example(), gradients=(), half_lives=(), gates=(), dead=(), probes=(), left_out=why
    )


def test_six_screens_stand_in_order_and_each_says_how_it_was_computed():
    report = example()
    made = body(report)
    found = re.findall(r'<section id="([\w-]+)"', made)
    assert tuple(found) == (*SCREENS, "made")
    parts = made.split("<section ")[1:]
    for name, part in zip(SCREENS, parts, strict=False):
        assert html.escape(report.methods[name]) in part
        for sentence in report.verdict:
            if sentence.screen == name:
                assert emphasise(sentence.text) in part


def test_each_sentence_of_the_verdict_leads_to_its_screen():
    report = example()
    verdict = body(report).split("<section ")[1]
    links = re.findall(r'<li><p>(.*?)</p><a href="#([\w-]+)"', verdict)
    assert links == [(emphasise(said.text), said.screen) for said in report.verdict]


def test_the_losses_are_in_nats_and_bits():
    report = example()
    rows = cells(body(report), "Mean loss in nats")
    losses = report.context
    assert [row[0] for row in rows[1:]] == [*(f"{k:,}" for k in losses.contexts), "all"]
    for k, row in enumerate(rows[1:-1]):
        wanted = [number(bits(losses.reset.loss[k]), 4)]
        for of in (losses.reset, losses.stranger, losses.shuffled, losses.untrained):
            assert of is not None
            wanted += [number(of.loss[k], 4), number(of.error[k], 2)]
        assert row[1:] == wanted
    assert rows[-1][1:3] == [number(losses.reset.full / math.log(2), 4), "1.620"]


def test_each_context_lacks_what_its_loss_is_above_all():
    context = example().context
    rows = cells(body(example()), "What each context still lacks")
    assert [row[0] for row in rows[1:]] == [f"{k:,}" for k in context.contexts]
    for k, row in enumerate(rows[1:]):
        kinds = (context.reset, context.stranger, context.shuffled)
        assert row[1::2] == [number(of.loss[k] - of.full) for of in kinds]
        assert row[2::2] == [number(of.error[k], 2) for of in kinds]


def told(made: str, screen: str) -> set[str]:
    """What the points and bars of a screen tell under the pointer."""
    part = next(p for p in made.split("<section ") if p.startswith(f'id="{screen}"'))
    return {html.unescape(title) for title in re.findall(r"<title>(.*?)</title>", part)}


def test_every_curve_bears_its_own_name():
    """What is drawn tells the numbers of the field of the report that its name means."""
    report = example()
    made, context = body(report), report.context
    for name, losses in (
        ("trained", context.reset), ("other text before it", context.stranger),
        ("earlier text shuffled", context.shuffled), ("untrained", context.untrained),
    ):  # fmt: skip
        assert losses is not None
        for k, size in enumerate(context.contexts):
            ends = (losses.loss[k] - losses.error[k], losses.loss[k] + losses.error[k])
            said = f"{name}: {number(losses.loss[k], 4)} at {size:,}, from {number(ends[0], 4)} to "
            assert said + number(ends[1], 4) in told(made, "context")
    for gradient in report.gradients:
        for name, decay in (("trained", gradient.trained), ("untrained", gradient.untrained)):
            assert decay is not None
            said = f"{name}: {number(decay.median[0], 4)} at 0, from {number(decay.low[0], 4)} to "
            assert said + number(decay.high[0], 4) in told(made, "gradients")
    for one in report.half_lives:
        for name, values in (("trained", one.trained), ("untrained", one.untrained)):
            assert values is not None
            first = f"{name}: {number(beyond(values, 0.1), 4)} at 0.100"
            assert first in told(made, "half-lives")
    for gate in report.gates:
        assert f"0.3 to 0.35: {percent(gate.histogram[6])}" in told(made, "gates")
    for probe in report.probes:
        for name, value in (
            ("best unit", probe.auc), ("token alone", probe.token),
            ("best unit, untrained", probe.untrained),
        ):  # fmt: skip
            assert f"{probe.feature}, {name}: {number(value)}" in told(made, "units")
        ends = number(min(probe.shuffled)), number(max(probe.shuffled))
        assert f"labels shuffled: {ends[0]} to {ends[1]}" in told(made, "units")


def test_the_longest_half_lives_end_the_curve():
    """Trained and untrained are told apart where they differ: at the curve's right end."""
    first = example().half_lives[0]
    one = replace(first, trained=(1.0, None, None, None), untrained=(1.0, 2.0, 3.0, None))
    found = told(body(replace(example(), half_lives=(one,))), "half-lives")
    assert {"trained: 0.7500 at 100", "untrained: 0.2500 at 100"} <= found


def test_the_gradients_are_those_of_the_report():
    report = example()
    for gradient in report.gradients:
        rows = cells(body(report), f"Norm of the gradient: {place(gradient.of)}")
        assert len(rows) == 1 + len(gradient.trained.lags)
        for k, row in enumerate(rows[1:]):
            sides = (gradient.trained, gradient.untrained)
            wanted = [number(v[k]) for d in sides if d for v in (d.median, d.low, d.high)]
            assert row == [str(gradient.trained.lags[k]), *wanted]


def test_half_lives_are_told_by_quantile_and_by_unit():
    report = example()
    made = body(report)
    rows = cells(made, "Half-lives in steps")
    assert len(rows) == 1 + 2 * len(report.half_lives)
    one = report.half_lives[0]
    assert rows[1][:2] == ["c, layer 0", "trained"]
    assert rows[1][-3] == percent(beyond(one.trained, 50))
    assert rows[1][-1] == "1"
    each = cells(made, "Half-life of each unit in steps: c, layer 0")
    assert each[1:] == each_life(one)
    assert each[1] == ["31", "never fades", "never fades"]
    assert [float(row[1]) for row in each[2:]] == sorted(
        (float(row[1]) for row in each[2:]), reverse=True
    )


def test_gates_and_dead_units_are_told():
    report = example()
    made = body(report)
    rows = cells(made, "Shares of the values, and units")
    for gate, row in zip(report.gates, rows[1:], strict=True):
        assert row[:3] == [
            f"{gate.name}, layer {gate.layer}", percent(gate.low), percent(gate.high),
        ]  # fmt: skip
    assert ["f, layer 1", "4 (1 of 32)", "7, 9 (2 of 32)"] in [[r[0], *r[3:]] for r in rows]
    assert cells(made, "Dead units")[1:] == [["layer 0", "5, 19 (2 of 32)"], ["layer 1", "none"]]
    bins = cells(made, "Share of each gate's values")
    assert len(bins) == 21
    assert [row[2] for row in bins[1:]] == [percent(v) for v in report.gates[1].histogram]


def test_probes_stand_beside_their_controls():
    rows = cells(body(example()), "Best unit of each feature")
    assert rows[1] == [
        "in a quotation", "8.3\u00a0%", "17 of c, layer 1", "0.943", "0.533", "0.714",
        "0.581 to 0.612", "high",
    ]  # fmt: skip
    assert rows[2][-1] == "low"


def test_what_is_left_out_is_said_in_its_screen():
    report = replace(example(), left_out={"gates": f"no gates: {ODD}"})
    for part in body(report).split("<section ")[1:]:
        assert ("Left out: no gates" in part) == part.startswith('id="gates"')


def test_a_report_without_gates_or_probes_says_so_and_shows_no_empty_picture():
    report = bare()
    for made in (body(report), notebook(report)):
        parts = made.split("<section ")[1:]
        for name, part in zip(SCREENS[2:], parts[2:], strict=False):
            assert f"Left out: the cell has no {name}" in part
            assert "<figure" not in part and "<table" not in part


@pytest.mark.parametrize(
    ("lacking", "enough", "marks", "said"),
    [
        (32, 64, ["used: 64 characters"], "64 characters"),
        (16, 64, ["lacking: 16", "enough: 64"], "between 16 and 64 characters"),
        (512, None, ["lacking: 512"], "more than 512 characters"),
        (None, 1, ["used: 1 character"], "1 character"),
        (None, 8, ["enough: 8"], "at most 8 characters"),
        (None, None, [], "not shown"),
    ],
)
def test_both_ends_of_the_bracket_are_marked(lacking, enough, marks, said):
    report = example()
    context = replace(report.context, lacking=lacking, enough=enough)
    made = body(replace(report, context=context))
    headline = made.split('id="gradients"')[0]
    found = re.findall(r">((?:used|lacking|enough): [^<]*)<", headline)
    assert list(dict.fromkeys(found)) == marks
    assert headline.count('class="mark"') == 4 * len(marks)
    assert f"Context used: {said}." in made
    assert used(context, "character") == said


def test_where_more_text_does_harm_the_best_is_marked():
    report = example()
    count = len(report.context.contexts)
    harmed = Losses(tuple(1.0 + k / 10 for k in range(count)), (0.01,) * count, 3.0)
    context = replace(report.context, reset=harmed, lacking=None, enough=1)
    headline = body(replace(report, context=context)).split('id="gradients"')[0]
    found = re.findall(r">((?:used|lacking|enough|best): [^<]*)<", headline)
    assert list(dict.fromkeys(found)) == [f"best: {report.context.contexts[0]}"]


def test_one_context_alone_is_drawn():
    report = example()
    losses = Losses((2.0,), (0.0,), 2.0)
    one = replace(
        report.context, contexts=(1,), reset=losses, stranger=losses, shuffled=losses,
        untrained=losses, guessing=2.0, lacking=None, enough=1,
    )  # fmt: skip
    assert "used: 1 character" in body(replace(report, context=one))


def test_a_control_that_gave_no_numbers_is_drawn_nowhere():
    report = example()
    made = body(
        replace(
            report,
            context=replace(report.context, untrained=None),
            gradients=tuple(replace(g, untrained=None) for g in report.gradients),
            half_lives=tuple(replace(h, untrained=None) for h in report.half_lives),
        )
    )
    for screen in ("context", "gradients", "half-lives"):
        assert not any(title.startswith("untrained:") for title in told(made, screen))
        assert any(title.startswith("trained:") for title in told(made, screen))
    assert cells(made, "Mean loss in nats")[1][-2:] == ["–", "–"]
    assert [row[1] for row in cells(made, "Half-lives in steps")[1:]] == ["trained"] * 2
    assert cells(made, "Half-life of each unit in steps: c, layer 0")[1][2] == "–"


def test_steps_between_resets_are_called_so():
    report = example()
    first = replace(report.half_lives[0], resets=True)
    assert "by f, steps between resets; half of the units" in body(
        replace(report, half_lives=(first,))
    )


def test_gradients_of_zero_are_drawn_at_the_foot():
    report = example()
    lags = tuple(range(4))
    none = Decay(lags, (0.0,) * 4, (0.0,) * 4, (0.0,) * 4)
    some = Decay(lags[:3], (1.0, 0.0, 1e-30), (0.5, 0.0, 0.0), (2.0, 1e-20, 1e-9))
    first = report.gradients[0]
    made = body(replace(report, gradients=(replace(first, trained=some, untrained=none),)))
    assert made.count('class="below tone-3"') >= 3
    assert "Open marks at the foot" in made
    rows = cells(made, "Norm of the gradient: x")
    assert rows[2] == ["1", "0", "0", "1.00·10⁻²⁰", "0", "0", "0"]
    assert rows[4] == ["3", "–", "–", "–", "0", "0", "0"]
    body(replace(report, gradients=(replace(first, trained=none, untrained=none),)))
    huge = Decay(lags, (1e308, 1.0, 1e-320, 5e-324), (1.0,) * 4, (1.7e308,) * 4)
    body(replace(report, gradients=(replace(first, trained=huge, untrained=none),)))


def test_half_lives_without_end_or_length_are_shown():
    report = example()
    first = report.half_lives[0]
    for values in ((None,) * 4, (0.0,) * 4, (1e-9, 1e12, None, 0.0), (5.0,)):
        one = replace(first, trained=values, untrained=values)
        made = body(replace(report, half_lives=(one,)))
        assert len(cells(made, "Half-life of each unit")) == 1 + len(values)
    assert quantile((1.0, 2.0, None, 4.0), 0.5) == 2.0
    assert quantile((1.0, None), 0.9) is None
    assert beyond((1.0, 50.0, 51.0, None), 50) == 0.5


def test_names_are_shown_as_they_are():
    report = example()
    probe = Probed(ODD, 0.1, 0, ODD, 1, 0.9, True, (0.5,), 0.5, 0.5)
    odd = replace(
        report,
        facts=replace(report.facts, run=ODD, cell=ODD, text=ODD, unit=ODD),
        verdict=(replace(report.verdict[0], text=f"{ODD} 17 % &#39;"),),
        gradients=tuple(replace(g, of=f"layers.0.{ODD}") for g in report.gradients[:1]),
        half_lives=tuple(replace(h, state=ODD, keep=ODD) for h in report.half_lives),
        gates=tuple(replace(g, name=ODD) for g in report.gates),
        probes=(probe,),
        methods=dict.fromkeys(SCREENS, ODD),
        left_out=dict.fromkeys(SCREENS, ODD),
    )
    for made in (body(odd), notebook(odd)):
        assert "<script" not in made and "<b " not in made and "</script" not in made
        assert made.count(html.escape(ODD)) > 20


def test_numbers_of_a_sentence_are_set_off_whole():
    said = emphasise("12,345 of x1 & 0.5 % in 3.2, layers.0.c; 16, 'a' 31 %.")
    found = re.findall(r'<span class="figure">(.*?)</span>', said)
    assert found == ["12,345", "0.5 %", "3.2", "16", "31 %"]
    assert html.unescape(re.sub(r"</?span[^>]*>", "", said)).startswith("12,345 of x1 & 0.5 % in")


@pytest.mark.parametrize("count", [8, 40])
def test_a_notebook_has_a_small_report_and_no_script(count):
    """However large the model: four layers of a thousand units, and many panels."""
    report = example()
    lives = tuple(0.1 * 1.011**k for k in range(1024))
    lags = tuple(range(1001))
    decay = Decay(lags, *(tuple(scale * math.exp(-k / 77) for k in lags) for scale in (2, 1, 3)))
    large = replace(
        report,
        gradients=(replace(report.gradients[0], trained=decay, untrained=decay),) * count,
        half_lives=(replace(report.half_lives[0], trained=lives, untrained=lives),) * count,
        gates=report.gates * 4,
        probes=report.probes * 10,
    )
    made = large._repr_html_()
    assert len(made.encode()) < 200_000
    assert f"Of {count} pictures" in made
    for never in ("<script", "<nav", "http:", "https:", "@import", "url(", ":root", "\nbody"):
        assert never not in made
    assert len(body(large).encode()) > 200_000


def test_two_reports_in_one_document_share_no_id():
    report = example()
    other = replace(report, facts=replace(report.facts, seconds=1.0))
    first, second = (set(re.findall(r'\bid="([^"]+)"', notebook(r))) for r in (report, other))
    assert first and not first & second
    for made in (notebook(report), body(report)):
        ids = re.findall(r'\bid="([^"]+)"', made)
        assert len(set(ids)) == len(ids)
        assert set(re.findall(r'href="#([^"]+)"', made)) <= set(ids)


def test_a_page_replaces_only_pages(tmp_path):
    out = tmp_path / "report.html"
    size = write_report(out, example())
    assert out.stat().st_size == size < 3_000_000
    assert write_report(out, example()) == size
    out.write_text("my own notes", encoding="utf-8")
    with pytest.raises(InspectError, match="not a page of ours"):
        write_report(out, example())
    assert out.read_text(encoding="utf-8") == "my own notes"
    with pytest.raises(InspectError, match="is a directory"):
        write_report(tmp_path, example())
    with pytest.raises(InspectError, match=r"there is no directory .*none; make it first"):
        write_report(tmp_path / "none" / "report.html", example())
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_report_too_large_for_a_page_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(memory_page, "LARGEST", 100_000)
    with pytest.raises(InspectError, match=r"at most 0 MB.*5 gradients and 6 gates are too many"):
        write_report(tmp_path / "report.html", example())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="names of files are bytes on POSIX alone")
def test_a_path_that_is_no_text_does_not_stop_the_page(tmp_path):
    report = example()
    odd = replace(report, facts=replace(report.facts, run=os.fsdecode(b"runs/\xff")))
    write_report(tmp_path / "report.html", odd)
    assert "runs/?" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "runs/" in odd._repr_html_()


@pytest.mark.parametrize(
    ("text", "given"),
    [("a book.txt", " 'a book.txt'"), ("the text", " -"), ("my run: its validation text", "")],
)
def test_the_command_that_repeats_the_report_is_told(text, given):
    report = example()
    made = body(replace(report, facts=replace(report.facts, run="my run", text=text)))
    command = html.unescape(re.findall(r"<code[^>]*>(.*?)</code>", made)[0])
    assert command == f"cellwright inspect memory 'my run'{given} -o report.html"


def test_small_words():
    assert plural(1, "unit") == "1 unit" and plural(2_000, "unit") == "2,000 units"
    assert place("layers.1.c") == "c, layer 1" and place("x") == "x"
    assert place("layers.0.a.b") == "a.b, layer 0"
    assert named((), 4) == "none"
    assert named(tuple(range(20)), 1_024).endswith("11, … (20 of 1,024)")


def test_the_page_says_how_to_measure_the_same_again():
    report = example()
    asked = Asked(places=64, lags=20, seed=3)
    facts = replace(report.facts, run="runs/a b", text="t.txt", options=asked.options)
    said = html.unescape(body(replace(report, facts=facts)))
    assert "inspect memory 'runs/a b' t.txt --places 64 --lags 20 --seed 3" in said
    assert Asked().options == ()
