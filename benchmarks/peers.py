"""Cells as machine code, beside JAX's `lax.scan` and ONNX Runtime's operators, as Markdown.

    python benchmarks/peers.py [--cells lstm,gru] [--shapes 100x16x128] [--repeats 9] [--threads 2]

A peer that is not installed is left out, and a line says how to install it.
"""

from cells import measure

if __name__ == "__main__":
    measure("lstm,gru,rnn,peephole", (__doc__ or "").splitlines()[0], peers=True)
