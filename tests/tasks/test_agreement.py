"""The agreement language keeps its own rules, and its scorer counts what it says it counts."""

import dataclasses
import json
import math
from collections import Counter

import pytest

from cellwright.language.errors import CellwrightError
from cellwright.tasks import agreement_words as lexicon
from cellwright.tasks.agreement import (
    KINDS,
    AgreementConfig,
    AgreementError,
    Probe,
    Target,
    generate,
)
from cellwright.tasks.agreement_score import DISTANCES, score

NOUNS = {form: n for n in (*lexicon.PEOPLE, *lexicon.THINGS) for form in (n.singular, n.plural)}
VERBS = {
    form: v
    for v in (*lexicon.ALONE, *lexicon.TO_ONESELF, *lexicon.ONES_OWN, lexicon.SPEAK)
    for form in (v.singular, v.plural)
}


@pytest.fixture(scope="module")
def corpus():
    return generate(AgreementConfig(sentences=3000, valid=300, test=900, seed=5))


def subject_of(words):
    """The first noun, and whether it is plural."""
    return next((NOUNS[w], w == NOUNS[w].plural) for w in words if w in NOUNS)


def home_of(words):
    return next(words[at + 2] for at in range(len(words)) if words[at : at + 2] == ["up", "in"])


# The language


def test_the_same_seed_gives_the_same_text_and_another_does_not(corpus):
    again = generate(corpus.config)
    assert again == corpus
    other = generate(dataclasses.replace(corpus.config, seed=6))
    assert other.train != corpus.train and other.test != corpus.test


def test_the_text_is_pinned():
    # a change here changes every published number: make it on purpose
    made = generate(AgreementConfig(sentences=2, valid=1, test=1, seed=1))
    assert made.text("train") + made.text("valid") + made.text("test") == PINNED


def test_the_test_does_not_depend_on_the_size_of_the_training_part(corpus):
    assert generate(dataclasses.replace(corpus.config, sentences=10)).test == corpus.test


def test_every_verb_agrees_with_its_subject(corpus):
    for line in (*corpus.train, *corpus.valid, *(probe.text for probe in corpus.test)):
        words = line.split()
        _, plural = subject_of(words)
        assert all((w == VERBS[w].plural) == plural for w in words if w in VERBS), line


def test_no_sentence_stands_in_two_parts(corpus):
    train, valid = set(corpus.train), set(corpus.valid)
    test = {probe.text for probe in corpus.test}
    assert not train & valid and not train & test and not valid & test
    assert len(corpus.train) == 3000 and len(valid) == 300 and len(test) == 900


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_the_text_is_one_sentence_a_line(corpus, part):
    lines = corpus.text(part).split("\n")
    assert lines.pop() == ""
    assert all(line.endswith(" .") and line.startswith("the ") for line in lines)
    assert all(line == " ".join(line.split()) for line in lines)


def test_the_vocabulary_is_small_and_training_shows_all_of_it(corpus):
    seen = {word for line in corpus.train for word in line.split()}
    assert 120 <= len(seen) <= 200
    assert {word for probe in corpus.test for word in probe.words} <= seen


def test_targets_agree_by_rules_written_out_here(corpus):
    for probe in corpus.test:
        words = list(probe.words)
        noun, plural = subject_of(words)
        for target in probe.targets:
            assert words[target.position] == target.right
            assert target.right not in target.wrong and target.distance >= 1
            if target.kind == "number":
                verb = VERBS[target.right]
                assert (target.right == verb.plural) == plural
                assert set(target.candidates) == {verb.singular, verb.plural}
            elif target.kind == "gender":
                pair = {"himself", "herself"} if target.right.endswith("self") else {"his", "her"}
                assert (target.right in {"himself", "his"}) == (noun.gender == "he")
                assert set(target.candidates) == pair and not plural and noun.gender
            else:
                assert lexicon.LANGUAGE_OF[home_of(words)] == target.right
                assert set(target.candidates) == set(lexicon.LANGUAGE_OF.values())


