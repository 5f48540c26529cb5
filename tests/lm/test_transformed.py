"""The cell of a run: the named one, transformed in a fixed order, and kept with the run."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from cellwright import cells
from cellwright.language import layer_normed, recurrent_dropout, weight_dropped, zoneout
from cellwright.language.errors import CellwrightError
from cellwright.language.serial import cell_to_json
from cellwright.lm import LanguageModel, Tokenizer, TrainConfig, evaluate, resume, train
from cellwright.lm.engine import build_model
from cellwright.lm.model import read_cell
from cellwright.lm.transformed import cell_of
from tests.lm.small import small_config

LSTM = cells.find("lstm")


def json_of(**flags):
    return cell_to_json(cell_of(TrainConfig(**flags)))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, LSTM),
        ({"layer_norm": True}, layer_normed(LSTM)),
        ({"zoneout": 0.1}, zoneout(LSTM, 0.1)),
        ({"zoneout": "h=.05,c=.5"}, zoneout(LSTM, {"h": 0.05, "c": 0.5})),
        ({"recurrent_dropout": "0.2"}, recurrent_dropout(LSTM, 0.2)),
        ({"recurrent_dropout": "g=0.2"}, recurrent_dropout(LSTM, 0.2, on="g")),
        (
            {"recurrent_dropout": "g=0.2,h=.1"},
            recurrent_dropout(recurrent_dropout(LSTM, 0.2, on="g"), 0.1, on="h"),
        ),
        ({"weight_drop": 0.5}, weight_dropped(LSTM, 0.5)),
        (
            {"weight_drop": 0.5, "recurrent_dropout": 0.2, "zoneout": 0.1, "layer_norm": True},
            weight_dropped(recurrent_dropout(zoneout(layer_normed(LSTM), 0.1), 0.2), 0.5),
        ),
    ],
)
def test_the_flags_transform_the_cell_in_order(flags, expected):
    assert json_of(**flags) == cell_to_json(expected)
    if flags:
        assert json_of(**flags) != json_of()


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ({"cell": "gru", "zoneout": "c=0.1"}, "has no state c"),
        ({"recurrent_dropout": "q=0.1"}, "has no state or equation 'q'"),
        ({"cell": "indrnn", "weight_drop": 0.5}, "no matrix reads a state"),
    ],
)
def test_what_a_cell_cannot_be_changed_to_is_refused(tmp_path, flags, text):
    with pytest.raises(CellwrightError, match=text) as caught:
        train(small_config(tmp_path, **flags), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "flags",
    [
        {"layer_norm": True, "cell": "gru"},
        {"zoneout": "h=.05,c=.5"},
        {"recurrent_dropout": 0.2, "cell": "gru"},
        {"recurrent_dropout": "g=.2"},
        {"weight_drop": 0.5},
        {"layer_norm": True, "zoneout": 0.1, "recurrent_dropout": 0.2, "weight_drop": 0.5},
    ],
)
def test_a_transformed_cell_trains_resumes_evaluates_and_writes(tmp_path, flags):
    config = small_config(tmp_path, **flags)
    straight = train(config, tmp_path / "straight")
    train(small_config(tmp_path, **flags, epochs=1), tmp_path / "run")
    resumed = resume(tmp_path / "run", changes={"epochs": 2})
    for name in ("model.safetensors", "last/training.safetensors"):
        assert_close(
            load_file(tmp_path / "run" / name),
            load_file(tmp_path / "straight" / name),
            rtol=0,
            atol=0,
        )
    assert resumed.valid_nats == straight.valid_nats
    assert cell_to_json(read_cell(tmp_path / "run")) == cell_to_json(cell_of(config))
    model = LanguageModel.from_pretrained(tmp_path / "run")
    scores = [evaluate(model, [Path(name) for name in config.files]).nats for _ in range(2)]
    assert scores[0] == scores[1]  # no mask is drawn
    assert len("".join(model.generate("the ", 9, seed=0))) == 9


@pytest.mark.parametrize(
    "flags", [{"zoneout": 0.3}, {"recurrent_dropout": 0.3}, {"weight_drop": 0.3}]
)
def test_masks_are_drawn_in_training_and_never_in_evaluation(tmp_path, flags):
    config = small_config(tmp_path, dropout=0.0, **flags)
    tokenizer = Tokenizer.train([Path(name) for name in config.files], "char")
    model = build_model(config, cell_of(config), tokenizer)
    ids = torch.randint(tokenizer.size, (3, 20))
    model.train()
    assert not torch.equal(model(ids)[0], model(ids)[0])
    model.eval()
    assert torch.equal(model(ids)[0], model(ids)[0])
