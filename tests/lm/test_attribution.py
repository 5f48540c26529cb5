"""Attribution: ablation against rescoring by hand, gradients against differences and sums."""

import math

import numpy as np
import pytest
import torch

from cellwright.language import Cell, Input, State, affine
from cellwright.language.errors import CellwrightError
from cellwright.language.ops import Op
from cellwright.lm import AttributionError, LanguageModel
from cellwright.lm.attribution import METHODS
from cellwright.lm.attribution.ask import FURTHEST
from cellwright.lm.attribution.run import rows_of
from cellwright.lm.attribution.spans import replacements
from tests.inspect.readers import READERS, reader
from tests.lm.attributed import agreeing, ids_of, score_of_vectors, scored, small
from tests.lm.small import SENTENCES

TEXT = "the bed is not/a cod"
INTEGRATED = "integrated-gradients"


# -- the three methods ----------------------------------------------------------------


@pytest.mark.parametrize("cell", READERS)
def test_ablation_is_what_rescoring_by_hand_says(cell):
    model = reader(cell).double()
    ids = ids_of(model, TEXT)
    target, against = ids_of(model, "t")[0], ids_of(model, "ae")
    found = model.attribute(TEXT, "t", against=["a", "e"], at=11, furthest=9)
    whole = scored(model, ids[:12], target, against)
    assert found.score == pytest.approx(whole, rel=1e-9, abs=1e-12)
    assert [part.start for part in found.parts] == list(range(3, 12))
    assert (found.left_out, found.at, found.target, found.against) == (3, 11, "t", ("a", "e"))
    others = replacements(ids, model.shape.vocab)
    for part in found.parts:
        changed = [[*ids[: part.start], r, *ids[part.stop : 12]] for r in others[ids[part.start]]]
        drops = [whole - scored(model, c, target, against) for c in changed]
        assert part.score == pytest.approx(sum(drops) / 3, rel=1e-7, abs=1e-9)
        assert (part.low, part.high) == pytest.approx((min(drops), max(drops)), abs=1e-9)


@pytest.mark.parametrize("cell", READERS)
def test_the_gradient_is_a_finite_difference(cell):
    """Over half a step either way: that is the whole way times the slope."""
    model = reader(cell).double()
    ids = ids_of(model, TEXT)[:9]
    found = model.attribute(TEXT, "b", "gradient", against="d", at=8, furthest=6)
    target, against = ids_of(model, "b")[0], ids_of(model, "d")
    weight = model.embedding.weight.detach()
    others = replacements(ids_of(model, TEXT), model.shape.vocab)
    x = weight[ids]
    for part in found.parts[::2]:
        way = torch.zeros_like(x)
        way[part.start] = x[part.start] - weight[list(others[ids[part.start]])].mean(0)
        with torch.no_grad():
            low, high = (
                score_of_vectors(model, x + s * way, target, against) for s in (-1e-6, 1e-6)
            )
        assert part.score == pytest.approx(float(high - low) / 2e-6, rel=1e-5, abs=1e-7)


def test_the_gradient_of_each_replacement_is_autograds():
    model = reader("lstm").double()
    ids = ids_of(model, TEXT)
    found = model.attribute(TEXT, "e", "gradient", replacements=["a", "\n"])
    weight = model.embedding.weight.detach()
    x = weight[ids].requires_grad_()
    (slope,) = torch.autograd.grad(score_of_vectors(model, x, ids_of(model, "e")[0], []), x)
    x = x.detach()
    for part in found.parts:
        given = [k for k in ids_of(model, "a\n") if k != ids[part.start]]
        each = [float(slope[part.start] @ (x[part.start] - weight[k])) for k in given]
        assert len(part.replacements) == len(given) >= 1
        assert part.score == pytest.approx(sum(each) / len(each), rel=1e-7, abs=1e-9)
        assert (part.low, part.high) == pytest.approx((min(each), max(each)), abs=1e-9)


