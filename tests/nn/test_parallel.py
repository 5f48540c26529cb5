"""DistributedDataParallel: one process or two on this machine, the gradients of the whole batch."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import distributed

from cellwright.nn import LSTM
from cellwright.runtime import native

pytestmark = pytest.mark.skipif(
    native.missing() is not None or not distributed.is_available(), reason="no machine code or DDP"
)
I, H, T, ROWS = 4, 9, 5, 4

SCRIPT = """
import sys
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from cellwright.nn import LSTM
from cellwright.runtime.fast import FastProgram

ran, call = [], FastProgram.__call__
FastProgram.__call__ = lambda self, *args: ran.append(self.program.name) or call(self, *args)
folder, rank, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
given = torch.load(folder + "/given.pt")
distributed.init_process_group(
    "gloo", init_method="file://" + folder + "/store", rank=rank, world_size=size
)
layer = LSTM(4, 9, 2)
layer.load_state_dict(given["weights"])
mine = given["x"].chunk(size, dim=1)[rank]
model = DistributedDataParallel(layer)
output, _ = model(mine)
output.square().mean().backward()
assert len(ran) == 4, ran
if rank == 0:
    torch.save({name: p.grad for name, p in layer.named_parameters()}, folder + "/grads.pt")
distributed.barrier()  # nobody leaves while another still talks to it
distributed.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2])
def test_processes_share_their_gradients(size: int, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    layer, x = LSTM(I, H, 2), torch.randn(T, ROWS, I)
    layer(x)[0].square().mean().backward()
    torch.save({"weights": layer.state_dict(), "x": x}, tmp_path / "given.pt")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    processes = [
        subprocess.Popen([*command, str(rank), str(size)], stderr=subprocess.PIPE, text=True)
        for rank in range(size)
    ]
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert not any(process.returncode for process in processes), said
    found = torch.load(tmp_path / "grads.pt")
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-5, atol=1e-6)
