"""How far back the gradient of a state reaches."""

from cellwright.inspect.gradients.flow import GradientError, LayerFlow, StateFlow, gradient_flow

__all__ = ["GradientError", "LayerFlow", "StateFlow", "gradient_flow"]
