"""The verdict: each sentence follows from the numbers of a report, whatever they are."""

import dataclasses
from collections.abc import Callable

import pytest

from cellwright.inspect.memory.context import bracket
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
from cellwright.inspect.memory.verdict import faded, share, steps, verdict
from tests.inspect.memory_example import example

CONTEXTS = (1, 2, 4, 8)


def losses(*excess: float, error: float = 0.001) -> Losses:
    return Losses(tuple(2.0 + e for e in excess), (error,) * len(excess), 2.0)


def measured(reset: Losses, guessing: float = 3.0, error: float = 0.01) -> Context:
    """A context whose bracket is that of its losses."""
    lacking, enough = bracket(CONTEXTS, reset)
    none = losses(0, 0, 0, 0)
    return Context(CONTEXTS, 300, 50, reset, reset, reset, none, guessing, error, lacking, enough)


def context(used: int | None, at_least: bool = False, **controls: Losses) -> Context:
    """Where what is before `used` lacks 0.9 nats, and `used` nothing, or as much (`at_least`)."""
    reset = losses(*(0.9 if used and (k < used or at_least) else 0 for k in CONTEXTS))
    return dataclasses.replace(measured(reset), **controls)


def changed(**changes: object) -> MemoryReport:
    facts = dataclasses.replace(example().facts, unit="word", window=5)
    return dataclasses.replace(example(), facts=facts, **changes)


def said(report: MemoryReport, screen: str, **more: bool) -> list[str]:
    return [s.text for s in verdict(report, **more) if s.screen == screen]


def test_the_example_has_a_sentence_of_every_screen():
    found = verdict(example())
    assert 4 <= len(found) <= 9
    assert {s.screen for s in found} == {"context", "gradients", "half-lives", "gates", "units"}
    assert len({s.text for s in found}) == len(found)
    assert all(s.text.endswith(".") and "nan" not in s.text for s in found)


# -- context ------------------------------------------------------------------------------


UP_TO = "Predictions improve with up to"
NEED = "nats more than the 2.00 with all the text before"


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (
            context(4),
            f"{UP_TO} 4 words of context: with 2 they cost 0.900 ± 0.001 {NEED}, with 4 less than "
            "0.005 more (0.000 ± 0.001).",
        ),
        (
            measured(losses(0.9, 0.02, 0.004, -0.0001, error=0.0005)),
            f"{UP_TO} somewhere between 2 and 8 words of context: with 2 they cost 0.020 ± 0.001 "
            f"{NEED}, with 8 less than 0.005 more (0.000 ± 0.001).",
        ),
        (
            context(8, at_least=True),
            "Predictions improve with more than 8 words of context, the longest measured: with 8 "
            f"they cost 0.900 ± 0.001 {NEED}.",
        ),
        (
            measured(losses(0.9, 0.036, 0.036, 0.001, error=0.0175)),
            "Predictions improve with more than 1 word of context: with 1 they cost 0.900 ± 0.018 "
            f"{NEED}. No context is shown to be enough: even with 8 it may be 0.005 or more "
            "(0.001 ± 0.018).",
        ),
        (
            context(1),
            "Predictions need no more than the last word: all the text before improves them by "
            "less than 0.005 nats (0.000 ± 0.001 of 2.00).",
        ),
        (
            measured(losses(0.004, 0.004, 0, 0, error=0.0005)),
            "No context beyond the last word is shown to improve the predictions: with it alone "
            f"they cost 0.004 ± 0.001 {NEED}, less than 0.005 or within chance; 4 are shown to be "
            "enough (0.000 ± 0.001).",
        ),
        (
            measured(losses(0.4, 0.4, 0.1, 0, error=0.2)),
            "No context beyond the last word is shown to improve the predictions: with it alone "
            f"they cost 0.400 ± 0.200 {NEED}, less than 0.005 or within chance; nor is any shown "
            "to be enough.",
        ),
    ],
)
def test_how_much_context_is_used(made, wanted):
    assert said(changed(context=made), "context") == [wanted]


