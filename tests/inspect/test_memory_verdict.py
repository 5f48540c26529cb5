"""The verdict: each sentence follows from the numbers of a report, whatever they are."""

import dataclasses
from collections.abc import Callable

import pytest

from cellwright.inspect.memory.report import (
    Context,
    Dead,
    Decay,
    Gradient,
    HalfLives,
    Losses,
    MemoryReport,
    Probed,
)
from cellwright.inspect.memory.verdict import counted, enough, faded, share, steps, verdict
from tests.inspect.memory_example import example

CONTEXTS = (1, 2, 4, 8)


def losses(*excess: float, error: float = 0.001) -> Losses:
    return Losses(tuple(2.0 + e for e in excess), (error,) * len(excess), 2.0)


def context(used: int | None, at_least: bool = False, **controls: Losses) -> Context:
    """Where the eighth token still helps unless `used` says otherwise; nothing of the controls."""
    none = losses(0, 0, 0, 0)
    reset = losses(*(0.9 if used and (k < used or at_least) else 0 for k in CONTEXTS))
    held = {"stranger": reset, "shuffled": reset, **controls}
    return Context(CONTEXTS, 300, 50, reset, **held, untrained=none, guessing=3.0, used=used,
                   used_at_least=at_least)  # fmt: skip


def changed(**changes: object) -> MemoryReport:
    facts = dataclasses.replace(example().facts, unit="word", window=5)
    return dataclasses.replace(example(), facts=facts, **changes)


def said(report: MemoryReport, screen: str, **more: bool) -> list[str]:
    return [s.text for s in verdict(report, **more) if s.screen == screen]


def test_the_example_has_a_sentence_of_every_screen():
    found = verdict(example())
    assert 4 <= len(found) <= 8
    assert {s.screen for s in found} == {"context", "gradients", "half-lives", "gates", "units"}
    assert len({s.text for s in found}) == len(found)
    assert all(s.text.endswith(".") and "nan" not in s.text for s in found)


# -- context ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (
            context(4),
            "Predictions improve with up to 4 words of context: with 2 they cost 0.900 nats more "
            "than the 2.00 with all the text before, with 4 no more than chance explains.",
        ),
        (
            context(8, at_least=True),
            "Predictions improve with more than 8 words of context, the longest measured: they "
            "cost 2.00 nats with all the text before, 0.900 more with 8.",
        ),
        (
            context(1),
            "Predictions need no more than the last word: more context improves them by no more "
            "than chance (2.00 nats; 3.00 by how often each word occurs).",
        ),
        (
            context(None),
            "No context is shown to improve the predictions: with all the text before it a word "
            "costs 2.00 nats, guessed by how often it occurs 3.00.",
        ),
    ],
)
def test_how_much_context_is_used(made, wanted):
    assert said(changed(context=made), "context") == [wanted]


def test_contexts_that_begin_later():
    made = dataclasses.replace(context(1), contexts=(3, 6, 9, 12), used=3)
    (found,) = said(changed(context=made), "context")
    assert found.startswith("Predictions need no more than the last 3 words:")


@pytest.mark.parametrize(
    ("stranger", "wanted"),
    [
        (losses(2, 1, 0.25, 0), "4 words after it, a prediction costs 0.250 nats more."),
        (losses(2, 1, 0, 0.5), "8 words after it, a prediction costs 0.500 nats more."),
        (losses(2, 1, 0, 0), None),
    ],
)
def test_a_foreign_text_that_is_felt_for_longer(stranger, wanted):
    found = said(changed(context=context(4, stranger=stranger)), "context")[1:]
    told = "What other text left in the states is felt for longer:"
    assert found == ([f"{told} {wanted}"] if wanted else [])


@pytest.mark.parametrize(
    ("shuffled", "told"),
    [
        (losses(2, 0, 0, 0), True), (losses(2, 0, 0, 0, error=0.4), False),
        (losses(2, 1, 0, 0), False), (losses(2, 1, 1, 1), False),
    ],
)  # fmt: skip
def test_an_order_that_is_not_shown_to_matter(shuffled, told):
    """It is said only where a loss as high as without the words would have been seen."""
    found = said(changed(context=context(4, shuffled=shuffled)), "context")[1:]
    assert found == ["The order of what stands more than 2 words back is not shown to matter."] * (
        told
    )