def test_integrated_gradients_are_a_sum_along_the_way():
    """Against a midpoint rule of many points, each replacement's way by itself."""
    model = reader("gru").double()
    text = TEXT[:7]
    ids = ids_of(model, text)
    target = ids_of(model, "s")[0]
    found = model.attribute(text, "s", INTEGRATED, replacements=["h", "o"], steps=48)
    weight, points = model.embedding.weight.detach(), 800
    x, shares, lows = weight[ids], [], []
    for other in ids_of(model, "ho"):
        # where a token is the one replacement, the other serves
        swap = [other if k != other else sum(ids_of(model, "ho")) - other for k in ids]
        base = weight[swap]
        rows = (base + (torch.arange(points)[:, None, None] + 0.5) / points * (x - base)).detach()
        rows.requires_grad_()
        h, _ = model.recurrent(rows)
        logs = torch.log_softmax(model.decoder(h[:, -1]), -1)[:, target]
        (slopes,) = torch.autograd.grad(logs.sum(), rows)
        shares.append(((x - base) * slopes.mean(0)).sum(-1))
        lows.append(scored(model, swap, target, []))
    wanted = torch.stack(shares)
    assert found.scores == pytest.approx(wanted.mean(0).tolist(), rel=1e-3, abs=1e-5)
    assert [p.low for p in found.parts] == pytest.approx(wanted.amin(0).tolist(), abs=1e-4)
    assert found.baseline == pytest.approx(sum(lows) / 2)


BENT = {Op.RELU, Op.ABS, Op.MAXIMUM, Op.MINIMUM, Op.WHERE}  # Gauss's rule is slow at corners


@pytest.mark.parametrize("cell", READERS)
def test_integrated_gradients_add_up(cell):
    """Also where a part of the text is not looked at: it stays as it is on all of the way."""
    model = reader(cell).double()
    with torch.no_grad():
        model.embedding.weight.mul_(0.2)  # a short way, so that few steps are enough
    found = model.attribute(TEXT, "n", INTEGRATED, against="t", furthest=8, steps=24)
    assert found.baseline is not None and found.completeness is not None
    gained = found.score - found.baseline
    assert found.completeness == pytest.approx(sum(found.scores) - gained)
    smooth = not BENT & {node.op for node in model.cell.graph.nodes}
    assert abs(found.completeness) < (1e-3 if smooth else 5e-2) * sum(map(abs, found.scores))
    assert [c.method for c in found.companions] == ["ablation", "gradient"]
    assert "steps" not in found.warning


def test_too_few_steps_are_told():
    model = reader("rnn")
    with torch.no_grad():
        model.embedding.weight.mul_(4)
    found = model.attribute(TEXT, "n", INTEGRATED, steps=1)
    assert found.completeness is not None and abs(found.completeness) > 0.1
    assert "give more than 1 steps" in found.warning
    assert found.steps == 1


class Straight(Cell):
    """A cell without a bend: with it, a log of odds is linear in the embeddings."""

    x, h = Input(), State()
    h.next = affine(x, h)


def test_all_agree_on_a_linear_model():
    base = reader("rnn", layers=1)
    model = LanguageModel(base.shape, Straight, base.tokenizer).double()
    found = {m: model.attribute(TEXT, "t", m, against="e") for m in METHODS}
    for method in METHODS:
        assert found[method].scores == pytest.approx(found["ablation"].scores, abs=1e-10)
        assert found[method].warning == ""
        for companion in found[method].companions:
            assert companion.correlation == pytest.approx(1.0)
            assert len(found[method].parts) >= 8
    assert max(map(abs, found["ablation"].scores)) > 1e-4


# -- a model whose reason is known -----------------------------------------------------


