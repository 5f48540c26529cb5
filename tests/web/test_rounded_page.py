"""Walkthrough pages whose model fits only with its weights rounded."""

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from cellwright.inspect.walk.pack import ONE, THREE, TWO, TWOS, Rounded, signs
from cellwright.inspect.walk.page import build_page, write_page
from cellwright.inspect.walk.rounding import Shared
from cellwright.inspect.walk.values import layers_of
from cellwright.lm import LanguageModel
from cellwright.web import asset
from tests.inspect.readers import reader
from tests.web.test_walkthrough import LIVE, STEPS, TEXT, look, no_room


def bytes_of(made: str) -> bytes:
    held = "".join(
        f"{ONE.index(c):07b}" if ord(c) < 128
        else f"{(len(ONE) << 6) + ord(c) - TWO:013b}" if ord(c) < 0x800
        else f"{((len(ONE) << 6) + TWOS << 6) + ord(c) - THREE:019b}"
        for c in made
    )  # fmt: skip
    held += "0" * (-len(held) % 8)
    return int(held, 2).to_bytes(len(held) // 8, "big")


def matrices_of(packed: dict) -> list[np.ndarray]:
    """The numbers that a page holds, unpacked by other means than its own."""
    data, at = bytes_of(packed["text"]), packed["deflated"]
    high = np.frombuffer(zlib.decompress(data[:at], -15), dtype=np.int8).astype(int)
    found, first = [], 0
    for count, low, step in packed["parts"]:
        size = -(-count * low // 8)
        bits = "".join(f"{byte:08b}" for byte in data[at : at + size])
        rest = [int(bits[k * low : (k + 1) * low] or "0", 2) for k in range(count)]
        whole = (high[first : first + count] << low) + rest
        found.append((whole * step).astype(np.float32))
        first, at = first + count, at + size
    return found


def test_signs_hold_bytes_and_nothing_that_json_escapes():
    data = os.urandom(30_000)
    made = signs(data)
    assert json.dumps(made, ensure_ascii=False) == f'"{made}"' and "<" not in made
    assert len(made.encode()) < 1.195 * len(data)
    assert bytes_of(made)[: len(data)] == data


def test_both_sides_have_the_same_signs():
    script = asset("walk_pack.js")
    assert f"TWO = {TWO:#x}, TWOS = 0x800 - TWO, THREE = {THREE:#x}" in script
    assert len(ONE) == 92 and not set('"<\\') & set(ONE)


def test_the_finest_step_that_fits_is_taken():
    numbers = Rounded()
    values = np.random.default_rng(1).normal(size=(300, 200))
    assert numbers.matrix(values) == [0, values.size, 0]
    place = numbers.matrix(values, None, 4)
    assert place == [values.size, values.size, 1]
    steps = []
    for room in (250_000, 300_000, 350_000):
        packed = numbers.packed(room)
        assert packed is not None and 0.98 * room < packed.size <= room
        assert abs(len(packed.facts()["text"].encode()) - packed.size) < 0.002 * room
        apart = np.abs(packed.matrix(place) - values.ravel()).max()
        assert apart <= packed.steps[1] / 2 + 1e-6 and packed.steps[0] == 4 * packed.steps[1]
        steps.append(packed.steps[0])
    assert steps == sorted(steps, reverse=True)
    assert numbers.packed(1000) is None


def test_columns_make_good_what_others_lose():
    """With inputs of few directions, products are moved far less than by rounding to the nearest,
    and by no more than twice that with inputs of all directions."""
    draw = np.random.default_rng(2)
    values, mixed = draw.normal(size=(50, 40)), draw.normal(size=(5, 40))
    usual = draw.normal(size=(500, 5)) @ mixed
    whole = Shared(usual).rounded(8 * values) / 8
    nearest = np.rint(8 * values) / 8
    assert (8 * whole == np.rint(8 * whole)).all()

    def moved(rounded, inputs):
        return np.sqrt((((rounded - values) @ inputs.T) ** 2).mean())

    assert moved(whole, usual) < moved(nearest, usual) / 3
    other = draw.normal(size=(500, 40))
    assert moved(whole, other) < 2 * moved(nearest, other)


def test_inputs_that_overflow_are_left_out():
    inputs = np.ones((4, 3))
    inputs[1, 2], inputs[2, 0] = np.inf, np.nan
    values = np.array([[1.2, 3.4, 5.6]])
    assert np.isfinite(Shared(inputs).rounded(values)).all()
    assert (Shared(inputs[1:3]).rounded(values) == np.rint(values)).all()


def test_numbers_that_are_not_numbers_cannot_be_rounded():
    numbers = Rounded()
    numbers.matrix(np.array([[1.0, np.inf]]))
    assert numbers.packed(10_000) is None


@pytest.mark.parametrize("cell", ["lstm", "clockwork", "indrnn"])
def test_rounded_weights_are_the_same_here_and_there(browser, tmp_path, monkeypatch, cell):
    """What a page unpacks is what stands in it, and near the model's; it computes with it."""
    no_room(monkeypatch, agrees=1e-4)
    model, out = reader(cell), tmp_path / "rounded.html"
    assert write_page(out, model, TEXT, reader("gru")).live
    facts = facts_of(out)
    held = matrices_of(facts["rounded"])
    tab = browser.open(out.as_uri())
    assert "its weights rounded to multiples of at most" in tab.run(f"{LIVE}.textContent")
    assert "what you type cannot be checked" in tab.run(f"{LIVE}.textContent")
    got = tab.run("walkthrough.text.model.layers.map(({ weights }) => weights.map((own) => "
                  "own.weight && [...own.weight]))")  # fmt: skip
    for number, layer in enumerate(layers_of(model)):
        places = facts["model"]["layers"][number]["weights"]
        for k, own in layer.weights.items():
            if "weight" in own and own["weight"].ndim == 2:
                numbers = held[places[str(k)]["weight"][2]]
                assert got[number][k] == numbers.tolist()
                np.testing.assert_allclose(numbers, own["weight"].ravel(), atol=1e-5)
                assert (numbers[own["weight"].ravel() == 0] == 0).all()
    table = held[facts["model"]["embedding"][2]]
    assert tab.run("[...walkthrough.text.model.embedding]") == table.tolist()
    assert 0 < float(tab.run(f"{LIVE}.dataset.difference")) < 1e-4
    for at in STEPS:
        look(tab, t=4, step=at, unit=7)
    assert tab.complaints() == []
    tab.close()


def test_a_model_too_large_for_float32_is_live(browser, tmp_path):
    """Two layers of 256 units, as `train --layers 2` makes them: rounded, and PyTorch's still."""
    signs = "".join(map(chr, range(32, 96))) + "\n"
    model, out = trained_like(256, signs), tmp_path / "page.html"
    made = write_page(out, model, "THE CAT SAT ON THE MAT")
    assert made.live and 2_900_000 < made.size <= 3_000_000
    tab = browser.open(out.as_uri())
    typed = "A DOG RAN TO THE END OF THE ROAD"
    tab.run(f"walkthrough.retype({json.dumps(typed)})")
    got = np.asarray(tab.run("walkthrough.text.reading.map(({ logits }) => [...logits])"))
    with torch.no_grad():
        wanted, _ = model(torch.tensor([model.tokenizer.encode(typed)]))  # type: ignore[union-attr]
    assert np.abs(got - wanted[0].numpy()).max() < 1e-4
    assert tab.complaints() == []
    tab.close()


def trained_like(hidden: int, signs: str) -> LanguageModel:
    """A model whose weights have the spread of a trained one's, some far from 0."""
    base = reader("lstm", hidden=hidden, embed=hidden, signs=signs)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(4)
        for parameter in base.parameters():
            parameter.copy_(0.08 * torch.randn_like(parameter) * (1 + torch.rand_like(parameter)))
    return base


def test_rounded_weights_that_would_not_agree_are_not_shown(monkeypatch):
    no_room(monkeypatch, agrees=1e-9)
    _, live, why = build_page(reader("lstm"), TEXT)
    assert not live
    assert "rounded so that they fit, its logits would differ from PyTorch's by" in why


def facts_of(page: Path) -> dict:
    text = page.read_text(encoding="utf-8")
    start = text.index('id="facts">') + len('id="facts">')
    return json.loads(text[start : text.index("</script>", start)])
