"""Cellwright: write a recurrent cell as its equations; get the layer, and what belongs to it.

from cellwright import Cell, Input, State, affine, sigmoid, tanh
from cellwright.nn import Recurrent
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cellwright.language import (
    Cell,
    CellError,
    CellFileError,
    CellwrightError,
    Input,
    Mask,
    Stack,
    State,
    Width,
    affine,
    bias,
    bidirectional,
    cell_from_json,
    cell_to_json,
    concat,
    diagonal,
    exp,
    fit,
    hidden,
    layer_norm,
    layer_normed,
    linear,
    log,
    maximum,
    minimum,
    modules,
    proj,
    projected,
    recurrent_dropout,
    relu,
    residual,
    sigmoid,
    split,
    stacked,
    tanh,
    weight_dropped,
    where,
    zoneout,
)

if TYPE_CHECKING:
    from cellwright.runtime import use_backend

__version__ = version("cellwright")


class _AtTorch(MetaPathFinder, Loader):
    """Registers the operators of `cellwright.runtime` as soon as torch has been imported.

    `torch.export.load` must find them in a process that has imported this package and torch in
    whatever order; and torch takes most of a second, which the command line's help does not need.
    """

    loader: Any = None

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find torch as it would be found without us; to find is not yet to import."""
        if fullname != "torch":
            return None
        others = [finder for finder in sys.meta_path if not isinstance(finder, _AtTorch)]
        found = (f.find_spec(fullname, path, target) for f in others if hasattr(f, "find_spec"))
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            ours = _AtTorch()
            ours.loader, spec.loader = spec.loader, ours
        return spec

    def __getattr__(self, name: str) -> Any:
        """Be torch's own loader to whoever asks for more."""
        return getattr(self.loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Let torch's own loader make the module."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Import torch with its own loader, then register."""
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        sys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, _AtTorch)]
        _register()


def _register() -> None:
    """Register the operators, unless the import that asked for torch is about to."""
    if "cellwright.runtime" not in sys.modules:
        import_module("cellwright.runtime")


if "torch" in sys.modules:
    _register()
else:
    sys.meta_path.insert(0, _AtTorch())


def __getattr__(name: str) -> Any:
    """`use_backend`, which needs torch: fetched when it is asked for."""
    if name == "use_backend":
        from cellwright.runtime import use_backend

        return use_backend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _as_latex(cell: type[Cell]) -> str | None:
    """Show a cell in a notebook as its equations; Cell itself has none."""
    from cellwright.targets.latex import aligned

    graph = cell.__dict__.get("graph")
    return None if graph is None else f"$$\n{aligned(graph)}\n$$"


def _as_svg(cell: type[Cell]) -> str | None:
    """Show a cell in a notebook as its diagram; Cell itself and one too large have none."""
    from cellwright.targets.svg import single, svg

    graph = cell.__dict__.get("graph")
    try:
        return None if graph is None else svg(single(graph))
    except CellError:
        return None


# The language knows nothing of the targets above it; what a notebook asks a cell is put on here.
for _name, _view in (("_repr_latex_", _as_latex), ("_repr_svg_", _as_svg)):
    setattr(type(Cell), _name, _view)


__all__ = [
    "Cell",
    "CellError",
    "CellFileError",
    "CellwrightError",
    "Input",
    "Mask",
    "Stack",
    "State",
    "Width",
    "affine",
    "bias",
    "bidirectional",
    "cell_from_json",
    "cell_to_json",
    "concat",
    "diagonal",
    "exp",
    "fit",
    "hidden",
    "layer_norm",
    "layer_normed",
    "linear",
    "log",
    "maximum",
    "minimum",
    "modules",
    "proj",
    "projected",
    "recurrent_dropout",
    "relu",
    "residual",
    "sigmoid",
    "split",
    "stacked",
    "tanh",
    "use_backend",
    "weight_dropped",
    "where",
    "zoneout",
]