@pytest.mark.parametrize(
    ("text", "target", "against", "subject"),
    [
        ("the king near the girls", "sings", "sing", 1),
        ("the girls near the king near the king", "sing", "sings", 1),
        ("near the king the girls sees the girls", "sings", "sing", 2),
    ],
)
def test_the_subject_is_what_a_verb_leans_on(text, target, against, subject):
    found = agreeing().attribute(
        text, target, against=against, replacements=["near", "the", "sees", "<unk>"]
    )
    assert found.score > 5
    assert found.top(1)[0].start == subject
    assert found.top(1)[0].score > 5
    rest = [part.score for part in found.parts if part.start != subject]
    assert max(map(abs, rest)) < 1e-3
    # the gates are wide open or shut, so the slope says nearly nothing: the warning does
    assert max(map(abs, found.by_method["gradient"])) < 1


def test_what_is_replaced_matters_and_is_told():
    found = agreeing().attribute(
        "the king near the girls", "sings", against="sing", replacements=["kings", "girl"]
    )
    king = found.parts[1]
    assert king.replacements == ("kings", "girl")
    assert king.low == pytest.approx(0, abs=1e-4)  # girl agrees with sings as well
    assert king.high > 10
    assert king.score == pytest.approx((king.low + king.high) / 2)


# -- any model, any mode ---------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{}, {"tie": True, "embed": 9}, {"last_hidden": 5}, {"dropout_kind": "locked"}],
    ids=["plain", "tied", "unequal", "locked"],
)
@pytest.mark.parametrize("method", METHODS)
def test_a_training_model_is_asked_as_it_predicts(tmp_path, changes, method):
    model = small(tmp_path=tmp_path, **changes).train()
    found = model.attribute("the cat sees", "t", method, furthest=5)
    assert model.training and model.recurrent.training
    assert all(p.grad is None for p in model.parameters())
    model.eval().requires_grad_(False)
    with torch.inference_mode():
        again = model.attribute("the cat sees", "t", method, furthest=5)
    assert again.scores == pytest.approx(found.scores, abs=1e-6)
    assert again.score == pytest.approx(scored(model, *parts_of(model, "the cat sees", "t")))


def parts_of(model, text, target):
    return ids_of(model, text), ids_of(model, target)[0], []


def test_the_mode_comes_back_after_an_error():
    model = reader().train()
    with torch.no_grad():
        model.decoder.bias[3] = math.inf
    with pytest.raises(CellwrightError, match="not numbers"):
        model.attribute(TEXT)
    assert model.training


@pytest.mark.parametrize("changes", [{}, {"last_hidden": 5}], ids=["alike", "unequal"])
@pytest.mark.parametrize("method", METHODS)
def test_it_goes_on_from_a_state(tmp_path, method, changes):
    model = small(tmp_path=tmp_path, **changes).eval()
    state = model.trace("the cat", names="h").state
    own = {"replacements": ["a", "d", "."], "against": "n"}
    whole = model.attribute("the cat sees", "t", method, furthest=5, **own)
    rest = model.attribute(" sees", "t", method, state=state, **own)
    batched = model.attribute(" sees", "t", method, state=rows_of(state, 1), **own)
    assert rest.scores == pytest.approx(whole.scores, abs=1e-5)
    assert batched.scores == rest.scores
    assert rest.parts[0].start == 0 and whole.parts[0].start == 7


def test_long_texts_are_looked_at_in_groups(tmp_path):
    """More replacements than a batch holds: the groups say what one text at a time says."""
    model = small(tmp_path=tmp_path).double().eval()
    text = SENTENCES[:57]
    found = model.attribute(text, "t", furthest=None, replacements=["a", "e", "i"])
    assert len(found.parts) == 57 and found.left_out == 0
    ids, target, _ = parts_of(model, text, "t")
    whole = scored(model, ids, target, [])
    for part in found.parts[::7]:
        drops = []
        for r in ids_of(model, "aei"):
            if r != ids[part.start]:
                changed = [*ids]
                changed[part.start] = r
                drops.append(whole - scored(model, changed, target, []))
        assert part.score == pytest.approx(sum(drops) / len(drops), abs=1e-9)
    assert len(model.attribute(text * 3).parts) == FURTHEST


