"""Whose gradient flow is shown: cells with fresh weights, and runs before and after training."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from cellwright.inspect.gradients.flow import WARM, GradientError, LayerFlow, gradient_flow, joined
from cellwright.inspect.gradients.plot import Panel
from cellwright.language.cell import Cell
from cellwright.language.masks import expected
from cellwright.lm.corpus import encode_files
from cellwright.lm.engine import as_begun
from cellwright.lm.model import LanguageModel
from cellwright.lm.run import read_config, read_text_digests
from cellwright.lm.texts import open_texts
from cellwright.nn import Recurrent


@dataclass(frozen=True)
class Draws:
    """How far back to look, in steps, and how many seeds, or places of a text, to look at."""

    lags: int
    samples: int

    @property
    def steps(self) -> int:
        """Of a sequence: its first ones take the state away from zero."""
        return WARM + self.lags


def of_cell(
    name: str, cell: type[Cell], biases: Sequence[float], hidden: int, draws: Draws
) -> Iterator[Panel]:
    """Yield a panel for each of `biases` of the forget gate, one for a cell that has none.

    Weights are what a layer starts with, inputs N(0, 1) and as wide as the hidden state; a sample
    is a seed.
    """

    def flow(seed: int, bias: float | None) -> LayerFlow:
        torch.manual_seed(seed)
        module = _module(cell, hidden)
        if bias is not None:
            module.blocks()["f.bias"].fill_(bias)
        widths = [port.width for port in module._plans[0].program.inputs]
        x = tuple(torch.randn(draws.steps, 1, w, dtype=torch.float64) for w in widths)
        return gradient_flow(module, x, draws.lags)[0]

    with torch.random.fork_rng(devices=[]):
        for bias in biases if takes_bias(cell, hidden) else (None,):
            made = joined([flow(seed, bias) for seed in range(draws.samples)])
            title = name if bias is None else f"{name}, forget bias {bias:g}"
            yield Panel(title, "untrained", made)


def takes_bias(cell: type[Cell], hidden: int) -> bool:
    """Whether a cell has a forget gate with a bias: an equation f."""
    with torch.random.fork_rng(devices=[]):
        return "f.bias" in _module(cell, hidden).blocks()


def _module(cell: type[Cell], hidden: int) -> Recurrent:
    """A layer of `hidden` units; what has a width of its own is as wide, a projection half."""
    symbols = expected(cell.graph).symbols
    own = {s: hidden for s in symbols if s not in ("input", "hidden", "proj")}
    proj = max(1, hidden // 2) if "proj" in symbols else 0
    made = Recurrent(cell, hidden, hidden, proj_size=proj, widths=own, dtype=torch.float64)
    return made.eval()


def of_run(path: Path, text: Path | None, draws: Draws) -> Iterator[Panel]:
    """Yield two panels for each layer of a run: as its training began, and as it is now.

    Both read the same places, evenly spread over `text` (None: the run's validation text, or the
    text it learnt from where it has none). GradientError for a text that is too short.
    """
    config = read_config(path)
    model = LanguageModel.from_pretrained(path)
    fresh = as_begun(config, model)
    ids = _places(path, model, text, draws)
    trained, untrained = ([*_flows(m, ids, draws)] for m in (model, fresh))
    for before, after in zip(untrained, trained, strict=True):
        name = path.name or f"{path}"
        title = name if len(trained) == 1 else f"{name}, layer {after.layer}"
        yield Panel(title, "untrained", before)
        yield Panel(title, "trained", after)


def _flows(model: LanguageModel, ids: Tensor, draws: Draws) -> Sequence[LayerFlow]:
    model = model.double().eval()
    with torch.no_grad():
        x = model.embedding(ids)  # [T, B, E]
    return gradient_flow(model.recurrent, x, draws.lags)


def _places(path: Path, model: LanguageModel, text: Path | None, draws: Draws) -> Tensor:
    """Token ids [T, B] of so many stretches of the text."""
    assert model.tokenizer is not None
    with TemporaryDirectory(prefix="cellwright-") as folder:
        if text is not None:
            named, file = f"{text}", encode_files([text], model.tokenizer, Path(folder) / "t.bin")
        else:
            texts = open_texts(read_config(path), path, read_text_digests(path))
            named, file = f"{path}: its validation text", texts.valid or texts.train
        ids, steps = torch.tensor(file.ids.astype("int64")), draws.steps
    if len(ids) < steps:
        raise GradientError(
            f"{named}: expected at least {steps} tokens for lags up to {draws.lags}, got "
            f"{len(ids)}; give a longer one by --text, or smaller --lags"
        )
    last = len(ids) - steps
    starts = [round(k * last / max(1, draws.samples - 1)) for k in range(draws.samples)]
    return torch.stack([ids[at : at + steps] for at in starts], 1)
