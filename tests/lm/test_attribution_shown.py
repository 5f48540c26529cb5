"""Attribution: words, what is said where methods disagree, faults, and what is shown."""

import dataclasses
import json
import math

import pytest

from cellwright.language.errors import CellwrightError
from cellwright.lm import LanguageModel, ModelShape
from cellwright.lm.attribution import Attribution, signed
from cellwright.lm.attribution.judge import judged, renamed
from cellwright.lm.attribution.run import Shares
from cellwright.lm.attribution.spans import fitted, replacements, words_of
from tests.inspect.readers import reader
from tests.lm.attributed import agreeing, ids_of, scored, small

TEXT = "the bed is not/a cod"
INTEGRATED = "integrated-gradients"

# -- words of a model of characters ------------------------------------------------------


def test_words_are_replaced_by_words():
    model = reader("lstm", signs="\n '.abcdehinoprstu").double()
    text = "the bird sees the bed, no hen's"
    ids = ids_of(model, text)
    found = model.attribute(text, "t", spans="word", furthest=None)
    assert "".join(found.tokens) == "the bird sees the bed<unk> no hen's"
    by_text = {part.text: part for part in found.parts}
    # as long, then longer (cut), then shorter (repeated); the more frequent first
    assert by_text["bed"].replacements == ("the", "bir", "see")
    assert by_text["bird"].replacements == ("sees", "hen'", "thet")
    assert by_text["no"].replacements == ("th", "bi", "se")
    assert by_text["hen's"].replacements == ("thethe"[:5], "birdb", "seess")
    target = ids_of(model, "t")[0]
    whole = scored(model, ids, target, [])
    bird = by_text["bird"]
    drops = [
        whole - scored(model, ids[:4] + ids_of(model, word) + ids[8:], target, [])
        for word in bird.replacements
    ]
    assert bird.score == pytest.approx(sum(drops) / 3, abs=1e-9)
    slopes = model.attribute(text, "t", "gradient", spans="word", furthest=None)
    assert slopes.parts[2].text == "bird"
    assert slopes.parts[2].replacements == bird.replacements
    summed = model.attribute(text, "t", INTEGRATED, spans="word", furthest=None, steps=64)
    assert summed.completeness == pytest.approx(0, abs=1e-2)


def test_a_window_takes_words_whole_and_ends_where_it_is_asked():
    model = reader("lstm")
    text = "the house is red"
    found = model.attribute(text, "t", spans="word", furthest=6, at=10)
    assert found.tokens == ("house", " ", "i")  # the first is longer than what was asked for
    assert found.left_out == 4
    assert found.parts[-1].stop == 11
    cut = model.attribute("in the is it", "t", spans="word", at=10)
    assert cut.parts[-1].text == "i"
    assert cut.parts[-1].replacements == ("t",)  # in and is, cut, are what stands there


def test_what_was_never_trained_takes_no_place():
    """Neither of the text's frequent tokens nor of the vocabulary's first is `<unk>` one."""
    model = reader("lstm", signs="\n 'abcdehinoprstu")
    found = model.attribute("a,,,,b,", "t")
    assert found.tokens[1] == "<unk>" and found.parts[1].replacements == ("a", "b", "\n")
    assert found.parts[0].replacements == ("b", "\n", " ")
    words = model.attribute("a ,c, n ,,", "t", spans="word")
    assert all("<unk>" not in other for part in words.parts for other in part.replacements)
    named = model.attribute("a,b", "t", replacements=["<unk>", "c"])
    assert named.parts[0].replacements == ("<unk>", "c")
    assert replacements([1], 2, 0) == {1: (0,)}  # nothing else is there
    assert replacements([5], 9, None) == {5: (0, 1, 2)}


