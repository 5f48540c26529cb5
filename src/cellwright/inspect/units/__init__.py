"""What the units of a language model carry, and where else they are on."""
