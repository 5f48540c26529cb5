"""Sequences: lengths, packed batches, episode starts, and reading backwards."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


def unpack(packed: PackedSequence) -> tuple[Tensor, Tensor]:
    """Return a packed batch padded, [T, B, ...] in its sorted order, and its lengths [B]."""
    plain = PackedSequence(packed.data, packed.batch_sizes, None, None)
    return pad_packed_sequence(plain)


def repack(padded: Tensor, lengths: Tensor, like: PackedSequence) -> PackedSequence:
    """Pack [T, B, ...] again, with the order that `like` remembers; `lengths` are on the CPU."""
    data = pack_padded_sequence(padded, lengths, enforce_sorted=True).data
    return PackedSequence(data, like.batch_sizes, like.sorted_indices, like.unsorted_indices)


def valid_mask(lengths: Tensor, steps: int) -> Tensor:
    """Return [T, B], True where a step lies within its row's length."""
    return torch.arange(steps, device=lengths.device)[:, None] < lengths


def dropout_packed(padded: Tensor, lengths: Tensor, p: float, training: bool) -> Tensor:
    """Drop units of [T, B, width], drawing for the valid steps alone.

    torch.nn draws so for a packed batch: the same seed then gives the same numbers.
    """
    valid = valid_mask(lengths, padded.shape[0])
    kept = F.dropout(padded[valid], p, training)
    return torch.zeros_like(padded).masked_scatter(valid[..., None], kept)


def backwards(sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """Turn [T, B, ...] round in time, each row within its own length; its own inverse."""
    if lengths is None:
        return sequence.flip(0)
    steps = torch.arange(sequence.shape[0], device=sequence.device)[:, None]
    index = torch.where(steps < lengths, lengths - 1 - steps, steps)  # [T, B]
    rest = sequence.dim() - 2
    index = index.reshape(*index.shape, *(1,) * rest).expand(-1, -1, *sequence.shape[2:])
    return sequence.gather(0, index)


def reset_within(reset: Tensor, lengths: Tensor | None) -> Tensor:
    """Drop the resets beyond each row's end: nothing happens there."""
    return reset if lengths is None else reset & valid_mask(lengths, reset.shape[0])


def reset_backwards(reset: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the reset mask for a pass backwards in time.

    An episode that begins at step t ends, read backwards, after t: the step read next, t - 1,
    starts afresh.
    """
    never = torch.zeros_like(reset[:1])
    return backwards(torch.cat((reset[1:], never)), lengths)
