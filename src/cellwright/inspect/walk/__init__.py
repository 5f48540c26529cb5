"""A walk through a model's own numbers, step by step: as rows, and as a page."""
