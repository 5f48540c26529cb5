"""The conditions that every test runs under are really in force."""

import os
import random
import socket
import warnings

import pytest
import torch


def test_unwritten_memory_is_nan():
    assert torch.empty(64).isnan().all()
    assert torch.empty_like(torch.zeros(64, dtype=torch.float64)).isnan().all()


@pytest.mark.parametrize("attempt", range(2))
def test_every_test_starts_from_the_same_seed(attempt):
    assert random.random() == pytest.approx(0.8444218515250481, abs=1e-15)
    assert torch.initial_seed() == 0


def test_warnings_are_errors():
    with pytest.raises(UserWarning):
        warnings.warn("look here", stacklevel=1)


def test_other_machines_are_out_of_reach():
    with socket.socket() as outside, pytest.raises(AssertionError, match="192.0.2.1"):
        outside.connect(("192.0.2.1", 80))


def test_this_machine_is_in_reach():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.connect(server.getsockname())


def test_one_thread_a_process():
    assert torch.get_num_threads() == int(os.environ["OMP_NUM_THREADS"])