def test_enough_is_the_first_after_which_nothing_lacks():
    assert enough(CONTEXTS, losses(1, 1, 0, 0)) == 4
    assert enough(CONTEXTS, losses(0, 1, 0, 0)) == 4
    assert enough(CONTEXTS, losses(0, 0, 0, 0)) == 1
    assert enough(CONTEXTS, losses(0, 0, 0, 1)) is None
    assert enough(CONTEXTS, losses(0.004, 0.004, 0.004, 0.004)) == 1  # too little to matter
    assert enough(CONTEXTS, losses(0.2, 0.2, 0.2, 0.2, error=0.1)) == 1  # it may be chance


# -- gradients ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "varied", "wanted"),
    [
        (
            4, False,
            "Trained with windows of 5 words: no gradient ever linked events further apart.",
        ),
        (
            8, False, "Trained with windows of 5 words: no gradient ever linked events further "
            "apart; what helps from further back comes with the state alone.",
        ),
        (
            None, True, "Trained with windows of about 5 words: hardly any gradient linked events "
            "further apart.",
        ),
    ],
)  # fmt: skip
def test_the_windows_of_the_training(used, varied, wanted):
    assert said(changed(context=context(used)), "gradients", varied=varied)[0] == wanted


def decay(*median: float) -> Decay:
    return Decay(tuple(range(len(median))), median, median, median)


FALLS = "The gradient of a prediction by the words falls below 1 % of its largest 2 steps back"


@pytest.mark.parametrize(
    ("trained", "untrained", "wanted"),
    [
        ((1, 0.5, 0, 0), (1, 0, 0, 0), f"{FALLS}; before training it fell below that 1 step back."),
        (
            (1, 0.5, 0, 0), (1, 1, 1, 1),
            f"{FALLS}; before training it was above that at all lags measured.",
        ),
        ((1, 0.5, 0, 0), (0, 0, 0, 0), f"{FALLS}; before training there was none."),
        (
            (1, 0, 0, 0.5), (1, 0, 0, 0),
            "The gradient of a prediction by the words is still above 1 % of its largest 3 steps "
            "back, the furthest measured; before training it fell below that 1 step back.",
        ),
        ((0, 0, 0, 0), (1, 0, 0, 0), "No gradient of a prediction reaches the words before it."),
    ],
)  # fmt: skip
def test_how_far_the_gradient_reaches(trained, untrained, wanted):
    made = (Gradient("x", decay(*trained), decay(*untrained)),)
    assert said(changed(gradients=made), "gradients")[1:] == [wanted]


def test_no_gradients_no_sentence():
    assert len(said(changed(gradients=()), "gradients")) == 1


def test_faded_is_where_it_stays_below():
    assert faded(decay(1, 0.001, 0.5, 0.009, 0.001)) == 3
    assert faded(decay(1, 0.02)) is None
    assert faded(decay(0.001, 1, 0.001)) == 2


# -- half-lives ---------------------------------------------------------------------------


def lives(*trained: float | None, state: str = "c") -> HalfLives:
    return HalfLives(0, state, "f", trained, (1.0,) * len(trained))


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (
            (lives(1, 2, 9, None),),
            "50 % of the memory cells (c) keep half their content for over 5 steps by their "
            "gates; before training 0 % did.",
        ),
        (
            (lives(1, 2, state="c"), lives(1, 3, state="n")),
            "No memory cell (c and n) keeps half its content for over 5 steps by its gates; the "
            "longest does for 3.0 steps (before training 1.0 steps).",
        ),
        (
            (),
            "LSTM has no gate that keeps a state: what it remembers goes through its matrices at "
            "every step, so there is no half-life.",
        ),
    ],
)
def test_how_long_the_gates_keep(made, wanted):
    assert said(changed(half_lives=made), "half-lives")[0] == wanted


TENTH = "(the longest tenth of the half-lives), ablation shows"


