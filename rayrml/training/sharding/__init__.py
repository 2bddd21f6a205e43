"""What each worker keeps of a training, and what it gets from the others when it needs that: a class for each way."""

from rayrml.networks.network import Network
from rayrml.training.gradients import Compression
from rayrml.training.sharding.fsdp import FullSharding
from rayrml.training.sharding.sharding import Exchange, Sharding
from rayrml.training.sharding.zero1 import StateSharding
from rayrml.workers import Workers

SHARDINGS: dict[str, type[Sharding]] = {"none": Sharding, "zero1": StateSharding, "fsdp": FullSharding}


def divide(way: str, network: Network, workers: Workers, compression: Compression) -> Sharding:
    """What divides a network's training among workers in a `way` of the table; one worker has nothing to divide.

    `compression` is that of the gradients that workers exchange.
    """
    return (SHARDINGS[way] if workers.size > 1 else Sharding)(network, workers, compression=compression)


__all__ = ["SHARDINGS", "Exchange", "FullSharding", "Sharding", "StateSharding", "divide"]