def test_given_words_replace_words_and_nothing_else():
    model = reader("lstm")
    found = model.attribute("the bed is", "t", spans="word", replacements=["on", "bed"])
    assert [part.replacements[:2] for part in found.parts[::2]] == [
        ("ono", "bed"),
        ("ono",),
        ("on", "be"),
    ]
    assert found.parts[1].text == " "
    assert len(found.parts[1].replacements) == 3


def test_what_a_word_is():
    pieces = ["don", "'t", " go", " ", "x", "e\u0301", ".", "\n", "12"]
    made = ["".join(pieces[k] for k in word) for word in words_of(pieces)]
    assert made == ["don't", " go", " ", "xe\u0301", ".", "\n", "12"]
    assert list(words_of([])) == []
    assert fitted((1, 2), 5) == (1, 2, 1, 2, 1)


# -- where methods disagree -----------------------------------------------------------------


BY_SIZE = (0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)


def told(ours, theirs, method="ablation", **own) -> Attribution:
    """What is made of the scores of two methods, or of three."""
    base = reader().attribute(TEXT[:12], "t", method, furthest=len(ours))
    parts = tuple(
        dataclasses.replace(part, score=score) for part, score in zip(base.parts, ours, strict=True)
    )
    shares = {name: Shares(0.0, tuple((v,) for v in values)) for name, values in theirs.items()}
    shares[method] = Shares(own.get("score", 0.0), tuple((v,) for v in ours), own.get("baseline"))
    return judged(dataclasses.replace(base, parts=parts), shares, 32)


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ([1.0, 0.2, -0.1, 0.0], [0.5, 0.1, 0.05, 0.0], ""),
        ([1.0, 0.9, -0.1, 0.0], [0.6, 0.7, 0.05, 0.0], ""),  # nearly as much: no quarrel
        ([1.0, 0.2, -0.1, 0.0], [0.1, 0.5, 0.05, 0.0], "What matters most is 'i' at 8 (+1.00)"),
        ([1.0, 0.9, -0.1, 0.0], [0.1, 0.5, 0.05, 0.0], "and 's' at 9"),  # either is enough
        ([1.0, 0.1, -0.1, 0.0], [0.7, 0.9, 0.05, 0.0], "and 's' at 9"),
        ([1.0, 0.2, -0.1, 0.0], [-0.5, 0.1, 0.05, 0.0], "the other sign (−0.50)"),
        ([2.9, 2.1, 0.2, 0.0], [0.4, -0.5, 0.3, 0.0], "For 's' at 9, strongest by gradient (−0.50"),
        ([1.0, *BY_SIZE], [0.5, *BY_SIZE[::-1]], "another order of size"),
        ([1.0, *BY_SIZE[1:]], [0.5, *BY_SIZE[:0:-1]], ""),  # too few to have an order
        ([0.0, 0.0, 0.0, 0.0], [1e-9, 0.0, 2e-9, 0.0], ""),
    ],
    ids=["alike", "tie", "top", "theirs", "ours", "sign", "their sign", "order", "few", "nothing"],
)
def test_disagreement_is_said(ours, theirs, said):
    found = told(ours, {"gradient": theirs})
    assert (said in found.warning) if said else found.warning == ""
    assert bool(found.warning) == bool(found.companions[0].disagreement)
    assert ("Trust the ablation" in found.warning) == bool(said)
    assert (found.warning in repr(found)) and (not said or "warning: " in repr(found))


def test_other_names_for_the_parts_are_in_all_that_is_said():
    given = {"ablation": [1.0, 0.5, 0.1], "gradient": [-1.0, 0.5, 0.1]}
    found = told([1.0, 0.5, 0.1], given, INTEGRATED, score=2.0, baseline=0.8)
    again = renamed(found, ["本", "b", "c"])
    assert again.tokens == ("本", "b", "c")
    assert again.scores == found.scores and again.by_method == found.by_method
    assert "For '本' at 9 (+1.00) gradient has the other sign (−1.00)" in again.warning
    assert "give more than 32 steps" in again.warning
    assert again.companions[1].disagreement in again.warning
    assert renamed(again, found.tokens) == found


