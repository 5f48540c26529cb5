"""Where training runs: device, precision, optimizer, random state; and all of it as a snapshot."""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cellwright.lm.averaging import Averaging
from cellwright.lm.config import NON_MONOTONE, ConfigError, TrainConfig
from cellwright.lm.errors import RunError, TrainingError
from cellwright.lm.model import LanguageModel, ModelShape, States
from cellwright.lm.optimise import make_optimizer, optimizer_state, restore_optimizer
from cellwright.lm.regularise import activation_penalty
from cellwright.lm.run import Position, Snapshot
from cellwright.lm.tokenizer import Tokenizer

if TYPE_CHECKING:
    from lightning_fabric import Fabric


_KNOWS_MEMORY = "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {})


def pick_device(name: str) -> torch.device:
    """The device that `name` asks for; `auto` is CUDA if there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device: {name} was asked for, but torch finds {torch.cuda.device_count()} CUDA "
            "devices; use cpu or auto"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device: mps was asked for, but torch finds none; use cpu or auto")
    return device


@contextmanager
def workplace(config: TrainConfig) -> Iterator[torch.device]:
    """Seed the random generators and set the threads; afterwards both are as they were."""
    device = pick_device(config.device)
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            if config.threads is not None:
                torch.set_num_threads(config.threads)
            torch.manual_seed(config.seed)
            yield device
        finally:
            torch.set_num_threads(threads)


def build_model(config: TrainConfig, cell: Any, tokenizer: Tokenizer) -> LanguageModel:
    """A new model with the weights that `config` asks for, on the CPU.

    ConfigError, before anything is allocated, if training it cannot fit into this machine.
    """
    _fits(config, tokenizer.size)
    model = LanguageModel(ModelShape.of(config, tokenizer.size), cell, tokenizer)
    if config.init_scale is not None:
        _initialise(model, config.init_scale)
    if config.forget_bias is not None:
        model.set_forget_bias(config.forget_bias)
    return model


def as_begun(config: TrainConfig, model: LanguageModel) -> LanguageModel:
    """The model with the weights that its training began with, to predict with (eval mode)."""
    assert model.tokenizer is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return build_model(config, model.cell, model.tokenizer).eval()


def _fits(config: TrainConfig, vocab: int) -> None:
    """Refuse a model whose recurrent, embedding and output weights alone exceed the memory."""
    hidden, embed = config.hidden, config.embed_size
    last = config.last_hidden or hidden
    weights = (config.layers - 1) * hidden * hidden + last * last + hidden * embed
    weights += vocab * (embed if config.tie else embed + config.output_width)
    needed = 3 * 4 * weights  # the weights, their gradients, at least one number of the optimizer's
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if _KNOWS_MEMORY else None
    if memory is not None and needed > memory:
        raise ConfigError(
            f"hidden: {config.layers} layers of {hidden} units over a vocabulary of {vocab} need "
            f"more than {needed / 2**30:,.0f} GiB of memory to train, this machine has "
            f"{memory / 2**30:,.0f}; take fewer"
        )


def _initialise(model: LanguageModel, scale: float) -> None:
    """Draw every weight from U(-scale, scale).

    A norm's gain and shift stay, and so does what a cell keeps at zero for its structure.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("recurrent.norm_"):
                kept = parameter != 0
                parameter.uniform_(-scale, scale).mul_(kept)


