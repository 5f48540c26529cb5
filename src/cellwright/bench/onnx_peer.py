"""ONNX Runtime: its own LSTM, GRU and RNN operators, with a layer's weights. Inference only."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cellwright.bench.extras import found, lacking
from cellwright.bench.sides import Drawn, Outcome, Side, Subject

NAME = "onnx"
OPERATORS = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}
# ONNX's gates (i o f c; z r h) among torch's (i f g o; r z n).
ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn": (0,)}
STATES = {"lstm": ("h", "c"), "gru": ("h",), "rnn": ("h",)}
# Old enough for every runtime that the extra admits.
OPSET, FORMAT = 14, 8


def missing(dtype: torch.dtype) -> str | None:
    """Say why there is nothing to compare with, or None."""
    if dtype != torch.float32:
        return "without ONNX Runtime: its recurrent operators know float32 alone"
    return lacking("ONNX Runtime", "onnx", "onnxruntime")


def side(subject: Subject, layer: nn.Module, x: Tensor, threads: int) -> Side | None:
    """A cell with a layer's weights over a sequence; None for one that ONNX has no operator of."""
    if subject.known not in OPERATORS:
        return None
    run = session(subject.known, dict(layer.named_parameters()), threads, begin=False)
    given = {"X": x.numpy()}

    def outcome(drawn: Drawn) -> Outcome:
        output, *last = run({"X": drawn.inputs[0].numpy()})
        values = {"output": torch.from_numpy(output).squeeze(1)}
        names = (f"last {name}" for name in STATES[subject.known or ""])
        values |= zip(names, map(torch.from_numpy, last), strict=True)
        return Outcome(values)

    return Side(NAME, outcome, lambda: run(given), None)


def session(
    cell: str, weights: Mapping[str, Tensor], threads: int, *, begin: bool
) -> Callable[[Mapping[str, Any]], list[Any]]:
    """Return a function of the feeds X [T, B, I] and, with `begin`, first_h, first_c [1, B, H].

    It returns numpy arrays: the output [T, 1, B, H] and the final states [1, B, H].
    """
    runtime: Any = found("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Its threads spin while it runs, but not on, into another's turn.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    made = _model(cell, weights, begin).SerializeToString()
    session = runtime.InferenceSession(made, options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, feeds)


def _model(cell: str, weights: Mapping[str, Tensor], begin: bool) -> Any:
    onnx: Any = found("onnx")
    helper = onnx.helper
    hidden = weights["weight_hh_l0"].shape[1]
    states = STATES[cell]

    def port(name: str, *shape: object) -> Any:
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(shape))

    def constant(name: str, value: Tensor) -> Any:
        return onnx.numpy_helper.from_array(value.contiguous().numpy(), name)

    inputs = [port("X", "T", "B", weights["weight_ih_l0"].shape[1])]
    inputs += [port(f"first_{s}", 1, "B", hidden) for s in states if begin]
    outputs = [port("Y", "T", 1, "B", hidden), *(port(f"last_{s}", 1, "B", hidden) for s in states)]
    first = [f"first_{s}" for s in states] if begin else []
    node = helper.make_node(
        OPERATORS[cell], ["X", "W", "R", "B", "", *first][: 5 + len(first) if begin else 4],
        [port.name for port in outputs], hidden_size=hidden,
        **({"linear_before_reset": 1} if cell == "gru" else {}),
    )  # fmt: skip
    both = torch.cat([_gates(weights[f"bias_{kind}_l0"], cell) for kind in ("ih", "hh")])
    constants = [
        constant("W", _gates(weights["weight_ih_l0"], cell)[None]),
        constant("R", _gates(weights["weight_hh_l0"], cell)[None]),
        constant("B", both[None]),
    ]
    graph = helper.make_graph([node], cell, inputs, outputs, constants)
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=FORMAT)


def _gates(weight: Tensor, cell: str) -> Tensor:
    """Put torch's blocks of rows into ONNX's order."""
    parts = weight.detach().chunk(len(ORDER[cell]))
    return torch.cat([parts[k] for k in ORDER[cell]])
