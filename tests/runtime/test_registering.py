"""`import cellwright` is enough for a graph that was exported in another process."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cellwright.nn import Recurrent

LOAD = """
import torch
x = torch.linspace(-1, 1, 30).view(5, 2, 3)
torch.save(torch.export.load({path!r}).module()(x), {path!r} + ".output")
"""
FIRST = {
    "cellwright, torch": "import cellwright",
    "torch, cellwright": "import torch; import cellwright",
    "looked for before": (
        "import cellwright, importlib.util; assert importlib.util.find_spec('torch')"
    ),
}


class Head(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = Recurrent("gru", 3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, torch.Tensor]:
    """A saved graph, and what it gives for LOAD's input."""
    torch.manual_seed(0)
    head, x = Head(), torch.linspace(-1, 1, 30).view(5, 2, 3)
    path = str(tmp_path_factory.mktemp("exported") / "head.pt2")
    torch.export.save(torch.export.export(head, (x,)), path)
    return path, head(x).detach()


@pytest.mark.parametrize("order", FIRST)
def test_the_package_alone_registers_the_operators(exported, order):
    path, wanted = exported
    program = FIRST[order] + LOAD.format(path=path)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    torch.testing.assert_close(torch.load(path + ".output").detach(), wanted)


@pytest.mark.parametrize(
    "first", ["cellwright.nn", "cellwright.runtime.plan", "cellwright.lm.model", "cellwright.tasks"]
)
def test_every_way_in_registers_once(first):
    program = (
        f"import {first}, torch, sys, cellwright; torch.ops.cellwright.sequence.default\n"
        "assert type(torch.__loader__).__name__ == 'SourceFileLoader', torch.__loader__\n"
        "assert torch.__spec__.loader is torch.__loader__\n"
        "assert not any(type(f).__module__ == 'cellwright' for f in sys.meta_path)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=120)


def test_the_command_line_does_without_torch(tmp_path: Path):
    program = (
        "import sys\nfrom cellwright.cli import main\n"
        "code = main(['--help'])\nassert 'torch' not in sys.modules\nsys.exit(code)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, capture_output=True)
