"""Floor 4: plans and the operator that runs them. Torch enters here."""

from cellwright.runtime.operator import sequence, traced
from cellwright.runtime.plan import Plan, plan, plan_of

__all__ = ["Plan", "plan", "plan_of", "sequence", "traced"]