@pytest.mark.parametrize("method", METHODS)
def test_replaced_values_stay_at_their_steps(tmp_path, method):
    """Within `patched` a step is one of the whole text, not of a part of it."""
    model = small(tmp_path=tmp_path).double().eval()
    text = "the cat sees the dog"
    ids, target, _ = parts_of(model, text, "t")
    patch = {"layers.0.c": lambda value, step: value * (0.0 if step == 9 else 1.0)}
    with model.patched(patch):
        found = model.attribute(text, "t", method, furthest=12)
        everywhere = model.attribute(text, "t", furthest=None)
        whole = scored(model, ids, target, [])
        others = replacements(ids, model.shape.vocab)[ids[12]]
        changed = [[*ids[:12], r, *ids[13:]] for r in others]
        drops = [whole - scored(model, c, target, []) for c in changed]
    assert found.score == pytest.approx(whole)
    assert found.by_method["ablation"][4] == pytest.approx(sum(drops) / 3, abs=1e-9)
    for name in ("ablation", "gradient"):
        assert found.by_method[name] == pytest.approx(everywhere.by_method[name][-12:])
    without = model.attribute(text, "t", furthest=12)
    assert without.scores != pytest.approx(everywhere.scores[-12:], rel=0.01)


def test_defaults(tmp_path):
    model = small(tmp_path=tmp_path).eval()
    text = "the cat sees"
    ids = ids_of(model, text)
    with torch.no_grad():
        logits = model(torch.tensor([ids]))[0][0]
    assert model.tokenizer is not None
    likeliest = model.tokenizer.token(int(logits[-1].argmax()))
    assert model.attribute(text).target == likeliest
    assert model.attribute(text, at=11).target == likeliest
    asked = model.attribute(text, at=4)
    assert (asked.target, asked.at, len(asked.parts)) == ("a", 4, 5)
    p = torch.softmax(logits[4].double(), -1)[ids[5]]
    assert asked.probability == pytest.approx(float(p), rel=1e-5)
    assert asked.score == pytest.approx(math.log(asked.probability))
    assert (asked.method, asked.steps, asked.completeness) == ("ablation", None, None)
    wanted = model.attribute(text, "t", against="c").scores
    assert model.attribute(torch.tensor(ids), ids[0], against=ids[4]).scores == wanted
    found = model.attribute(ids, torch.tensor(ids)[0], against=np.asarray(ids)[4])
    assert found.scores == wanted


@pytest.mark.parametrize("level", ["char", "word", "bpe"])
def test_every_tokenizer(tmp_path, level):
    model = small(level, tmp_path=tmp_path)
    assert model.tokenizer is not None
    text = "the cat sees\nthe zoo é"
    ids = model.tokenizer.encode(text)
    found = model.attribute(text)
    assert len(found.parts) == len(ids) and found.level == level
    assert found.unknown == (0 if level == "bpe" else ids.count(0)) and ids.count(0) != 1
    words = model.attribute(text, spans="word")
    if level != "word":
        assert words.tokens[0] == "the"
    whole = model.tokenizer.decode(ids)
    if level == "bpe":
        assert "".join(words.tokens) == whole == text
        target = model.attribute(text, " the").target
        assert target == " the"
    elif level == "word":
        assert words.scores == found.scores
        assert model.attribute(text, "\n").target == "<eos>"


def test_a_state_of_inference_mode_serves_and_a_model_of_it_is_refused():
    model = reader("lstm")
    with torch.inference_mode():
        state = model.trace("the bed").state
        made = LanguageModel(model.shape, "lstm", model.tokenizer)
    for method in METHODS:
        found = model.attribute("is not", method=method, state=state)
        again = model.attribute("is not", method=method, state=model.trace("the bed").state)
        assert found.scores == again.scores
    with pytest.raises(AttributionError, match="inference_mode"):
        made.attribute("the bed")


def test_replacements_that_replace_nothing_are_refused():
    with pytest.raises(AttributionError, match="replacements: none differs"):
        reader("lstm").attribute("ttt", replacements="t")
