"""The catalogue's equations, written out by hand from the papers for one step in numpy.

Each function takes the weights by equation and operand, as `blocks()` names them, the inputs
[B, I], then the states [B, width]. It returns the states after the step, the output first, or
Made(outputs, states). Nothing here goes through the language or the compiler.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from tests.cells import oracles_classic as classic
from tests.cells import oracles_later as later
from tests.cells import oracles_search as search
from tests.cells.arithmetic import Array, Made, Step, Weights

ORACLES: Mapping[str, Step] = {
    "rnn": classic.elman,
    "rnn-relu": classic.rectified,
    "irnn": later.irnn,
    "indrnn": later.indrnn,
    "lstm-1997": classic.lstm_1997,
    "lstm-1997-paper": classic.lstm_1997_paper,
    "lstm": classic.lstm,
    "lstm-projected": classic.lstm_projected,
    "peephole": classic.peephole,
    "nig": search.nig,
    "nfg": search.nfg,
    "nog": search.nog,
    "niaf": search.niaf,
    "noaf": search.noaf,
    "np": search.no_peepholes,
    "cifg": search.cifg,
    "fgr": search.fgr,
    "coupled": classic.coupled,
    "janet": later.janet,
    "ea-lstm": later.ea_lstm,
    "slstm": later.slstm,
    "gru": classic.gru,
    "gru-cho": classic.gru_cho,
    "mgu": later.mgu,
    "ligru": later.ligru,
    "mut1": search.mut1,
    "mut2": search.mut2,
    "mut3": search.mut3,
    "clockwork": classic.clockwork,
    "layernorm-lstm": classic.layernorm_lstm,
    "layernorm-gru": classic.layernorm_gru,
    "depth-gated": later.depth_gated,
    "depth-gated-lowest": later.depth_gated_lowest,
    "grid": later.grid,
    "grid-priority": later.grid_priority,
}
# States that cannot start anywhere, and what they start as: a clock at zero, a normaliser above it.
STARTS = {("clockwork", "age"): 0.0, ("slstm", "n"): 1.0}


def sequence(
    step: Step, weights: Weights, inputs: Sequence[Array], states: tuple[Array, ...]
) -> tuple[list[Array], tuple[Array, ...]]:
    """Run a step over inputs [T, B, I]: the outputs [T, B, width] and the final states."""
    emitted = []
    for vectors in zip(*inputs, strict=True):
        made = step(weights, *vectors, *states)
        outputs, states = made if isinstance(made, Made) else (made[:1], made)
        emitted.append(outputs)
    return [np.stack(y) for y in zip(*emitted, strict=True)], states
