"""LLVM: the loop of a Program as text of LLVM's intermediate representation."""