def test_nothing_between_cue_and_target_repeats_the_cue(corpus):
    tells = {
        "number": {*VERBS, *lexicon.ONESELF.values(), *lexicon.OWNER.values()},
        "gender": {*lexicon.ONESELF.values(), *lexicon.OWNER.values()},
        "country": set(lexicon.LANGUAGE_OF.values()) | {"grew"},
    }
    for probe in corpus.test:
        for target in probe.targets:
            cue = target.position - target.distance
            decides = lexicon.LANGUAGE_OF if target.kind == "country" else NOUNS
            assert probe.words[cue] in decides
            between = probe.words[cue + 1 : target.position]
            assert not set(between) & tells[target.kind], probe.text
            if target.kind != "country":
                assert not set(probe.words[:cue]) & set(NOUNS)


def test_attractors_are_counted(corpus):
    for probe in corpus.test:
        noun, plural = subject_of(probe.words)
        for target in probe.targets:
            between = probe.words[target.position - target.distance + 1 : target.position]
            nouns = [(NOUNS[w], w == NOUNS[w].plural) for w in between if w in NOUNS]
            if target.kind == "number":
                expected = sum(other != plural for _, other in nouns)
            elif target.kind == "gender":
                expected = sum(n.gender not in (None, noun.gender) for n, _ in nouns)
            else:
                expected = sum(w in lexicon.LANGUAGE_OF for w in between)
            assert target.attractors == expected


def test_distances_run_from_next_door_to_far_away(corpus):
    distances = Counter(
        (target.kind, low)
        for probe in corpus.test
        for target in probe.targets
        for low, high in DISTANCES
        if low <= target.distance <= (high or math.inf)
    )
    for kind in KINDS:
        for low, _ in DISTANCES:
            assert distances[kind, low] >= 10, (kind, low)
    assert min(t.distance for p in corpus.test for t in p.targets) == 1


def test_the_nearest_noun_or_country_does_not_tell(corpus):
    """A rule that looks at the nearest candidate cue is near chance where attractors stand."""
    right = Counter()
    asked = Counter()
    for probe in corpus.test:
        for target in probe.targets:
            if not target.attractors:
                continue
            before = probe.words[: target.position]
            asked[target.kind] += 1
            if target.kind == "number":
                near = next(w for w in reversed(before) if w in NOUNS)
                guess = VERBS[target.right].form(near == NOUNS[near].plural)
            elif target.kind == "gender":
                genders = [NOUNS[w].gender for w in before if w in NOUNS]
                near = next(g for g in reversed(genders) if g)
                table = lexicon.ONESELF if target.right.endswith("self") else lexicon.OWNER
                guess = table[near]
            else:
                near = next(w for w in reversed(before) if w in lexicon.LANGUAGE_OF)
                guess = lexicon.LANGUAGE_OF[near]
            right[target.kind] += guess == target.right
    assert right["number"] / asked["number"] < 0.5
    assert right["gender"] / asked["gender"] < 0.5
    assert right["country"] == 0


def test_answers_are_balanced(corpus):
    number = Counter(
        t.right == VERBS[t.right].plural
        for p in corpus.test
        for t in p.targets
        if t.kind == KINDS[0]
    )
    gender = Counter(
        t.right in {"his", "himself"} for p in corpus.test for t in p.targets if t.kind == KINDS[1]
    )
    for counts in (number, gender):
        assert 0.45 < counts[True] / counts.total() < 0.55


def pairs_of(words):
    """(subject, each finite verb) and (home, each other country) of a sentence."""
    noun, _ = subject_of(words)
    # "read" is only past here, so every form of VERBS is the main verb of the subject
    verbs = {(noun.singular, VERBS[w].plural) for w in words if w in VERBS}
    if "grew" not in words:
        return verbs, set()
    home = home_of(list(words))
    return verbs, {(home, w) for w in words if w in lexicon.LANGUAGE_OF and w != home}