@final
class Engine:
    """A model, its optimizer and the device they are on: takes steps, gives snapshots."""

    def __init__(self, config: TrainConfig, model: LanguageModel, device: torch.device) -> None:
        self.model = model
        self.device = device
        self.config = config
        self.fabric = _fabric(config, device)
        optimizer = make_optimizer(config, model)
        self.forward, self.optimizer = self.fabric.setup(model, optimizer)
        self.averaging: Averaging | None = None
        if config.optimizer == "nt-asgd":
            self.averaging = Averaging(model, config.non_monotone or NON_MONOTONE)
        self.model.train()

    def step(self, x: Tensor, y: Tensor, state: States | None) -> tuple[float, float, States]:
        """Learn from one window: x, y [B, T]. Returns nats per token, gradient norm, new state.

        The gradient is that of the loss averaged over B and summed or averaged over T (see
        TrainConfig), with the activations' penalty. TrainingError, with the weights as they were,
        if the loss or the gradient is not finite.
        """
        config = self.config
        x, y = x.to(self.device), y.to(self.device)
        logits, after, h, dropped = self.forward(x, detach(state), return_outputs=True)
        loss = cross_entropy(logits.flatten(0, 1), y.flatten())
        nats = loss.item()
        if not math.isfinite(nats):
            raise TrainingError(f"the loss is {nats}")
        self.optimizer.zero_grad()
        loss = loss + activation_penalty(h, dropped, config.ar, config.tar)
        self.fabric.backward(loss * x.shape[1] if config.reduction == "sum" else loss)
        clip = config.clip or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip, foreach=True))
        if not math.isfinite(norm):
            raise TrainingError(f"the gradient's norm is {norm} (the loss is {nats:.4g})")
        self.optimizer.step()
        if self.averaging is not None:
            self.averaging.take_step()
        return float(nats), norm, after

    def published(self) -> AbstractContextManager[None]:
        """Within it the model has the weights that are scored and kept: nt-asgd's means."""
        return nullcontext() if self.averaging is None else self.averaging.in_place()

    @property
    def averaged_steps(self) -> int:
        """How many steps the published weights are the mean of; 0: they are the last step's."""
        return 0 if self.averaging is None else self.averaging.steps

    def snapshot(
        self, position: Position, state: States | None, facts: Mapping[str, Any]
    ) -> Snapshot:
        """All that `restore` needs. The tensors are the live ones: save before the next step.

        Its model is the one to predict with; where that is nt-asgd's mean, the weights to go on
        from are among the training's tensors.
        """
        tensors, rest = optimizer_state(self.optimizer)
        training = {f"optimizer.{name}": tensor for name, tensor in tensors.items()}
        training |= {f"state.{name}": tensor for name, tensor in _flat(state).items()}
        model = self.model.tensors()
        if self.averaging is not None:
            training |= {f"averaging.{k}": value for k, value in self.averaging.tensors().items()}
            model = self.averaging.means or model
        training["random.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            training["random.cuda"] = torch.cuda.get_rng_state(self.device)
        facts = {**facts, "optimizer": rest, "threads": torch.get_num_threads()}
        return Snapshot(position, model, training, facts)

    def difference(self, snapshot: Snapshot) -> str | None:
        """What makes going on from `snapshot` inexact here; None if nothing does."""
        threads = snapshot.facts.get("threads")
        if self.device.type == "cpu" and threads != torch.get_num_threads():
            return (
                f"saved with {threads} threads, going on with {torch.get_num_threads()}: sums are "
                "rounded differently, so the numbers will not be the same to the last bit"
            )
        return None

    def restore(self, snapshot: Snapshot) -> States | None:
        """Go back to `snapshot`; returns the recurrent state to go on from."""
        kinds = ("optimizer", "state", "random", "averaging")
        groups: dict[str, dict[str, Tensor]] = {kind: {} for kind in kinds}
        try:
            for key, tensor in snapshot.training.items():
                kind, _, name = key.partition(".")
                groups[kind][name] = tensor
            self.model.load_tensors(snapshot.model)
            if self.averaging is not None:
                self.averaging.restore(groups["averaging"], snapshot.model)
            restore_optimizer(self.optimizer, groups["optimizer"], snapshot.facts["optimizer"])
            states = {name: t.to(self.device) for name, t in groups["state"].items()}
            state = _nested(states) if states else None
            self._check_state(state)
            torch.set_rng_state(groups["random"]["cpu"])  # last: the check may draw numbers
            if self.device.type == "cuda" and "cuda" in groups["random"]:
                torch.cuda.set_rng_state(groups["random"]["cuda"], self.device)
        except (KeyError, ValueError, RuntimeError, TypeError) as error:
            why = " ".join(f"{error}".split())
            raise RunError(f"last/: the save does not fit this run's settings: {why}") from error
        return state

    def _check_state(self, state: States | None) -> None:
        """Try a carried state on one token; RuntimeError if it is none of this model and batch."""
        if state is None:
            return
        ids = torch.zeros(self.config.batch, 1, dtype=torch.int64, device=self.device)
        with torch.no_grad():
            self.forward(ids, state)


def detach(state: States | None) -> States | None:
    """The state without its history: gradients stop at the window's start."""
    if state is None or isinstance(state, Tensor):
        return None if state is None else state.detach()
    return tuple(part for one in state if (part := detach(one)) is not None)


def _flat(state: States | None) -> dict[str, Tensor]:
    """The tensors of a state by their place in it: "0", "1", or "0.0", "0.1" where nested."""
    if state is None:
        return {}
    parts = (state,) if isinstance(state, Tensor) else state
    flat: dict[str, Tensor] = {}
    for k, part in enumerate(parts):
        inner = {"": part} if isinstance(part, Tensor) else _flat(part)
        flat |= {f"{k}.{name}".rstrip("."): tensor for name, tensor in inner.items()}
    return flat


def _nested(flat: Mapping[str, Tensor]) -> States:
    """The state that `_flat` took apart; ValueError for names that it did not make."""
    parts: dict[int, dict[str, Tensor]] = {}
    for name, tensor in flat.items():
        place, _, rest = name.partition(".")
        parts.setdefault(int(place), {})[rest] = tensor
    if [*sorted(parts)] != [*range(len(parts))]:
        raise ValueError(f"the state has parts {sorted(parts)}")
    made = tuple(
        inner[""] if set(inner) == {""} else _nested(inner) for _, inner in sorted(parts.items())
    )
    return made[0] if len(made) == 1 else made


def _fabric(config: TrainConfig, device: torch.device) -> "Fabric":
    from lightning_fabric import Fabric  # half a second: only who trains waits for it

    devices = [device.index or 0] if device.type == "cuda" else 1
    return Fabric(accelerator=device.type, devices=devices, precision=config.precision)  # type: ignore[arg-type]