def test_order_is_spearmans():
    """1 - 6 sum of the squared differences of ranks / (n (n^2 - 1)), by hand."""
    ours = [0.1, -0.2, 0.3, 0.4, -0.5, 0.6, 0.7, 0.8]
    found = told(ours, {"gradient": [2.0, -1.0, 3.0, 4.0, 5.0, 8.0, 7.0, -6.0]})
    assert found.companions[0].correlation == pytest.approx(1 - 6 * (1 + 1 + 4 + 4) / (8 * 63))
    tied = told([0.1, -0.1, *ours[2:]], {"gradient": [float(k) for k in range(1, 9)]})
    # ranks 1.5 and 1.5 instead of 1 and 2: the covariance is 41.5, the variances 41.5 and 42
    assert tied.companions[0].correlation == pytest.approx(41.5 / math.sqrt(41.5 * 42))
    assert told(ours[1:], {"gradient": ours[1:]}).companions[0].correlation is None


def test_a_sum_that_is_missed_is_said():
    given = {"ablation": [1.0, 0.5, 0.1], "gradient": [1.0, 0.5, 0.1]}
    good = told([1.0, 0.5, 0.1], given, INTEGRATED, score=2.0, baseline=0.41)
    assert good.completeness == pytest.approx(0.01)
    assert good.warning == ""
    bad = told([1.0, 0.5, 0.1], given, INTEGRATED, score=2.0, baseline=0.8)
    assert "add up to +1.60 nats and should add up to +1.20: give more than 32" in bad.warning


