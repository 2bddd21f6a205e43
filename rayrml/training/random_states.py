"""The states of torch's random number generators, as an epoch begins and in the middle of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def read_states(device: torch.device) -> list[torch.Tensor]:
    """The states of torch's random number generators: the CPU's and, if training runs on it, the GPU's."""
    of_device = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *of_device]


def begin_epoch(seed: int, states: Sequence[torch.Tensor] | None, device: torch.device) -> None:
    """Put torch's random number generators into `states`, or begin with the seed of an epoch if there are none.

    The seed depends on the epoch, so a resumed run draws the same numbers as an uninterrupted one.
    """
    torch.manual_seed(seed)
    if states is not None:
        of_torch, *of_device = states
        torch.set_rng_state(of_torch)
        if of_device and device.type == "cuda":
            torch.cuda.set_rng_state(of_device[0], device)
