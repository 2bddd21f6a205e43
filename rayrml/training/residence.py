"""Where preloaded samples can stay: whether those of all workers fit into a machine's memory, and into a GPU's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import torch

from rayrml.formatting import format_bytes
from rayrml.memory import available_memory, machine_name, shared_memory


@dataclasses.dataclass(frozen=True)
class Share:
    """What one worker needs of a memory that it may share with others.

    Attributes:
        place: which memory; workers with the same place share it.
        needed: bytes that this worker needs.
        free: bytes that are free for all workers of the place.
        own_limit: bytes that this worker may have, None for no limit of its own.
    """

    place: str
    needed: int
    free: int
    own_limit: int | None = None


def share_of_machine(needed: int) -> Share:
    """A worker's share of its machine's memory."""
    return Share(machine_name(), needed, shared_memory(), available_memory())


def share_of_gpu(needed: int, device: torch.device) -> Share:
    """A worker's share of its GPU's memory, which other workers have a share of if each asks for a part of a GPU."""
    identity = getattr(torch.cuda.get_device_properties(device), "uuid", device)
    return Share(f"{machine_name()} {identity}", needed, torch.cuda.mem_get_info(device)[0])


def fits(share: Share, shares: Iterable[Share]) -> bool:
    """Whether a share's memory has room for all `shares` of it."""
    together = [other for other in shares if other.place == share.place]
    return sum(other.needed for other in together) <= min(other.free for other in together)


def describe_lack(shares: Sequence[Share]) -> str | None:
    """What is needed and what is available where the workers' shares do not fit, None if they all do."""
    for share in shares:
        if share.own_limit is not None and share.needed > share.own_limit:
            return f"{_each(share)}, but {format_bytes(share.own_limit)} are available"
        if not fits(share, shares):
            needed = [other.needed for other in shares if other.place == share.place]
            free = format_bytes(min(other.free for other in shares if other.place == share.place))
            count = f", {format_bytes(sum(needed))} in all {len(needed)} of one machine" if len(needed) > 1 else ""
            return f"{_each(share)}{count}, but {free} are available"
    return None


def _each(share: Share) -> str:
    return f"{format_bytes(share.needed)} of memory in each worker"