HARM = (
    "More context makes the predictions worse here: with all the text before they cost 2.00 nats, "
    "with"
)


@pytest.mark.parametrize(
    ("reset", "wanted"),
    [
        (losses(-0.3, -0.1, 0, 0), [f"{HARM} 1 word alone 0.300 ± 0.001 less."]),
        (losses(0.5, -0.2, 0, 0), [f"{HARM} 2 words alone 0.200 ± 0.001 less."]),
        (losses(-0.3, 0, 0, 0, error=0.2), []),
    ],
)
def test_context_that_does_harm_is_told(reset, wanted):
    found = said(changed(context=measured(reset)), "context")
    assert [text for text in found if text.startswith(HARM)] == wanted
    assert len(found) == 1 + (reset.loss[0] > 2)
    if reset.loss[0] > 2:
        assert found[0].startswith(f"{UP_TO} 2 words of context")


@pytest.mark.parametrize(
    ("guessing", "error", "how"),
    [
        (1.5, 0.02, "worse than"), (2.001, 0.002, "not shown to be better than"),
        (2.2, 0.2, "not shown to be better than"), (2.2, 0.02, None),
    ],
)  # fmt: skip
def test_guessing_is_another_question_than_context(guessing, error, how):
    """A model that is worse than the text's own frequencies may use context all the same."""
    made = measured(losses(0.9, 0.9, 0, 0), guessing, error)
    first, *more = said(changed(context=made), "context")
    assert first.startswith(f"{UP_TO} 4 words of context")
    assert more == [
        f"The predictions are {how} guessing by how often each word occurs in this text: 2.00 nats "
        f"with all the text before, guessed {guessing:.2f} (a difference of "
        f"{abs(guessing - 2):.3f} ± {error:.3f})."
    ] * (how is not None)


def test_contexts_that_begin_later():
    made = dataclasses.replace(context(1), contexts=(3, 6, 9, 12), enough=3)
    (found,) = said(changed(context=made), "context")
    assert found.startswith("Predictions need no more than the last 3 words:")


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (losses(1, 1, 0, 0), (2, 4)), (losses(0, 1, 0, 0), (2, 4)), (losses(0, 0, 0, 0), (None, 1)),
        (losses(0, 0, 0, 1), (8, None)), (losses(1, 0.006, 0.004, 0.001), (2, 8)),
        (losses(0.2, 0.2, 0.2, 0.2, error=0.1), (None, None)),  # it may be chance
        (losses(0.3, 0, 0, 0, error=0.09), (1, None)),  # little text shows no context to be enough
        (losses(-1, -1, -1, -1), (None, 1)),
    ],
)  # fmt: skip
def test_a_bracket_has_two_ends_that_are_shown(made, wanted):
    assert bracket(CONTEXTS, made) == wanted


@pytest.mark.parametrize(
    ("stranger", "wanted"),
    [
        (losses(2, 1, 0.25, 0), "4 words after it, a prediction costs 0.250 ± 0.001 nats more."),
        (losses(2, 1, 0, 0.5), "8 words after it, a prediction costs 0.500 ± 0.001 nats more."),
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


# -- gradients ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "varied", "wanted"),
    [
        (
            8, False,
            "Trained with windows of 5 words: no gradient ever linked events further apart.",
        ),
        (
            16, False, "Trained with windows of 5 words: no gradient ever linked events further "
            "apart; what helps from further back comes with the state alone.",
        ),
        (
            None, True, "Trained with windows of about 5 words: hardly any gradient linked events "
            "further apart.",
        ),
    ],
)  # fmt: skip
def test_the_windows_of_the_training(used, varied, wanted):
    """Help from further back than a window is shown only where one as long lacks something."""
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
        ((), "There is no half-life: of a reason."),
        (
            (dataclasses.replace(lives(1, 2), untrained=None),),
            "No memory cell (c) keeps half its content for over 5 steps by its gates; the longest "
            "does for 2.0 steps.",
        ),
    ],
)
def test_how_long_the_gates_keep(made, wanted):
    why = {"half-lives": "of a reason"}
    assert said(changed(half_lives=made, left_out=why), "half-lives")[0] == wanted


