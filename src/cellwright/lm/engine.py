"""Where training runs: device, precision, optimizer, random state; and all of it as a snapshot."""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cellwright.lm.config import ConfigError, TrainConfig
from cellwright.lm.errors import RunError, TrainingError
from cellwright.lm.model import LanguageModel, ModelShape, States
from cellwright.lm.optimise import make_optimizer, optimizer_state, restore_optimizer
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


def _fits(config: TrainConfig, vocab: int) -> None:
    """Refuse a model whose recurrent, embedding and output weights alone exceed the memory."""
    hidden, embed = config.hidden, config.embed_size
    weights = config.layers * hidden * hidden + hidden * embed + vocab * (hidden + embed)
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
        self.clip = config.clip or math.inf
        self.batch = config.batch
        self.fabric = _fabric(config, device)
        optimizer = make_optimizer(config, model)
        self.forward, self.optimizer = self.fabric.setup(model, optimizer)
        self.model.train()

    def step(self, x: Tensor, y: Tensor, state: States | None) -> tuple[float, float, States]:
        """Learn from one window: x, y [B, T]. Returns nats per token, gradient norm, new state.

        The gradient is that of the loss summed over T and averaged over B (see TrainConfig).
        TrainingError, with the weights as they were, if the loss or the gradient is not finite.
        """
        x, y = x.to(self.device), y.to(self.device)
        logits, after = self.forward(x, detach(state))  # [B, T, V]
        loss = cross_entropy(logits.flatten(0, 1), y.flatten())
        nats = loss.item()
        if not math.isfinite(nats):
            raise TrainingError(f"the loss is {nats}")
        self.optimizer.zero_grad()
        self.fabric.backward(loss * x.shape[1])
        norm = float(
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip, foreach=True)
        )
        if not math.isfinite(norm):
            raise TrainingError(f"the gradient's norm is {norm} (the loss is {nats:.4g})")
        self.optimizer.step()
        return float(nats), norm, after

    def snapshot(
        self, position: Position, state: States | None, facts: Mapping[str, Any]
    ) -> Snapshot:
        """All that `restore` needs. The tensors are the live ones: save before the next step."""
        tensors, rest = optimizer_state(self.optimizer)
        training = {f"optimizer.{name}": tensor for name, tensor in tensors.items()}
        training |= {f"state.{k}": tensor for k, tensor in enumerate(_as_tuple(state))}
        training["random.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            training["random.cuda"] = torch.cuda.get_rng_state(self.device)
        facts = {**facts, "optimizer": rest, "threads": torch.get_num_threads()}
        return Snapshot(position, self.model.tensors(), training, facts)

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
        groups: dict[str, dict[str, Tensor]] = {"optimizer": {}, "state": {}, "random": {}}
        try:
            for key, tensor in snapshot.training.items():
                kind, _, name = key.partition(".")
                groups[kind][name] = tensor
            self.model.load_tensors(snapshot.model)
            restore_optimizer(self.optimizer, groups["optimizer"], snapshot.facts["optimizer"])
            states = [groups["state"][name] for name in sorted(groups["state"], key=int)]
            moved = tuple(tensor.to(self.device) for tensor in states)
            state = None if not moved else moved[0] if len(moved) == 1 else moved
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
        ids = torch.zeros(self.batch, 1, dtype=torch.int64, device=self.device)
        with torch.no_grad():
            self.forward(ids, state)


def detach(state: States | None) -> States | None:
    """The state without its history: gradients stop at the window's start."""
    if state is None or isinstance(state, Tensor):
        return None if state is None else state.detach()
    return tuple(tensor.detach() for tensor in state)


def _as_tuple(state: States | None) -> tuple[Tensor, ...]:
    if state is None:
        return ()
    return (state,) if isinstance(state, Tensor) else tuple(state)


def _fabric(config: TrainConfig, device: torch.device) -> "Fabric":
    from lightning_fabric import Fabric  # half a second: only who trains waits for it

    devices = [device.index or 0] if device.type == "cuda" else 1
    return Fabric(accelerator=device.type, devices=devices, precision=config.precision)  # type: ignore[arg-type]
