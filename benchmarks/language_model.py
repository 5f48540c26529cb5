"""Training steps of a character model beside the same model on torch.nn.LSTM.

    python benchmarks/language_model.py [TEXT] [--windows 40] [--threads 2]

The model is the recipe char-rnn's: 2 layers of 128 units, 50 streams of windows of 50. Both take
whole training steps (forward, backward, clipping, optimizer) on the same windows, in turn, in one
process; the table shows medians and their ratio. Without TEXT, the agreement language is read.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from cells import whole
from torch import nn

from cellwright import cells
from cellwright.bench import host
from cellwright.cli.faults import describe
from cellwright.language.errors import CellwrightError
from cellwright.lm import TrainConfig, configure
from cellwright.lm.corpus import Windows, encode_files
from cellwright.lm.engine import Engine, States, build_model, workplace
from cellwright.lm.tokenizer import Tokenizer
from cellwright.tasks.agreement import AgreementConfig, generate


def engines(config: TrainConfig, tokenizer: Tokenizer) -> tuple[Engine, Engine]:
    """Return an engine with Cellwright's layers and one with torch.nn.LSTM in their place."""
    ours = build_model(config, cells.find("lstm"), tokenizer)
    theirs = build_model(config, cells.find("lstm"), tokenizer)
    shape = theirs.shape
    peer = nn.LSTM(shape.embed, shape.hidden, shape.layers, batch_first=True)
    with torch.no_grad():
        for name, weight in ours.recurrent.named_parameters():
            getattr(peer, name).copy_(weight)
            if name.startswith("bias_ih"):
                getattr(peer, name.replace("ih", "hh")).zero_()
    theirs.recurrent = peer  # type: ignore[assignment]
    theirs.embedding.load_state_dict(ours.embedding.state_dict())
    theirs.decoder.load_state_dict(ours.decoder.state_dict())
    device = torch.device("cpu")
    return Engine(config, ours, device), Engine(config, theirs, device)


def run(config: TrainConfig, text: Path, folder: Path, count: int) -> None:
    """Time steps in turn and print the table; the tokens go to the folder."""
    tokenizer = Tokenizer.train([text], "char")
    tokens = encode_files([text], tokenizer, folder / "tokens")
    windows = Windows(tokens.ids, config.batch, config.steps)
    pair = engines(config, tokenizer)
    states: list[States | None] = [None, None]
    seconds: list[list[float]] = [[], []]
    losses = [0.0, 0.0]
    for k, (x, y) in enumerate(windows):
        if k == count + 3:
            break
        for side, engine in enumerate(pair):
            begin = time.perf_counter()
            losses[side], _, states[side] = engine.step(x, y, states[side])
            if k >= 3:  # the first steps warm the caches
                seconds[side].append(time.perf_counter() - begin)
        if k == 0 and abs(losses[0] - losses[1]) > 1e-4:
            raise SystemExit(f"the two models differ: {losses[0]:.6f} and {losses[1]:.6f} nats")
    ours, theirs = (statistics.median(side) for side in seconds)
    size = config.batch * config.steps
    ratio = statistics.median(b / a for a, b in zip(*seconds, strict=True))
    print(f"{host()}; {count} steps of {size} tokens, medians\n")
    print(f"| path: {pair[0].model.recurrent.explain()} | tokens/s |\n|---|---|")
    print(f"| Cellwright | {size / ours:,.0f} |\n| torch.nn.LSTM | {size / theirs:,.0f} |")
    print(f"\nratio Cellwright / torch.nn.LSTM: {ratio:.2f}")


def main() -> None:
    """Read the arguments and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("text", nargs="?", type=Path)
    parser.add_argument("--windows", type=whole(1), default=40)
    parser.add_argument("--threads", type=whole(1), default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        if args.text is None:
            text.write_text(generate(AgreementConfig(sentences=5_000)).text("train"))
        else:
            text = args.text
        config = configure("char-rnn", {"files": (str(text),), "threads": args.threads})
        try:
            with workplace(config):
                run(config, text, Path(folder), args.windows)
        except CellwrightError as error:
            parser.exit(2, f"{parser.prog}: {describe(error)}\n")


if __name__ == "__main__":
    main()
