"""How many weights a cell has: the papers' formulas, of I inputs and H units."""

import pytest
import torch

from cellwright.cells import CATALOGUE
from cellwright.compiler import lower
from cellwright.nn import Recurrent
from tests.cases import options, widths


def gates(count: int, I: int, H: int) -> int:
    """Count the weights of so many equations that read x and h and have a bias."""
    return count * H * (I + H + 1)


COUNTS = {
    "rnn": lambda I, H: gates(1, I, H),
    "rnn-relu": lambda I, H: gates(1, I, H),
    "irnn": lambda I, H: gates(1, I, H),
    "indrnn": lambda I, H: H * I + H + H,
    "lstm-1997": lambda I, H: gates(3, I, H),
    "lstm-1997-paper": lambda I, H: gates(3, I, H),
    "lstm": lambda I, H: gates(4, I, H),
    "lstm-projected": lambda I, H: 4 * H * (I + H // 2 + 1) + (H // 2) * H,  # Sak: r = H / 2
    "peephole": lambda I, H: gates(4, I, H) + 3 * H,
    "nig": lambda I, H: gates(3, I, H) + 2 * H,
    "nfg": lambda I, H: gates(3, I, H) + 2 * H,
    "nog": lambda I, H: gates(3, I, H) + 2 * H,
    "niaf": lambda I, H: gates(4, I, H) + 3 * H,
    "noaf": lambda I, H: gates(4, I, H) + 3 * H,
    "np": lambda I, H: gates(4, I, H),
    "cifg": lambda I, H: gates(3, I, H) + 2 * H,
    "fgr": lambda I, H: gates(4, I, H) + 3 * H + 9 * H * H,
    "coupled": lambda I, H: gates(3, I, H),
    "janet": lambda I, H: gates(2, I, H),
    "ea-lstm": lambda I, H: gates(3, I, H) + H * (2 + 1),  # two static features
    "slstm": lambda I, H: gates(4, I, H),
    "gru": lambda I, H: gates(3, I, H) + H,  # a bias on either side of the reset
    "gru-cho": lambda I, H: gates(3, I, H),
    "mgu": lambda I, H: gates(2, I, H),
    "ligru": lambda I, H: gates(2, I, H),
    "mut1": lambda I, H: gates(1, I, H) + H * (I + 1) + H * (H + 1) + projection(I, H),
    "mut2": lambda I, H: gates(2, I, H) + H * (H + 1) + projection(I, H),
    "mut3": lambda I, H: gates(3, I, H),
    "clockwork": lambda I, H: gates(1, I, H),
    "layernorm-lstm": lambda I, H: gates(4, I, H) + 2 * 2 * 4 * H + 2 * H,
    "layernorm-gru": lambda I, H: 3 * H * (I + H) + 2 * 2 * (2 * H + H),
    "depth-gated": lambda I, H: gates(4, I, H) + 3 * H + H * (I + 1) + 2 * H,
    "depth-gated-lowest": lambda I, H: gates(4, I, H) + 3 * H + H * (I + 1) + H + H * I,
    "grid": lambda I, H: gates(8, I, H),
    "grid-priority": lambda I, H: gates(8, I, H),
}


def projection(I: int, H: int) -> int:
    """Count the weights in the place of the raw x, where it is not as wide as h."""
    return 0 if I == H else H * I


def test_every_cell_is_counted():
    assert list(COUNTS) == list(CATALOGUE)


@pytest.mark.parametrize("sizes", [(3, 8), (8, 8), (1, 2)], ids=str)
@pytest.mark.parametrize("name", COUNTS)
def test_a_cell_has_the_papers_number_of_weights(name, sizes):
    program = lower(CATALOGUE[name].graph, widths(*sizes))
    found = sum(param.rows * max(1, param.columns) for param in program.params)
    assert found == COUNTS[name](*sizes)


# Of recurrent matrices that fall into blocks, the share that holds anything.
SHARES = {"clockwork": ("n.h", 9 / 16), "slstm": ("li.h lf.h z.h o.h", 1 / 4)}


@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize("name", SHARES)
def test_forbidden_blocks_stay_zero_through_training(name, backend):
    keys, share = SHARES[name]
    layer = Recurrent(name, 3, 16, backend=backend, **options(name, 16))
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.1)
    for round_ in range(4):
        for key in keys.split():
            held = layer.blocks()[key] != 0
            assert float(held.float().mean()) == share, (key, round_)
        optimizer.zero_grad()
        layer(torch.randn(5, 2, 3))[0].square().sum().backward()
        assert all(p.grad is not None and bool(p.grad.any()) for p in layer.parameters())
        optimizer.step()


@pytest.mark.parametrize("name", SHARES)
def test_what_lies_in_forbidden_blocks_is_not_read(name):
    keys, _ = SHARES[name]
    layer = Recurrent(name, 3, 16)
    x = torch.randn(5, 2, 3)
    with torch.no_grad():
        wanted = layer(x)[0]
        for key in keys.split():
            block = layer.blocks()[key]
            block.copy_(torch.where(block == 0, 7.0, block))
        assert torch.equal(layer(x)[0], wanted)
