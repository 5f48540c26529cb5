"""Fence: every buffer that machine code is given, moved next to memory that no one may touch.

A read or write one byte beyond a buffer ends the process on one side of it, and on the other
side changes bytes that are looked at afterwards.
"""

import ctypes
import faulthandler
import mmap
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from cellwright.runtime import loops, threads

FILL = 0xFF  # a float of such bytes is NaN


KEPT = 200  # regions; one call of a layer takes far fewer


@dataclass(frozen=True)
class Region:
    """A copy of a buffer, between guard pages or bytes; `before` is what it held when last seen."""

    pages: mmap.mmap  # keeps the memory
    low: int  # the pages that may be touched
    high: int
    address: int
    original: int
    before: bytes


@dataclass
class Fences:
    """Stands in for `Tensor.data_ptr`; `at_end` puts the closed page behind the buffer."""

    at_end: bool
    real: Callable[[Tensor], int]
    regions: list[Region] = field(default_factory=list)
    count: int = 0

    def address(self, tensor: Tensor) -> int:
        """Return where machine code finds a copy of the tensor's memory."""
        original = self.real(tensor)
        if not tensor.numel():
            return original
        sizes = zip(tensor.shape, tensor.stride(), strict=True)
        size = (1 + sum((n - 1) * step for n, step in sizes)) * tensor.element_size()
        for k, r in enumerate(self.regions):  # one memory, one copy: the next loop reads it too
            if (r.original, len(r.before)) == (original, size):
                before = ctypes.string_at(original, size)
                ctypes.memmove(r.address, original, size)
                del self.regions[k]
                self.regions.append(replace(r, before=before))
                return r.address
        low, high, pages = self._pages(size)
        address = high - size if self.at_end else low
        ctypes.memset(low, FILL, high - low)
        ctypes.memmove(address, original, size)
        before = ctypes.string_at(original, size)
        self.regions.append(Region(pages, low, high, address, original, before))
        self.count += 1
        return address

    def _pages(self, size: int) -> tuple[int, int, mmap.mmap]:
        """Return the edges of whole pages between two closed ones."""
        page = mmap.PAGESIZE
        inner = -(-size // page) * page
        pages = mmap.mmap(-1, inner + 2 * page)
        first = ctypes.addressof(ctypes.c_char.from_buffer(pages))
        libc = ctypes.CDLL(None, use_errno=True)
        for closed in (first, first + page + inner):
            if libc.mprotect(ctypes.c_void_p(closed), ctypes.c_size_t(page), 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        return first + page, first + page + inner, pages

    def settle(self) -> None:
        """Copy what machine code wrote back to where it belongs; look at the guard bytes."""
        for k, r in enumerate(self.regions):
            size = len(r.before)
            after = ctypes.string_at(r.address, size)
            if after != r.before:
                ctypes.memmove(r.original, r.address, size)
                self.regions[k] = replace(r, before=after)
            left = ctypes.string_at(r.low, r.address - r.low)
            right = ctypes.string_at(r.address + size, r.high - r.address - size)
            assert not (left + right).strip(bytes([FILL])), f"written outside of {size} bytes"
        del self.regions[:-KEPT]  # one call runs several loops, and all of them use its buffers

    def install(self) -> None:
        """Fence everything from here on; only for a process that will end soon."""
        run, run_units = threads.share, threads.share_units

        def share(*args: Any) -> None:
            run(*args)
            self.settle()

        def share_units(*args: Any) -> None:
            run_units(*args)
            self.settle()

        def areas(like: Tensor, sizes: Sequence[int]) -> tuple[object, list[int]]:
            kept = [like.new_empty(size) for size in sizes]
            return kept, [self.address(t) for t in kept]

        setattr(torch.Tensor, "data_ptr", lambda tensor: self.address(tensor))  # noqa: B010
        threads.share, threads.share_units = share, share_units
        loops.areas = areas


def fenced(check: Callable[[], None], *, at_end: bool) -> int | None:
    """Run a check with fences in a process of its own; returns how that ended, 0 where well."""

    def work() -> None:
        faulthandler.disable()  # a closed page that is touched says so by how the process ends
        fences = Fences(at_end, torch.Tensor.data_ptr)
        fences.install()
        check()
        assert fences.count, "nothing was fenced"

    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join(120)
    if child.exitcode is None:
        child.kill()
    return child.exitcode
