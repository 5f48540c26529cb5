"""Machine: the name of the computer that a measurement was taken on."""

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from cellwright.bench.errors import WishError
from cellwright.runtime.native import processor


@dataclass(frozen=True)
class Host:
    """A computer and the software that is timed on it; `vectors` is LLVM's name of its kind."""

    name: str
    vectors: str
    cores: int
    system: str
    threads: int
    cellwright: str
    torch: str
    llvmlite: str

    def __str__(self) -> str:
        cores = "1 core" if self.cores == 1 else f"{self.cores} cores"
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return (
            f"{self.name} ({self.vectors}), {cores}, {self.system}; {threads}; "
            f"cellwright {self.cellwright}, torch {self.torch}, llvmlite {self.llvmlite}"
        )


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def host() -> Host:
    """Describe this computer, with torch's number of threads as it stands."""
    return Host(
        name=_name(),
        vectors=processor()[0],
        cores=cores(),
        system=f"{platform.system()} {platform.machine()}",
        threads=torch.get_num_threads(),
        cellwright=version("cellwright"),
        torch=torch.__version__,
        llvmlite=version("llvmlite"),
    )


def checked_threads(number: int) -> int:
    """Return a number of threads that this machine has, or raise WishError."""
    if not 1 <= number <= cores():
        raise WishError(
            f"threads: expected 1 to {cores()}, the cores of this machine; got {number}"
        )
    return number


def _name() -> str:
    """The processor's name as its maker writes it, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    if not names and platform.system() == "Darwin":
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
        names = [told] if told else []
    return names[0] if names else platform.processor() or platform.machine()
