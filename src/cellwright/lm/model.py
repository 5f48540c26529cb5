"""The language model: embedding, recurrent layers, decoder; and its files."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from cellwright import cells
from cellwright.language.cell import Cell
from cellwright.language.errors import CellwrightError
from cellwright.language.masks import masks
from cellwright.language.serial import cell_from_json, cell_to_json
from cellwright.lm.attribution import Attribution, Token
from cellwright.lm.attribution.ask import FURTHEST, Asked, attribute
from cellwright.lm.config import DROPOUTS, LATER, MOST_LAYERS, ConfigError, TrainConfig
from cellwright.lm.errors import RunError, VocabularyError
from cellwright.lm.fields import FLAG, number, one_of, optional, read_fields, whole
from cellwright.lm.generation import Sampling, stream_ids, stream_text
from cellwright.lm.regularise import LockedRecurrent, drop_words, locked_dropout
from cellwright.lm.run import FORMAT, VERSION, check_format
from cellwright.lm.storage import (
    read_json,
    read_tensors,
    reason,
    write_json,
    write_tensors,
    write_text,
)
from cellwright.lm.tokenizer import Tokenizer
from cellwright.nn import Recurrent
from cellwright.nn.trace import Trace
from cellwright.nn.trace_patch import Patch
from cellwright.nn.trace_select import Choice

States = Tensor | tuple["States", ...]  # nested where the layers differ in width


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a language model: tokens, units of the embedding and of each recurrent layer.

    `last_hidden` are the units of the last layer where those are not `hidden`, and
    `proj_size` is the width of the output of a cell with a projection, 0 for other cells. `tie`
    makes the decoder's matrix the embedding's; `bias` is the cell's. The rates of dropout, and
    which of them follow `dropout`, are those of `TrainConfig`.
    """

    vocab: int
    hidden: int
    embed: int
    layers: int = 1
    dropout: float = 0.0
    tie: bool = False
    bias: bool = True
    proj_size: int = 0
    last_hidden: int | None = None
    dropout_kind: str = "plain"
    input_dropout: float | None = None
    layer_dropout: float | None = None
    embedding_dropout: float = 0.0

    @classmethod
    def of(cls, config: TrainConfig, vocab: int) -> "ModelShape":
        """The shape that a training configuration asks for."""
        same = {f.name for f in dataclasses.fields(cls)} - {"vocab", "embed"}
        sizes = {name: getattr(config, name) for name in same}
        return cls(vocab=vocab, embed=config.embed_size, **sizes)

    @classmethod
    def from_dict(cls, values: object, file: Path | str = "config.json") -> "ModelShape":
        """The shape in the config.json `file`; RunError if it is not one."""
        return cls(**read_fields(f"{file}: model shape", values, _SHAPE, may_lack=LATER))


# What a model's description may ask for; a file that asks for more is damaged or hostile.
_SHAPE = {
    "vocab": whole(1, 1 << 24),
    "hidden": whole(1, 1 << 20),
    "embed": whole(1, 1 << 20),
    "layers": whole(1, MOST_LAYERS),
    "last_hidden": optional(whole(1, 1 << 20)),
    "dropout": number(0, 1),
    "dropout_kind": one_of(*DROPOUTS),
    "input_dropout": optional(number(0, 1, below=True)),
    "layer_dropout": optional(number(0, 1, below=True)),
    "embedding_dropout": number(0, 1, below=True),
    "tie": FLAG,
    "bias": FLAG,
    "proj_size": whole(0, 1 << 20),
}


