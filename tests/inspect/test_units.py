"""Units: probes against counting by hand, ablation against torch, and what may be claimed."""

import dataclasses
import itertools
import json
import re
from pathlib import Path

import pytest
import torch

from cellwright.cells import CATALOGUE
from cellwright.cli import agreement, main
from cellwright.inspect.units import agreement as units_module
from cellwright.inspect.units.agreement import KINDS, find_units, says_yes
from cellwright.inspect.units.probes import auc, held_out_auc, ranks, shuffled_best
from cellwright.inspect.units.read import (
    Column,
    Seen,
    Unit,
    UnitsError,
    ablated,
    look,
    output_state,
    refusal,
    units,
    untied,
)
from cellwright.inspect.units.states import columns
from cellwright.language import Cell, Input, State, linear, sigmoid, tanh
from cellwright.lm import LanguageModel, ModelShape
from cellwright.tasks.agreement import AgreementConfig, generate
from cellwright.tasks.agreement_score import AgreementScore, Answer

FLAGS = ["--level", "word", "--hidden", "8", "--epochs", "1", "--threads", "1", "--batch", "8"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "small"
    corpus = ["--corpus", "agreement", "--sentences", "1500"]
    assert main(["train", *corpus, *FLAGS, "--layers", "2", "--out", str(out)]) == 0
    return out


@pytest.fixture
def corpus():
    return generate(AgreementConfig(sentences=20, valid=10, test=240))


# -- probes ---------------------------------------------------------------------------


def test_auc_is_the_share_of_pairs_in_order():
    torch.manual_seed(0)
    values = torch.randn(30, 4).round(decimals=0)  # with many ties
    truth = torch.rand(30) < 0.4
    got = auc(ranks(values), truth)
    for unit in range(4):
        ones, zeros = values[truth, unit], values[~truth, unit]
        pairs = [(a > b) + 0.5 * (a == b) for a in ones for b in zeros]
        assert float(got[unit]) == pytest.approx(float(sum(pairs)) / len(pairs))


def test_the_first_half_chooses_the_sign():
    truth = torch.tensor([True, True, False, False])
    low = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    first, second, up = held_out_auc((ranks(low), truth), (ranks(-low), truth))
    assert (float(first), float(second), bool(up)) == (1.0, 0.0, False)


def test_shuffled_labels_say_nothing_but_by_luck():
    torch.manual_seed(0)
    truth = torch.rand(200) < 0.5
    values = torch.randn(200, 20)
    values[:, 3] = truth.double()  # a perfect unit: shuffling takes that from it
    half = ranks(values), truth
    best = shuffled_best(half, half, 20, torch.Generator().manual_seed(1))
    assert len(best) == 20
    assert min(best) > 0.5
    assert max(best) < 0.75


# -- ablation -------------------------------------------------------------------------


def small(cell, layers: int = 2, tie: bool = False) -> LanguageModel:
    torch.manual_seed(2)
    shape = ModelShape(vocab=11, hidden=5, embed=5, layers=layers, tie=tie)
    return LanguageModel(shape, cell).eval()


@pytest.mark.parametrize("place", [Unit(0, 2), Unit(1, 4)])
def test_an_ablated_lstm_reads_zero_for_the_unit(place):
    model = untied(small("lstm"))
    ids = torch.randint(11, (3, 7))
    with ablated(model, place):
        got = model(ids)[0]
    below, read = model.embedding(ids), None
    for layer in range(2):
        b = model.recurrent.blocks(layer)
        h, c, outputs = torch.zeros(3, 5), torch.zeros(3, 5), []
        silent = torch.ones(5)
        silent[place.unit] = float(layer != place.layer)
        for t in range(7):
            a = {
                g: below[:, t] @ b[f"{g}.x"].T + (h * silent) @ b[f"{g}.h"].T + b[f"{g}.bias"]
                for g in "ifgo"
            }
            i, f, o = (a[g].sigmoid() for g in "ifo")
            c = f * c + i * a["g"].tanh()
            h = o * c.tanh()
            outputs.append(h * silent)
        below = read = torch.stack(outputs, 1)
    torch.testing.assert_close(got, model.decoder(read), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", ["rnn", "gru", "gru-cho", "peephole", "slstm", "clockwork"])
def test_ablation_changes_the_model_and_is_undone(cell):
    model = untied(small(cell))
    ids = torch.randint(11, (2, 6))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    whole = model(ids)[0]
    for place in (Unit(0, 1), Unit(1, 3)):
        with ablated(model, place):
            assert not torch.allclose(model(ids)[0], whole)
    assert torch.equal(model(ids)[0], whole)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_the_paper_gru_s_reset_product_is_an_outgoing_column():
    model = untied(small("gru-cho", layers=1))
    with ablated(model, Unit(0, 1)):
        blocks = model.recurrent.blocks(0)
        assert not blocks["n.r*h"][:, 1].any()
        assert blocks["n.r*h"][:, 0].any()
        assert blocks["n.x"][:, 1].any()


def test_a_tied_embedding_is_not_ablated():
    tied = small("lstm", layers=1, tie=True)
    model = untied(tied)
    kept = model.embedding.weight.clone()
    with ablated(model, Unit(0, 2)):
        assert torch.equal(model.embedding.weight, kept)
        assert not model.decoder.weight[:, 2].any()
    assert tied.decoder.weight is tied.embedding.weight


def ablatable(cell, layers: int = 2) -> list[tuple[LanguageModel, Column]]:
    """Each state of both layers with whether it can be ablated, unit 1 of it."""
    model = untied(small(cell, layers=layers))
    return [
        (model, column)
        for column in columns(model)
        if column.place.unit == 1 and not refusal(model, column)
    ]


SINGLE = {
    name: cell
    for name, cell in CATALOGUE.items()
    if len(cell.graph.inputs) == len(cell.graph.outputs) == 1 and "proj" not in cell.graph.symbols
}


@pytest.mark.parametrize("name", SINGLE)
def test_nothing_reads_an_ablated_unit(name):
    """Whatever the unit held before, the model says the same; unless ablated, it says another."""
    asked, told = ablatable(SINGLE[name]), []
    assert asked
    for (model, column), shift in itertools.product(asked, (-3.0, 3.0)):
        ids = torch.randint(11, (2, 7))
        with torch.no_grad():
            state = model(ids[:, :3])[1]
            names = SINGLE[name].graph.state_names
            parts = [part.clone() for part in ([state] if len(names) == 1 else state)]
            parts[names.index(column.state)][column.place.layer, :, 1] += shift
            changed = parts[0] if len(names) == 1 else tuple(parts)
            before = [model(ids[:, 3:], each)[0] for each in (state, changed)]
            told.append(not torch.allclose(*before))
            with ablated(model, column.place, column.state):
                after = [model(ids[:, 3:], each)[0] for each in (state, changed)]
            torch.testing.assert_close(*after)
    assert any(told)


REFUSED = {"fgr": "cif", "slstm": "nm", "clockwork": ["age"], "layernorm-lstm": "c"}


@pytest.mark.parametrize("name", SINGLE)
def test_states_that_are_read_mixed_with_others_are_refused(name):
    model = untied(small(SINGLE[name], layers=1))
    for state in SINGLE[name].graph.state_names:
        if state in REFUSED.get(name, ()):
            said = f"no unit of layer 0's {state} can be cut alone"
            with pytest.raises(UnitsError, match=said), ablated(model, Unit(0, 1), state):
                pass
        else:
            with ablated(model, Unit(0, 1), state):
                assert not model.decoder.weight[:, 1].any()


def test_fgr_s_output_gate_is_read_by_gates_too():
    model = untied(small("fgr", layers=1))
    with ablated(model, Unit(0, 3), "o"):
        blocks = model.recurrent.blocks(0)
        for key in ("i.o", "f.o", "o.o", "i.h", "g.h"):
            assert not blocks[key][:, 3].any()
        assert blocks["i.f"][:, 3].all()


class Squashed(Cell):
    x, h = Input(), State()
    s = tanh(h)
    h.next = tanh(linear(x) + linear(s))


class Shifted(Cell):
    x, h = Input(), State()
    s = sigmoid(h)
    h.next = tanh(linear(x) + linear(s))


def test_a_unit_is_followed_through_what_is_computed_of_it():
    model = untied(small(Squashed, layers=1))
    with ablated(model, Unit(0, 2)):
        block = model.recurrent.blocks(0)["h.s"]
        assert not block[:, 2].any() and block[:, 1].all()
    model = untied(small(Shifted, layers=1))
    said = "in what h of layer 0 reads, it is mixed"
    with pytest.raises(UnitsError, match=said), ablated(model, Unit(0, 2)):
        pass


def test_what_the_layer_above_reads_unit_by_unit_cannot_be_cut():
    model = untied(small("mut1"))
    with pytest.raises(UnitsError, match="of layer 1 reads"), ablated(model, Unit(0, 2)):
        pass
    with ablated(model, Unit(1, 2)):
        assert not model.recurrent.blocks(1)["r.h"][:, 2].any()


def test_states_that_cannot_be_ablated_are_not_asked(monkeypatch, corpus):
    def look(model, corpus, probes):
        targets = [t for probe in probes for t in probe.targets]
        values = torch.randn(len(targets), 10)
        names = tuple(Column(state, Unit(0, k)) for state in "hf" for k in range(5))
        for row, target in enumerate(targets):
            if target.kind in KINDS:
                values[row, 7] = float(says_yes(target))  # f knows it best
        return Seen(values, names, tuple(targets))

    monkeypatch.setattr(units_module, "look", look)
    report = find_units(small("fgr", layers=1), corpus, _Told({}, 0.5), drawn=2, shuffles=2)
    assert {found.state for found in report.findings} == {"h"}
    assert list(report.left_out) == ["f"]


def test_units_are_places_of_the_output():
    assert units(small("lstm")) == [Unit(k, u) for k in range(2) for u in range(5)]
    assert output_state(small("janet")) == "c"


# -- what may be claimed --------------------------------------------------------------


class _Told:
    """A score that is what the test wants, and worse where one unit is silent."""

    def __init__(self, needed: dict[str, Unit], share: float) -> None:
        self.needed, self.share = needed, share

    def __call__(self, model, corpus):
        silent = {
            kind: not model.decoder.weight[:, unit.unit].any() for kind, unit in self.needed.items()
        }
        answers, asked = [], dict.fromkeys([*KINDS, "country"], 0)
        for target in (t for probe in corpus.test for t in probe.targets):
            asked[target.kind] += 1
            wrong = (
                silent.get(target.kind, False) and asked[target.kind] * self.share % 1 < self.share
            )
            answers.append(Answer(target, not wrong))
        return AgreementScore(tuple(answers))


@pytest.fixture
def planted(monkeypatch):
    """Unit 3 knows number and unit 5 gender; unit 6 knows number too; the others know nothing."""

    def look(model, corpus, probes):
        generator = torch.Generator().manual_seed(len(probes))
        targets = [t for probe in probes for t in probe.targets]
        values = torch.randn(len(targets), 16, generator=generator)
        for row, target in enumerate(targets):
            if target.kind in KINDS:
                sign = 1.0 if says_yes(target) else -1.0
                for unit in (3, 6) if target.kind == "number" else (5,):
                    values[row, unit] = 0.3 * values[row, unit] + sign * (-1 if unit == 6 else 1)
        return Seen(values, tuple(Column("h", Unit(0, k)) for k in range(16)), tuple(targets))

    monkeypatch.setattr(units_module, "look", look)
    shape = ModelShape(vocab=11, hidden=16, embed=5)
    return LanguageModel(shape, "rnn").eval()


def test_only_what_is_selective_and_needed_is_claimed(planted, corpus):
    ask = _Told({"number": Unit(0, 3), "gender": Unit(0, 9)}, share=0.5)
    report = find_units(planted, corpus, ask, top=2, drawn=30)
    claimed = {(f.kind, f.unit.unit) for f in report.findings if f.causal}
    assert claimed == {("number", 3)}
    number = {f.unit.unit: f for f in report.of("number")}
    assert {3, 6} == set(number)
    assert (number[3].high, number[6].high) == ("plural", "singular")
    assert number[3].drops["number"] == pytest.approx(50, abs=2)
    assert number[6].drops["number"] == 0
    assert report.of("gender")[0].unit == Unit(0, 5)
    assert max(report.controls["gender"]) > 40  # unit 9 is needed, though it is not selective


def test_a_drop_within_its_error_is_no_proof(planted, corpus):
    report = find_units(planted, corpus, _Told({"number": Unit(0, 3)}, share=0.02), top=2, drawn=12)
    lost = {found.unit.unit: found.drops["number"] for found in report.of("number")}
    assert lost[6] == 0.0 < lost[3] < 5
    assert not any(found.causal for found in report.findings)


def test_too_few_sentences_are_refused(planted, corpus):
    few = dataclasses.replace(corpus, test=corpus.test[:40])
    with pytest.raises(UnitsError, match="give more --sentences"):
        find_units(planted, few, lambda *_: AgreementScore(()))


def test_a_model_of_no_words_is_refused(corpus):
    with pytest.raises(UnitsError, match="does not read words"):
        look(small("lstm"), corpus, corpus.test[:2])


# -- a real run -----------------------------------------------------------------------


def test_states_are_those_before_the_word_that_must_agree(run):
    model = LanguageModel.from_pretrained(run)
    assert model.tokenizer is not None
    corpus = generate(agreement.settings_of(run))
    probe = corpus.test[3]
    seen = look(model, corpus, [probe])
    assert len(seen.values) == len(probe.targets)
    text = "".join(line + "\n" for line in corpus.valid[:8])
    ids = [model.tokenizer.line_end_id, *model.tokenizer.encode(text)]
    target = probe.targets[0]
    ids += [model.tokenizer.token_id(word) for word in probe.words[: target.position]]
    with torch.no_grad():
        h, c = model(torch.tensor([ids]))[1]
    for column, value in zip(seen.columns, seen.values[0], strict=True):
        wanted = (h if column.state == "h" else c)[column.place.layer, 0, column.place.unit]
        torch.testing.assert_close(value, wanted, rtol=1e-4, atol=1e-5)
    assert len(seen.columns) == 2 * 2 * 8


def test_the_verb(run, capsys):
    words = ["inspect", "units", str(run), "--sentences", "200", "--controls", "10"]
    assert main([*words, "--shuffles", "10", "--top", "2"]) == 0
    out = capsys.readouterr().out
    assert "by luck" in out
    assert "number: " in out
    assert main([*words, "the king sings .", "--unit", "1:3", "--state", "c", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert len(said["findings"]) == 6
    assert len(said["drawn"]) == 10
    assert said["text"]["words"] == ["the", "king", "sings", "."]
    assert len(said["text"]["values"]) == 4
    model = LanguageModel.from_pretrained(run)
    assert model.tokenizer is not None
    corpus = generate(agreement.settings_of(run))
    text = "".join(line + "\n" for line in corpus.valid[:8])
    ids = [model.tokenizer.line_end_id, *model.tokenizer.encode(text)]
    ids.append(model.tokenizer.token_id("the"))
    with torch.no_grad():
        c = model(torch.tensor([ids]))[1][1]
    assert said["text"]["values"][0] == pytest.approx(float(c[1, 0, 3]), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--unit", "9:1"], "--unit: expected 0:0 to 1:7"),
        (["--unit", "0:1", "--state", "z"], "--state: expected one of h, c"),
        (["--state", "c"], "give both"),
        (["the zebra", "--unit", "0:1"], "'zebra'"),
        ([" ", "--unit", "0:1"], "TEXT: expected words"),
        (["--sentences", "40"], "--sentences"),
    ],
)
def test_mistakes_are_one_line(run, words, said, capsys):
    assert main(["inspect", "units", str(run), *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1


def test_every_cell_of_the_catalogue_has_units():
    fit = [c for c in CATALOGUE.values() if len(c.graph.inputs) == len(c.graph.outputs) == 1]
    assert len(fit) > 25
    for cell in fit:
        if "proj" not in cell.graph.symbols:
            model = untied(small(cell, layers=1))
            with ablated(model, units(model)[0]):
                assert not model.decoder.weight[:, 0].any()


def test_the_names_of_the_page_about_units_are_there():
    page = (Path(__file__).parents[2] / "docs" / "units.md").read_text(encoding="utf-8")
    block = page.partition("```python\n")[2].partition("```")[0]
    names: dict[str, object] = {}
    exec(block, names)
    table = page.partition("| call |")[2]
    called = re.findall(r"^\| `(?:with )?(\w+)\(", table, re.MULTILINE)
    assert len(called) == 7
    assert all(callable(names[name]) for name in called)
    assert "cellwright.inspect`" not in page
