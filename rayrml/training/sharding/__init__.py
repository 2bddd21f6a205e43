"""What each worker keeps of a training, and what it gets from the others when it needs that: a class for each way."""

from rayrml.networks.network import Network
from rayrml.training.gradients import Compression
from rayrml.training.sharding.sharding import Exchange, Sharding
from rayrml.training.sharding.zero1 import StateSharding
from rayrml.workers import Workers


def divide(way: str, network: Network, workers: Workers, compression: Compression) -> Sharding:
    """What divides a network's training among workers in one of the ways; one worker has nothing to divide.

    `compression` is that of the gradients that workers exchange.
    """
    kind = Sharding
    if workers.size > 1 and way == "zero1":
        kind = StateSharding
    elif workers.size > 1 and way == "fsdp":
        from rayrml.training.sharding.fsdp import FullSharding  # PyTorch's part of it takes half a second to import

        kind = FullSharding
    return kind(network, workers, compression=compression)


__all__ = ["Exchange", "Sharding", "StateSharding", "divide"]
