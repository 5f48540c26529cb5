"""Layout: names, order and keys of the packed parameters."""

import pytest
from torch import nn

from cellwright.cells import CATALOGUE
from cellwright.compiler import lower
from cellwright.compiler.layout import layout
from cellwright.language import (
    Cell,
    CellError,
    Input,
    State,
    affine,
    bias,
    concat,
    diagonal,
    fit,
    hidden,
    layer_norm,
    linear,
    sigmoid,
    tanh,
)
from cellwright.language.transform import with_split_biases
from tests.cases import CELLS, lowered, widths


def shapes(cell: type[Cell], **more: int) -> dict[str, tuple[int, ...]]:
    params, _ = layout(cell.graph, {**widths(), **more})
    return {p.name: p.shape for p in params}


def keys(cell: type[Cell]) -> list[str]:
    params, _ = layout(cell.graph, widths())
    return [block.key for p in params for block in p.blocks]


@pytest.mark.parametrize(
    ("name", "layer"), [("rnn", nn.RNN), ("lstm", nn.LSTM), ("gru", nn.GRU)], ids=str
)
def test_names_and_shapes_are_torchs(name, layer):
    theirs = {n.removesuffix("_l0"): tuple(p.shape) for n, p in layer(3, 5).named_parameters()}
    ours = shapes(with_split_biases(CATALOGUE[name]))
    assert ours == theirs
    assert list(ours) == list(theirs), "in torch's order"


@pytest.mark.parametrize(("name", "rows"), [("lstm", "ifgo"), ("gru", "rzn")])
def test_rows_lie_in_torchs_order(name, rows):
    for param in lowered(name).params[:2]:
        assert [block.key[0] for block in param.blocks] == list(rows)


def test_projection_is_named_like_torchs():
    ours = shapes(with_split_biases(CATALOGUE["lstm-projected"]))
    theirs = nn.LSTM(3, 5, proj_size=2)
    assert ours == {n.removesuffix("_l0"): tuple(p.shape) for n, p in theirs.named_parameters()}


def test_peepholes_have_names_of_their_own():
    assert shapes(CATALOGUE["peephole"]) == {
        "weight_ih": (20, 3),
        "weight_hh": (20, 5),
        "bias_ih": (20,),
        "weight_ch": (10,),
        "weight_c_next_h": (5,),
    }
    assert {"i.c", "f.c", "o.c.next"} < set(keys(CATALOGUE["peephole"]))


def test_two_biases():
    assert keys(with_split_biases(CATALOGUE["lstm"]))[-8:] == [
        *(f"{gate}.bias" for gate in "ifgo"),
        *(f"{gate}.bias_h" for gate in "ifgo"),
    ]
    assert [k for k in keys(CATALOGUE["gru"]) if "bias" in k] == [
        *("r.bias", "z.bias", "n.bias", "n.bias_h")
    ]


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_blocks_tile_their_parameters(name, split):
    cell = with_split_biases(CATALOGUE[name]) if split else CATALOGUE[name]
    params, places = layout(cell.graph, widths())
    for param in params:
        edges = [edge for block in param.blocks for edge in (block.start, block.stop)]
        assert edges[0] == 0
        assert edges[-1] == param.rows
        assert edges[1:-1:2] == edges[2::2]
    assert len({b.key for p in params for b in p.blocks}) == len(places)


def test_keys_never_collide():
    class Many(Cell):
        x, h, c = Input(), State(), State()
        a = affine(x, h) + affine(x, h) + linear(h) + diagonal(h) + diagonal(h) + bias() + bias()
        n = layer_norm(linear(h)) + layer_norm(linear(h)) + layer_norm(h)
        h.next = tanh(a + n)
        c.next = tanh(linear(c) * diagonal(c) + linear(h + c) + linear(h * c))

    found = keys(Many)
    assert len(set(found)) == len(found)
    assert all(key.split(".")[0] in {"a", "n", "c"} for key in found)


def test_one_vector_through_two_kinds_of_matrix():
    class Kinds(Cell):
        x, h, c = Input(), State(), State(4 * hidden)
        d = diagonal(c)
        e = linear(c, 4 * hidden) + linear(c, 4 * hidden, upper_blocks=2)
        c.next = tanh(d + e)
        h.next = tanh(affine(x, h, c))

    found = shapes(Kinds)
    assert {len(shape) for name, shape in found.items() if name.startswith("weight_ch")} == {1, 2}
    assert sum(name.startswith("weight_ch") for name in found) == 3


def test_without_biases():
    made = lower(CATALOGUE["lstm"].graph, widths(), with_bias=False)
    assert [p.name for p in made.params] == ["weight_ih", "weight_hh"]
    assert not made.once


def test_a_second_input_is_named():
    class Two(Cell):
        x, u, h = Input(), Input(4), State()
        h.next = tanh(affine(x, u, h) + linear(concat(x, u)))

    assert shapes(Two) == {
        "weight_ih": (5, 3),
        "weight_uh": (5, 4),
        "weight_hh": (5, 5),
        "bias_ih": (5,),
        "weight_concat_x_u_h": (5, 7),
    }


def test_a_state_called_i_does_not_take_the_inputs_name():
    class Gated(Cell):
        x, h, i = Input(), State(), State()
        i.next = sigmoid(affine(x, h, i))
        h.next = tanh(affine(x) + i.next)

    found = shapes(Gated, input=5)
    assert found["weight_ih"] == (10, 5)
    assert found["weight_i_h"] == (5, 5)


def test_a_fit_has_a_matrix_where_the_widths_differ():
    class Fitted(Cell):
        x, h = Input(), State()
        h.next = tanh(fit(x) + linear(h))

    assert list(shapes(Fitted)) == ["weight_ih", "weight_hh"]
    assert list(shapes(Fitted, input=5)) == ["weight_hh"]


def test_blocks_know_how_they_begin():
    class Begun(Cell):
        x, h = Input(), State()
        a = linear(h, start="identity") + linear(h) + bias(start=0)
        h.next = tanh(a + linear(x, start=0.25))

    params, _ = layout(Begun.graph, widths())
    begins = {block.key: block.begins for p in params for block in p.blocks}
    assert begins == {"a.h": "identity", "a.h_2": None, "a.bias": 0.0, "h.x": 0.25}


def test_a_long_expression_does_not_become_a_long_name():
    class Long(Cell):
        x, h = Input(), State()
        h.next = tanh(affine(x, sigmoid(sigmoid(h * h + h) * sigmoid(h - h * 2) + abs(h)) * h))

    assert all(len(name) <= 60 for name in shapes(Long))


@pytest.mark.parametrize("size", [0, -1, True, 2.0, None])
def test_sizes_are_checked(size):
    with pytest.raises(CellError, match="LSTM: width 'hidden' needs a size of 1 or more"):
        lower(CATALOGUE["lstm"].graph, {"input": 3, "hidden": size})