# -- faults ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"text": ""}, "at least one token"),
        ({"target": "sinks"}, r"target: the model does not know 'sinks'; .*'sings', 'sing'"),
        ({"target": "qqqq"}, "'qqqq'; it knows 11 others, such as '<unk>', '<eos>', 'the'"),
        ({"target": ""}, "target: expected a token, got an empty text"),
        ({"target": 1.5}, "target: expected a token or its id, got 1.5"),
        ({"target": 11}, "target: expected a token id from 0 to 10, got 11"),
        ({"target": "sing", "against": "sing"}, "against: 'sing' is the target itself"),
        ({"against": ["sing", "sinks"]}, "against: the model does not know 'sinks'"),
        ({"against": []}, "against: expected one token at least, got none"),
        ({"replacements": ["the", "x"]}, "replacements: the model does not know 'x'"),
        ({"replacements": ""}, "replacements: expected a token, got an empty text"),
        ({"replacements": ["the", ""]}, "replacements: expected a token, got an empty text"),
        ({"replacements": "", "spans": "word"}, "replacements: expected a token, got an empty"),
        ({"method": "saliency"}, "expected one of ablation, gradient, integrated-gradients, got"),
        ({"spans": "line"}, "spans: expected one of token, word, got 'line'"),
        ({"at": 5}, "at: expected 0 to 4, a token of the text, got 5"),
        ({"at": -1}, "at: expected 0 to 4"),
        ({"steps": 8}, "steps: are of integrated-gradients; ablation takes none"),
        ({"steps": 0, "method": INTEGRATED}, "steps: expected 1 to 1000, got 0"),
        ({"furthest": 0}, "furthest: expected at least 1 token, got 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_faults_are_said(changes, said):
    with pytest.raises(CellwrightError, match=said):
        agreeing().attribute(**{"text": "the king near the girls", **changes})


def test_faults_of_other_vocabularies(tmp_path):
    with pytest.raises(CellwrightError, match="expected one character, .* got 'sings'"):
        reader().attribute(TEXT, "sings")
    with pytest.raises(CellwrightError, match="never seen the character 'Q'; it knows"):
        reader().attribute(TEXT, "Q")
    pairs = small("bpe", tmp_path=tmp_path)
    with pytest.raises(CellwrightError, match=r"'zoo' is 3 tokens of this model \(\['z', 'o'"):
        pairs.attribute(TEXT, "zoo")
    with pytest.raises(CellwrightError, match="' dog', with its space, is one"):
        pairs.attribute(TEXT, "dog")
    bare = LanguageModel(ModelShape(vocab=11, hidden=9, embed=7), "gru")
    with pytest.raises(CellwrightError, match="no tokenizer: give a token id"):
        bare.attribute([3, 0, 10], "the")
    with pytest.raises(CellwrightError, match="knows no words"):
        bare.attribute([3, 0, 10], spans="word")
    found = bare.attribute([3, 0, 10], 4, against=[1, 2, 1])
    assert (found.tokens, found.target, found.against) == (("3", "0", "10"), "4", ("1", "2"))


def test_a_token_that_nothing_can_replace():
    model = agreeing()
    found = model.attribute("the king the", "sings", INTEGRATED, replacements="the")
    assert [part.replacements for part in found.parts] == [(), ("the",), ()]
    assert found.scores[0] == found.by_method["ablation"][2] == 0.0
    assert found.how().startswith("Integrated gradients:")


# -- what is shown ------------------------------------------------------------------------


def test_it_reads_well():
    found = agreeing().attribute(
        "the king near the girls", "sings", against="sing", replacements=["near", "the"]
    )
    lines = repr(found).splitlines()
    head = f"log p('sings') − log p('sing') = {signed(found.score)} nats after token 4, ablation"
    king = found.parts[1]
    assert lines[0] == head
    spread = f"({signed(king.low)} to {signed(king.high)})"
    assert lines[2].split() == ["1", "'king'", signed(king.score), *spread.split()]
    assert len(found.top(2)) == 2 and found.top(2)[0].text == "king"
    three = agreeing().attribute("the king", "sings", against=["sing", "near"])
    assert three.question == "log p('sings') − log(p('sing') + p('near'))"
    facts = json.loads(json.dumps(found.to_dict()))
    assert facts["parts"][1]["score"] == found.scores[1]
    assert facts["companions"][0]["method"] == "gradient"
    assert (signed(0.5), signed(-0.25), signed(-0.001), signed(0)) == (
        "+0.50",
        "−0.25",
        "0.00",
        "0.00",
    )


def test_it_is_said_where_nobody_named_the_target():
    model = agreeing()
    likeliest = model.attribute("the king")
    assert "token 1 ('sings' is the likeliest next token), abl" in repr(likeliest)
    assert (likeliest.target, likeliest.chosen) == ("sings", "likeliest")
    follows = model.attribute("the king near", at=1)
    assert "after token 1 ('near' is the text's next token)" in repr(follows)
    assert "(&#x27;near&#x27; is the text&#x27;s next token)" in follows._repr_html_()
    asked = model.attribute("the king near", "near", at=1)
    assert asked.chosen == "given" and "token 1, ablation\n" in repr(asked)


def test_a_page_has_every_number_and_no_script():
    model = reader("lstm")
    text = "</script><b>é\u0301 \u05d0 \n\u202ea"
    found = model.attribute(text, "t", INTEGRATED, against="e")
    made = found._repr_html_()
    assert "<script" not in made and "http" not in made and "<b>é" not in made
    for method, scores in found.by_method.items():
        assert method in made
        assert all(signed(score, 3) in made for score in scores)
    for word in ("ablation", "Integrated gradients:", "replaced by", "Ablation:"):
        assert word in made
    if found.warning:
        assert found.warning.split("'")[0] in made


def test_a_page_of_a_long_text_is_small():
    model = reader("lstm")
    found = model.attribute("the bed is not red. " * 100, "t", furthest=None)
    assert len(found.parts) == 2000
    made = found._repr_html_()
    assert 50_000 < len(made.encode()) < 200_000
    assert "the last 240 of 2000" in made
    assert "The strongest 24 of 2000" in made