def test_held_out_pairs_are_in_the_test_only(corpus):
    verbs, countries = set(), set()
    for line in (*corpus.train, *corpus.valid):
        seen = pairs_of(line.split())
        verbs |= seen[0]
        countries |= seen[1]
    held_out = [(p, t) for p in corpus.test for t in p.targets if t.held_out]
    assert {t.kind for _, t in held_out} == set(KINDS)
    for probe, target in held_out:
        new = pairs_of(probe.words)
        if target.kind == "country":
            assert new[1] - countries
        else:
            at = target.position - (target.kind == "gender")
            pair = (subject_of(probe.words)[0].singular, VERBS[probe.words[at]].plural)
            assert pair not in verbs
    possible = {(n.singular, v.plural) for n in lexicon.PEOPLE for v in lexicon.ALONE}
    kept_out = {noun for noun, _ in possible - verbs}
    assert kept_out == {noun.singular for noun in (*lexicon.MEN, *lexicon.WOMEN)}


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5])
def test_holding_out_never_tells_the_gender_by_the_verb(share):
    made = generate(AgreementConfig(sentences=4000, valid=1, test=1, held_out=share))
    kept = {pair for line in made.train for pair in pairs_of(line.split())[0]}
    for verb in (*lexicon.ALONE, *lexicon.TO_ONESELF, *lexicon.ONES_OWN):
        men, women = (
            sum((noun.singular, verb.plural) in kept for noun in nouns)
            for nouns in (lexicon.MEN, lexicon.WOMEN)
        )
        assert men == women < len(lexicon.MEN)


def test_without_holding_out_nothing_is_marked():
    made = generate(AgreementConfig(sentences=10, valid=1, test=200, held_out=0.0))
    assert not any(target.held_out for probe in made.test for target in probe.targets)


def test_no_distractors_means_none():
    made = generate(AgreementConfig(sentences=500, valid=5, test=100, max_distractors=0))
    for probe in made.test:
        assert all(target.attractors == 0 and target.distance <= 10 for target in probe.targets)


@pytest.mark.parametrize(
    "settings",
    [
        {"sentences": 0},
        {"valid": 0},
        {"test": -1},
        {"max_distractors": -1},
        {"max_distractors": 41},
        {"held_out": 0.6},
        {"held_out": float("nan")},
        {"held_out": None},
        {"sentences": 2**70},
        {"sentences": "many"},
        {"valid": 1.5},
        {"seed": None},
    ],
)
def test_settings_that_make_no_language_are_refused(settings):
    with pytest.raises(AgreementError, match=next(iter(settings))):
        AgreementConfig(**settings)
    assert issubclass(AgreementError, CellwrightError)


def test_asking_for_more_sentences_than_there_are_is_an_error(monkeypatch):
    for name in ("PEOPLE", "OF_PEOPLE", "ALONE", "TO_ONESELF", "ONES_OWN"):
        monkeypatch.setattr(lexicon, name, getattr(lexicon, name)[:1])
    monkeypatch.setattr(lexicon, "LANGUAGE_OF", {"France": "French", "Spain": "Spanish"})
    with pytest.raises(AgreementError, match="too few different sentences"):
        generate(AgreementConfig(valid=1, test=1000, max_distractors=0, held_out=0.0))


def test_settings_are_json(corpus):
    assert AgreementConfig(**json.loads(json.dumps(corpus.config.to_dict()))) == corpus.config


# The scorer


def target(kind="number", distance=3, right="sings", wrong=("sing",), attractors=0, held_out=False):
    return Target(kind, 4, distance, attractors, right, wrong, held_out)


def probe(*targets):
    return Probe(("the", "king", "sings", "."), targets)


def answer_with(table):
    return lambda probes: [
        [[table.get(word, 0.0) for word in t.candidates] for t in p.targets] for p in probes
    ]


def oracle(probes):
    return [[[-0.1, *(-3.0 for _ in t.wrong)] for t in p.targets] for p in probes]


def test_one_who_knows_is_always_right(corpus):
    result = score(corpus.test, oracle)
    assert result.tally().accuracy == 1.0
    assert result.tally().asked == sum(len(p.targets) for p in corpus.test)


def test_one_who_is_always_wrong_is_never_right(corpus):
    result = score(
        corpus.test, lambda ps: [[[-3.0, *(-0.1 for _ in t.wrong)] for t in p.targets] for p in ps]
    )
    assert result.tally().right == 0


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("-inf")])
def test_ties_and_nan_are_wrong(corpus, value):
    result = score(
        corpus.test, lambda ps: [[[value for _ in t.candidates] for t in p.targets] for p in ps]
    )
    assert result.tally().right == 0