@pytest.mark.parametrize(
    ("longest", "used", "at_least", "wanted"),
    [
        (5.0, 4, False, f"Gates suggest 5.0 steps {TENTH} 4: they agree."),
        (
            120.0, 4, False,
            f"Gates suggest 120 steps {TENTH} 4: trust 4; what is kept longer is not shown to "
            "help.",
        ),
        (None, 8, True, f"Gates suggest no end {TENTH} at least 8: 8 can be trusted."),
        (
            1.5, 8, False,
            f"Gates suggest 1.5 steps {TENTH} 8: trust 8; the difference travels through the "
            "matrices, or is less than half of what was kept.",
        ),
    ],
)  # fmt: skip
def test_gates_against_ablation(longest, used, at_least, wanted):
    made = changed(context=context(used, at_least), half_lives=(lives(*(1.0,) * 9, longest),))
    assert said(made, "half-lives")[1:] == [wanted]


@pytest.mark.parametrize("made", [(context(None), (lives(1, 2),)), (context(4), ())])
def test_where_there_is_nothing_to_compare(made):
    report = changed(context=made[0], half_lives=made[1])
    assert len(said(report, "half-lives")) == 1


# -- gates and units ----------------------------------------------------------------------


def gates(**changes: object) -> tuple:
    first, *others = (
        dataclasses.replace(gate, shut=(), open=(), low=0.25, high=0.5) for gate in example().gates
    )
    return (dataclasses.replace(first, **changes), *others)


ALIVE = (Dead(0, (), 32),)


@pytest.mark.parametrize(
    ("made", "dead", "wanted"),
    [
        (
            gates(), ALIVE, "No gate is stuck and no unit is dead; 75 % of the gates' values are "
            "below 0.1 or above 0.9.",
        ),
        (
            gates(shut=(1, 2, 3)), ALIVE,
            "3 of 32 units of the gate layers.0.i stand shut at every word; no unit is dead.",
        ),
        (
            gates(shut=(1,), open=(2, 3)), (Dead(0, (5,), 32), Dead(1, (6, 7), 32)),
            "2 of 32 units of the gate layers.0.i stand open at every word; 3 of 64 units stay "
            "at one value.",
        ),
        ((), ALIVE, "LSTM has no gates; no unit is dead."),
        ((), (Dead(0, (0,), 1),), "LSTM has no gates; 1 of 1 unit stay at one value."),
    ],
)  # fmt: skip
def test_gates_and_dead_units(made, dead, wanted):
    assert said(changed(gates=made, dead=dead), "gates") == [wanted]


def probed(auc: float, token: float = 0.6, shuffled: tuple[float, ...] = (0.5, 0.65)) -> Probed:
    return Probed("in quotes", 0.1, 1, "c", 17, auc, True, shuffled, 0.7, token)


@pytest.mark.parametrize(
    ("probes", "wanted"),
    [
        (
            (probed(0.69), probed(0.9), probed(0.95, token=0.94)),
            "Unit 17 of layers.1.c tells where the text is in quotes: AUC 0.90 on text it was not "
            "chosen on; by luck 0.65 at most, before training 0.70, from the current word alone "
            "0.60.",
        ),
        (
            (probed(0.9, shuffled=()),),
            "Unit 17 of layers.1.c tells where the text is in quotes: AUC 0.90 on text it was not "
            "chosen on; before training 0.70, from the current word alone 0.60.",
        ),
        (
            (probed(0.69), probed(0.9, token=0.86)),
            "No single unit is shown to carry one of 2 features of the text: none is 0.05 of AUC "
            "beyond luck, the untrained model and the current word.",
        ),
        (
            (),
            "No feature of this text could be probed: it is too short, or they hold too seldom.",
        ),
    ],
)
def test_units(probes, wanted):
    assert said(changed(probes=probes), "units") == [wanted]


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (lambda: counted(1, "word"), "1 word"), (lambda: counted(1200, "word"), "1,200 words"),
        (lambda: share(0), "0 %"), (lambda: share(0.002), "under 1 %"),
        (lambda: share(0.31), "31 %"), (lambda: share(0.999), "99 %"), (lambda: share(1), "100 %"),
        (lambda: steps(8.31), "8.3 steps"), (lambda: steps(1234.5), "1,234 steps"),
    ],
)  # fmt: skip
def test_numbers_in_words(made: Callable[[], str], wanted):
    assert made() == wanted
