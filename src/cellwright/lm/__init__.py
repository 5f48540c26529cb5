"""Language models: train, resume, evaluate, generate, compare.

The names are imported when they are first used, so that a command line starts without torch.
"""

# ruff: noqa: F401 - the imports below are for type checkers; __getattr__ makes the real ones

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cellwright.lm.attribution import Attribution
    from cellwright.lm.attribution.spans import AttributionError
    from cellwright.lm.comparison import Comparison, CurvePoint, Row, compare
    from cellwright.lm.config import (
        DEFAULT_EPOCHS,
        LEVELS,
        OPTIMIZERS,
        PRECISIONS,
        RESUMABLE,
        ConfigError,
        TrainConfig,
    )
    from cellwright.lm.errors import CorpusError, RunError, TrainingError, VocabularyError
    from cellwright.lm.evaluation import Evaluation, evaluate
    from cellwright.lm.events import (
        Comparing,
        Event,
        Finished,
        Saved,
        Started,
        Step,
        StopRequest,
        Validated,
        Warned,
    )
    from cellwright.lm.generation import Sampling
    from cellwright.lm.model import LanguageModel, ModelShape
    from cellwright.lm.plots import plot_comparison
    from cellwright.lm.recipes import RECIPES, configure
    from cellwright.lm.run import RunInfo, read_run
    from cellwright.lm.tensorboard import TensorBoard
    from cellwright.lm.tokenizer import Tokenizer
    from cellwright.lm.training import resume, train

_HOME = {
    "attribution": ("Attribution",),
    "attribution.spans": ("AttributionError",),
    "comparison": ("Comparison", "CurvePoint", "Row", "compare"),
    "config": (
        "DEFAULT_EPOCHS",
        "LEVELS",
        "OPTIMIZERS",
        "PRECISIONS",
        "RESUMABLE",
        "ConfigError",
        "TrainConfig",
    ),
    "errors": ("CorpusError", "RunError", "TrainingError", "VocabularyError"),
    "evaluation": ("Evaluation", "evaluate"),
    "events": (
        "Comparing",
        "Event",
        "Finished",
        "Saved",
        "Started",
        "Step",
        "StopRequest",
        "Validated",
        "Warned",
    ),
    "generation": ("Sampling",),
    "model": ("LanguageModel", "ModelShape"),
    "plots": ("plot_comparison",),
    "recipes": ("RECIPES", "configure"),
    "run": ("RunInfo", "read_run"),
    "tokenizer": ("Tokenizer",),
    "tensorboard": ("TensorBoard",),
    "training": ("resume", "train"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}
__all__ = sorted(_MODULE_OF)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_MODULE_OF]
