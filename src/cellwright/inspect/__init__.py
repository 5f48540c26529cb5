"""Floor 7: looking inside a trained model, from its equations and its weights."""