TENTH = "(the longest tenth of the half-lives), ablation shows"
WIDE = measured(losses(0.9, 0.02, 0.004, 0, error=0.0005))
OPEN = measured(losses(0.9, 0.036, 0.036, 0.001, error=0.0175))


@pytest.mark.parametrize(
    ("longest", "made", "wanted"),
    [
        (5.0, context(4), f"Gates suggest 5.0 steps {TENTH} 4: they agree."),
        (5.0, WIDE, f"Gates suggest 5.0 steps {TENTH} between 2 and 8: they agree."),
        (
            120.0, context(4),
            f"Gates suggest 120 steps {TENTH} 4: trust 4; what is kept longer is not shown to "
            "help.",
        ),
        (
            120.0, WIDE,
            f"Gates suggest 120 steps {TENTH} between 2 and 8: trust the ablation; what is kept "
            "longer is not shown to help.",
        ),
        (
            None, OPEN,
            f"Gates suggest no end {TENTH} more than 1: neither speaks against the other.",
        ),
        (
            1.5, context(8),
            f"Gates suggest 1.5 steps {TENTH} 8: trust 8; the difference travels by other ways "
            "than the gates, or is less than half of what was kept.",
        ),
        (
            3.0, context(8, at_least=True),
            f"Gates suggest 3.0 steps {TENTH} more than 8: trust the ablation; the difference "
            "travels by other ways than the gates, or is less than half of what was kept.",
        ),
        (
            3.0, measured(losses(0.004, 0.004, 0, 0, error=0.0005)),
            f"Gates suggest 3.0 steps {TENTH} at most 4: they agree.",
        ),
    ],
)  # fmt: skip
def test_gates_against_ablation(longest, made, wanted):
    lasting = lives(*(1.0,) * 8, longest, longest)
    assert said(changed(context=made, half_lives=(lasting,)), "half-lives")[1:] == [wanted]


@pytest.mark.parametrize(
    "made",
    [
        (measured(losses(0, 0, 0, 0, error=1)), (lives(1, 2),)),
        (measured(losses(-0.5, 0, 0, 0)), (lives(1, 2),)),
        (context(4), ()),
    ],
)
def test_where_there_is_nothing_to_compare(made):
    report = changed(context=made[0], half_lives=made[1], left_out={"half-lives": "none"})
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
            "2 of 32 units of the gate layers.0.i stand open at every word; 3 of 64 units hardly "
            "move.",
        ),
        ((), ALIVE, "LSTM has no gates; no unit is dead."),
        ((), (Dead(0, (0,), 1),), "LSTM has no gates; 1 of 1 unit hardly move."),
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


def test_a_report_without_the_untrained_control_holds_nothing_against_it():
    made = changed(
        context=dataclasses.replace(context(4), untrained=None),
        gradients=(Gradient("x", decay(1, 0.5, 0, 0), None),),
        half_lives=(dataclasses.replace(lives(1, 9), untrained=None),),
        probes=(),
    )
    texts = " ".join(sentence.text for sentence in verdict(made))
    assert "before training" not in texts
    assert "No unit can be judged without the untrained model" in texts


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (lambda: share(0), "0 %"), (lambda: share(0.002), "under 1 %"),
        (lambda: share(0.31), "31 %"), (lambda: share(0.999), "99 %"), (lambda: share(1), "100 %"),
        (lambda: steps(8.31), "8.3 steps"), (lambda: steps(1234.5), "1,234 steps"),
    ],
)  # fmt: skip
def test_numbers_in_words(made: Callable[[], str], wanted):
    assert made() == wanted