class LanguageModel(nn.Module):
    """Predicts the next token: dropout and the recurrent layers on an embedding, then a decoder.

    x = dropout(E[ids]); h, state = recurrent(x, state); logits = W dropout(h) + b
    In training, whole words of E are dropped too, at `shape.embedding_dropout`.

    With `shape.tie`, W is E: the cell's output must then be as wide as the embedding.
    `tokenizer` is needed to generate text and to be saved. Raises ConfigError for a tie that
    does not fit and CellError for a cell that cannot be built.
    """

    def __init__(
        self,
        shape: ModelShape,
        cell: type[Cell] | str,
        tokenizer: Tokenizer | None = None,
        *,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.tokenizer = tokenizer
        cell = cells.find(cell) if isinstance(cell, str) else cell
        width = _output_width(cell, shape)
        self.embedding = nn.Embedding(shape.vocab, shape.embed, device=device)
        last = shape.last_hidden or shape.hidden
        between = _or(shape.layer_dropout, shape.dropout)
        locked = shape.dropout_kind == "locked"
        self.recurrent = (LockedRecurrent if locked else Recurrent)(
            cell,
            shape.embed,
            shape.hidden if last == shape.hidden else [shape.hidden] * (shape.layers - 1) + [last],
            shape.layers,
            bias=shape.bias,
            batch_first=True,
            dropout=between if shape.layers > 1 else 0.0,
            proj_size=shape.proj_size,
            device=device,
        )
        self.decoder = nn.Linear(width, shape.vocab, device=device)
        if shape.tie:
            if width != shape.embed:
                raise ConfigError(
                    f"tie: {self.cell.__name__} gives {width} units, the embedding has "
                    f"{shape.embed}: they must be equal; leave the tie out or set embed to {width}"
                )
            # N(0, 1), the embedding's own, would make the first logits tens of units wide
            nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
            self.decoder.weight = self.embedding.weight

    @property
    def cell(self) -> type[Cell]:
        """The cell class of the recurrent layers."""
        return self.recurrent.cell

    @property
    def parameter_count(self) -> int:
        """How many numbers are learnt; a tied matrix counts once."""
        return sum(p.numel() for p in self.parameters())

    def forward(
        self, ids: Tensor, state: States | None = None, *, return_outputs: bool = False
    ) -> tuple:
        """Logits of the token after each of `ids`, and the state to go on from.

        ids [B, T] int64; logits [B, T, vocab]; state: as `Recurrent` gives it, one tensor
        [layers, B, width] for each of the cell's states, in a tuple if there are several. None
        starts from zeros.
        `return_outputs` adds the last layer's outputs [B, T, H], and the same after the dropout.
        """
        shape = self.shape
        x = self.embedding(ids)  # [B, T, E]
        if self.training:
            x = drop_words(x, ids, shape.vocab, shape.embedding_dropout)
        x = self._drop(x, _or(shape.input_dropout, shape.dropout))
        h, after = self.recurrent(x, state)  # [B, T, H]
        dropped = self._drop(h, shape.dropout)
        logits = self.decoder(dropped)  # [B, T, V]
        return (logits, after, h, dropped) if return_outputs else (logits, after)

    def _drop(self, x: Tensor, rate: float) -> Tensor:
        """Dropout on [B, T, width], with one mask for all steps if it is locked."""
        if self.shape.dropout_kind == "locked":
            return locked_dropout(x, rate if self.training else 0.0, dim=1)
        return dropout(x, rate, self.training)

    def set_forget_bias(self, value: float) -> None:
        """Set the bias of the equation `f` in every layer; ConfigError if the cell has none."""
        for layer in range(self.shape.layers):
            blocks = self.recurrent.blocks(layer)
            if "f.bias" not in blocks:
                raise ConfigError(
                    f"forget_bias: {self.cell.__name__} has no equation f with a bias; leave it out"
                )
            blocks["f.bias"].fill_(value)

    def tensors(self) -> dict[str, Tensor]:
        """The state dict, a tied matrix once: what the weight files hold."""
        tensors = self.state_dict()
        if self.shape.tie:
            del tensors["decoder.weight"]
        return tensors

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the values of `tensors`, named and shaped as those of `tensors()`."""
        own = self.tensors()
        with torch.no_grad():
            for name, tensor in tensors.items():
                own[name].copy_(tensor)

    def generate(self, prompt: str = "", length: int = 200, **sampling: Any) -> Iterator[str]:
        """Yield the text that follows `prompt`, piece by piece, `length` tokens in all.

        sampling: temperature=1.0 (0: the likeliest token), top_k=None, top_p=None, seed=None.
        Works in constant memory, without dropout. An empty prompt starts after a line end.
        VocabularyError for a prompt with unknown characters or words.
        """
        return stream_text(self, prompt, length, Sampling(**sampling))

    def generate_ids(self, ids: Sequence[int], length: int, **sampling: Any) -> Iterator[int]:
        """`generate` for token ids: yield the `length` ids that follow `ids`."""
        return stream_ids(self, ids, length, Sampling(**sampling))

    def trace(
        self,
        text: str | Sequence[int] | Tensor,
        names: str | Iterable[str] = "*",
        *,
        units: Choice = None,
        time: Choice = None,
        state: States | None = None,
    ) -> Trace:
        """Read a text, or token ids, and return named values of the recurrent layers at each token.

        names, units, time: as in `Recurrent.trace`. The trace's `tokens` are what was read, its
        `output` the logits [T, vocab] of the token after each, its `state` the one to go on from;
        `state` is one of an earlier call. Without dropout, whatever mode the model is in; with
        gradients where autograd is on. A character or word that the model has never seen is read,
        and shown, as `<unk>`. VocabularyError for an empty text, TraceError for a name that is
        not there.
        """
        ids = self._ids(text)
        shown = [_shown(self.tokenizer, k) for k in ids]
        training = self.training
        self.eval()
        try:
            x = self.embedding(torch.tensor(ids, device=self.embedding.weight.device))  # [T, E]
            traced = self.recurrent.trace(x, state, names, units=units, time=time)
            logits = self.decoder(traced.output)  # [T, V]
        finally:
            self.train(training)
        tokens = tuple(shown[t] for t in traced.time)
        return dataclasses.replace(traced, tokens=tokens, output=logits)

    def attribute(
        self,
        text: str | Sequence[int] | Tensor,
        target: Token | None = None,
        method: str = "ablation",
        *,
        against: Token | Sequence[Token] | None = None,
        at: int | None = None,
        replacements: Token | Sequence[Token] | None = None,
        spans: str = "token",
        steps: int | None = None,
        furthest: int | None = FURTHEST,
        state: States | None = None,
    ) -> Attribution:
        """Say which tokens of a text the prediction of `target` after token `at` leaned on.

        The score is log p(target), in nats; with `against` it is log p(target) less the log of
        the sum of p over those tokens. method: ablation, gradient or integrated-gradients, which
        has `steps` (32). target: by default the token that follows `at` in the text, or without
        `at`, which then is the last token, the likeliest. replacements: what takes a token's
        place, by default the three most frequent of the text. spans: "word" replaces several
        tokens at once. furthest: how many tokens are looked at; None: all. state: of an earlier
        call. Without dropout, in any mode. AttributionError says what cannot be asked.
        """
        asked = Asked(target, method, against, at, replacements, spans, steps, furthest)
        return attribute(self, self._ids(text), partial(_shown, self.tokenizer), asked, state)

    def _ids(self, text: str | Sequence[int] | Tensor) -> list[int]:
        if not isinstance(text, str):
            ids = [int(token_id) for token_id in text]
        elif self.tokenizer is not None:
            ids = self.tokenizer.encode(text)
        else:
            raise VocabularyError("this model has no tokenizer: give token ids")
        if not ids:
            raise VocabularyError("text: expected at least one token, got none")
        if min(ids) < 0 or max(ids) >= self.shape.vocab:
            raise VocabularyError(f"text: expected token ids from 0 to {self.shape.vocab - 1}")
        return ids

    @contextmanager
    def patched(self, patches: Mapping[str, Patch]) -> Iterator["LanguageModel"]:
        """Within the block, replace named values of the layers: `{"layers.0.c": fn}`.

        As `Recurrent.patched` does: `fn(value, step)` gets [B, width] and the step of the call,
        which for `generate` is 0 at every token drawn. TraceError for a name that is not there.
        """
        with self.recurrent.patched(patches):
            yield self

    def save_pretrained(self, path: Path | str) -> None:
        """Write config.json, cell.json, tokenizer.json and model.safetensors into `path`."""
        path = Path(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{path}: cannot be made: {reason(error)}") from error
        self.save_vocabulary(path)
        write_tensors(path / "model.safetensors", self.tensors())
        values = {"format": FORMAT, "version": VERSION, "model": dataclasses.asdict(self.shape)}
        write_json(path / "config.json", values)

    def save_vocabulary(self, path: Path) -> None:
        """Write cell.json and tokenizer.json into the directory `path`."""
        if self.tokenizer is None:
            raise RunError(f"{path}: a model without its tokenizer cannot be saved")
        write_text(path / "cell.json", cell_to_json(self.cell))
        self.tokenizer.save(path / "tokenizer.json")

    @classmethod
    def from_pretrained(
        cls, path: Path | str, device: torch.device | str = "cpu"
    ) -> "LanguageModel":
        """The model in a run directory or a `save_pretrained` one, ready to predict (eval mode).

        Runs no code from the files. RunError, VocabularyError or CellFileError says which file is
        missing, damaged or of another model.
        """
        path = Path(path)
        shape, cell, tokenizer = _described(path)
        try:
            expected = cls(shape, cell, device="meta").tensors()
        except (RuntimeError, OverflowError) as error:  # absurd sizes
            raise RunError(f"{path / 'config.json'}: no such model: {reason(error)}") from error
        tensors = read_tensors(path / "model.safetensors", expected)  # before memory is taken
        with torch.random.fork_rng(devices=[]):  # initialisation draws numbers nobody needs
            model = cls(shape, cell, tokenizer)
        model.to(tensors["embedding.weight"].dtype).load_tensors(tensors)
        return model.to(device).eval()


def _shown(tokenizer: Tokenizer | None, token_id: int) -> str:
    """A token as it stands in a text; U+FFFD for bytes that are no character alone."""
    if tokenizer is None:
        return str(token_id)
    return tokenizer.decode([token_id]) if tokenizer.level == "bpe" else tokenizer.token(token_id)


def _or(rate: float | None, otherwise: float) -> float:
    return otherwise if rate is None else rate


def _output_width(cell: type[Cell], shape: ModelShape) -> int:
    """How many units the cell puts out; ConfigError for a cell that no text can drive."""
    graph = cell.graph
    inputs = len(graph.inputs) - len(masks(graph))  # a layer draws the masks itself
    if (inputs, len(graph.outputs)) != (1, 1):
        raise ConfigError(
            f"cell: {graph.cell} has {inputs} inputs and {len(graph.outputs)} outputs; "
            "a language model needs one of each"
        )
    last = shape.last_hidden or shape.hidden
    sizes = {"input": shape.embed, "hidden": last, "proj": shape.proj_size}
    if not (projected := "proj" in graph.symbols) and shape.proj_size:
        raise ConfigError(f"proj_size: {graph.cell} has no projection; leave it out")
    if projected and not 1 <= shape.proj_size < min(shape.hidden, last):
        raise ConfigError(
            f"proj_size: {graph.cell} projects its output: expected a width from 1 to "
            f"{min(shape.hidden, last) - 1}, below its {min(shape.hidden, last)} units, got "
            f"{shape.proj_size}"
        )
    missing = [symbol for symbol in graph.symbols if symbol not in sizes]
    if missing:
        raise ConfigError(
            f"cell: {graph.cell} has a width {missing[0]}; a language model sets only input, "
            "hidden and proj: use cellwright.nn.Recurrent for this cell"
        )
    width = graph.nodes[graph.outputs[0]].width
    assert width is not None  # every output of a checked graph has one
    return width.resolve(sizes)


def _described(path: Path) -> tuple[ModelShape, type[Cell], Tokenizer]:
    if not path.is_dir():
        raise RunError(f"{path}: no such directory; expected a run that `cellwright train` made")
    for name in ("config.json", "cell.json", "tokenizer.json", "model.safetensors"):
        if not (path / name).is_file():
            raise RunError(
                f"{path}: no model to load: {name} is missing; the training had not saved yet, "
                "or this is not a run directory"
            )
    values = read_json(path / "config.json")
    check_format(path, values)
    shape = ModelShape.from_dict(values.get("model"), path / "config.json")
    cell = read_cell(path)
    tokenizer = Tokenizer.load(path / "tokenizer.json")
    if tokenizer.size != shape.vocab:
        raise RunError(
            f"{path / 'tokenizer.json'}: expected a vocabulary of {shape.vocab}, got "
            f"{tokenizer.size}; the files are not of one model"
        )
    return shape, cell, tokenizer


def read_cell(path: Path) -> type[Cell]:
    """The cell in the directory `path`, from its data; runs no code."""
    try:
        return cell_from_json((path / "cell.json").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path / 'cell.json'}: cannot be read: {reason(error)}") from error
    except CellwrightError as error:
        raise type(error)(f"{path / 'cell.json'}: {error}") from error
