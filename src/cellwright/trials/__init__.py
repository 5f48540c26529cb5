"""Floor 7: cells compared on tasks that are not texts."""
