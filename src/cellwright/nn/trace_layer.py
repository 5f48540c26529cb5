"""What a layer can be asked about its inside, and told to put there: `trace` and `patched`."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from cellwright.nn import trace_patch, trace_run
from cellwright.nn.layers import Layer
from cellwright.nn.running import Tensors
from cellwright.nn.states import States
from cellwright.nn.trace import Trace
from cellwright.nn.trace_patch import Patch
from cellwright.nn.trace_select import Choice

if TYPE_CHECKING:
    from cellwright.nn.recurrent import Recurrent


class Seen(nn.Module):
    """Base of the layers that can be looked into; `Recurrent` is the one there is."""

    _layers: tuple[Layer, ...]
    _patched: tuple[Layer, ...] | None = None

    @property
    def _running(self) -> tuple[Layer, ...]:
        """The layers that run: those of the stack, or within `patched` what stands for them."""
        return self._layers if self._patched is None else self._patched

    @property
    def trace_names(self) -> tuple[str, ...]:
        """Full names of all that `trace` can see and `patched` replace, the lowest layer first."""
        return trace_run.names_of(self._layers)

    def trace(
        self,
        input: Tensor | PackedSequence | Tensors,
        hx: States | None = None,
        names: str | Iterable[str] = "*",
        *,
        units: Choice = None,
        time: Choice = None,
        lengths: Tensor | Sequence[int] | None = None,
        reset: Tensor | None = None,
    ) -> Trace:
        """Run over a sequence as `forward` does, and return named values at every step.

        input, hx, lengths, reset: as for `forward`. names: patterns, `["f", "layers.1.c", "*.f"]`;
        a name alone is that of every layer. `f` is the value of an equation and `f.pre` what its
        outermost squashing function is applied to; a state is `c` after the step and `c.prev`
        before it; inputs have their names too. What a backward direction computes is
        `layers.0_reverse.f`, at the step of the input that it belongs to.
        units, time: which to keep, a number, a list or a slice; the others take no memory when
        the layer is done.
        Values are [T, B, width], or as the input lies; beyond a row's length they are zero, and a
        packed batch comes padded, in the caller's order. They carry gradients where the output
        does. TraceError names the nearest where nothing has a name.
        """
        module = cast("Recurrent", self)
        return trace_run.traced(module, input, hx, names, (time, units), (lengths, reset))

    def patched(self, patches: Mapping[str, Patch]) -> AbstractContextManager["Recurrent"]:
        """Within a `with` block, put what functions return in the place of named values.

        patches: `{"f": fn}`, names as in `trace`; `fn(value, step)` gets the value [B, width] and
        the step of the call, and returns what stands for it, of the same shape and dtype. All that
        reads the value in this step and later reads the other; gradients flow through `fn`. In a
        backward direction step 0 is the first that it reads, each row's last. The layers that it
        concerns run on the reference path, one step after another, which the log says once and
        `explain()` in the block. Blocks within one another add up.

        TraceError for a name that is not there; RuntimeError with backend="llvm", `recompute`, or
        in a traced graph.
        """
        return trace_patch.patched(cast("Recurrent", self), patches)
