"""Floor 4: plans and the operator that runs them. Torch enters here."""

from cellwright.runtime.backend import checked_backend, chosen_backend, use_backend
from cellwright.runtime.compiled import fused, path_of, refused, say_once
from cellwright.runtime.operator import sequence, traced
from cellwright.runtime.plan import Plan, plan, plan_of

__all__ = [
    "Plan",
    "checked_backend",
    "chosen_backend",
    "fused",
    "path_of",
    "plan",
    "plan_of",
    "refused",
    "say_once",
    "sequence",
    "traced",
    "use_backend",
]
