"""Floor 4: plans and the operator that runs them. Torch enters here."""

from cellwright.runtime.backend import checked_backend, chosen_backend, use_backend
from cellwright.runtime.compiled import (
    COMPUTED_IN,
    TRANSFORMS,
    computed_in,
    path_of,
    recorded,
    refused,
    resolved,
    say_once,
    unserved,
)
from cellwright.runtime.operator import run_eagerly, run_reference, run_traced, sequence
from cellwright.runtime.passes import CHUNK_OF_ANY, Call, chunk_length
from cellwright.runtime.plan import Plan, plan, plan_of

__all__ = [
    "CHUNK_OF_ANY",
    "COMPUTED_IN",
    "TRANSFORMS",
    "Call",
    "Plan",
    "checked_backend",
    "chosen_backend",
    "chunk_length",
    "computed_in",
    "path_of",
    "plan",
    "plan_of",
    "recorded",
    "refused",
    "resolved",
    "run_eagerly",
    "run_reference",
    "run_traced",
    "say_once",
    "sequence",
    "unserved",
    "use_backend",
]
