"""Floor 3: from a Program to text or bytes."""