def test_the_right_word_must_beat_every_wrong_one():
    asked = probe(target("country", right="French", wrong=("Polish", "Greek")))
    low, high = {"French": -1.0, "Polish": -2.0, "Greek": -0.5}, {"French": -0.4}
    assert score([asked], answer_with(low)).tally().right == 0
    assert score([asked], answer_with(low | high)).tally().right == 1


def test_tables_count_by_kind_and_distance():
    probes = [
        probe(target(distance=5), target("gender", 6, "himself", ("herself",), attractors=2)),
        probe(target(distance=40, right="sing", wrong=("sings",), held_out=True)),
        probe(target("country", 41, "French", ("Greek", "Polish", "Italian"))),
    ]
    result = score(probes, answer_with({"sings": 1.0, "herself": 1.0, "French": 1.0}), batch=2)
    rows = {row.label: row for row in result.by_distance()}
    assert list(rows) == ["1-5", "6-10", "11-20", "21-40", "41+"]
    assert [(row.all.right, row.all.asked) for row in rows.values()] == [
        (1, 1), (0, 1), (0, 0), (0, 1), (1, 1),
    ]  # fmt: skip
    assert rows["1-5"].kinds["number"].accuracy == 1.0
    assert rows["41+"].kinds["country"].chance == rows["41+"].balanced_chance == 0.25
    assert rows["1-5"].balanced == 1.0 and math.isnan(rows["11-20"].balanced)
    assert math.isnan(rows["11-20"].all.accuracy)
    kinds = {kind: (tally.right, tally.asked) for kind, tally in result.by_kind().items()}
    assert kinds == {"number": (1, 2), "gender": (0, 1), "country": (1, 1)}
    assert result.tally().chance == pytest.approx((0.5 * 3 + 0.25) / 4)
    data = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert data["all"] == {"right": 2, "asked": 4, "accuracy": 0.5, "chance": 0.4375}
    assert data["distances"][2]["all"]["accuracy"] is data["distances"][2]["balanced"] is None
    assert data["distances"][4]["country"]["right"] == 1
    assert (data["attractors"]["some"]["asked"], data["held_out"]["asked"]) == (1, 1)
    held_out = {kind: (t.right, t.asked) for kind, t in result.held_out().items()}
    assert held_out == {"all": (0, 1), "number": (0, 1), "gender": (0, 0), "country": (0, 0)}


def test_a_balanced_row_gives_each_kind_one_voice():
    number = [probe(target()) for _ in range(8)]
    asked = [*number, probe(target("country", 3, "French", ("Greek", "Polish", "Italian")))]
    row = score(asked, answer_with({"sings": 1.0, "Greek": 1.0})).by_distance()[0]
    assert row.all.accuracy == 8 / 9
    assert (row.balanced, row.balanced_chance) == (0.5, 0.375)


def test_a_model_is_asked_in_batches_of_similar_length(corpus):
    sizes, spans = [], []

    def watched(probes):
        lengths = [len(p.words) for p in probes]
        sizes.append(len(probes))
        spans.append(max(lengths) - min(lengths))
        return oracle(probes)

    score(corpus.test, watched, batch=100)
    assert sizes == [100] * 9 and sum(spans) < 100


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda ps: [], "expected values for 1 sentences, got 0"),
        (lambda ps: [[]], "expected \\[2\\] values.*got \\[\\]"),
        (lambda ps: [[[0.5]]], "got \\[1\\]"),
    ],
)
def test_an_answer_of_the_wrong_shape_is_refused(answer, says):
    with pytest.raises(AgreementError, match=says):
        score([probe(target())], answer)


PINNED = (
    "the queens who grew up in Italy , painted the tree and found the house speak fluent "
    "Italian with their friends .\n"
    "the boy carries his own bag .\n"
    "the teachers who grew up in Japan speak fluent Japanese .\n"
    "the teachers who followed the sister , met the nuns , visited the nuns , followed the "
    "doctors , flew over Turkey , flew over Japan , visited the quiet women , met the brave "
    "king , met the farmers , followed the fathers , found the little towers and visited the "
    "nun smile .\n"
)
