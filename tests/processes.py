"""Processes on this machine that act as the workers of one run."""

import contextlib
import multiprocessing
import socket
from multiprocessing import forkserver

import torch.distributed

from rayrml.workers import Workers

# A server forks them: it imports PyTorch once for all of them, with dynamo, which optimizers import at first use.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["pytest", "torch._dynamo", "rayrml.inference.evaluation", "rayrml.training.step"])


def start_server():
    """Start the server that forks the processes; it takes seconds, during which the caller can continue."""
    forkserver.ensure_running()


def on_workers(work, *sizes, timeout=120):
    """size -> the results of `work(workers)` in this many processes; all sizes use the same processes.

    `work` is a module's function or a partial of one, and has `timeout` seconds for all sizes.
    """
    queue = _CONTEXT.Queue()
    ports = dict(zip(sizes, free_ports(len(sizes)), strict=True))
    processes = [_CONTEXT.Process(target=_work, args=(work, rank, ports, queue)) for rank in range(max(sizes))]
    for process in processes:
        process.start()
    results = dict(queue.get(timeout=timeout) for _ in processes)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return {size: [results[rank][size] for rank in range(size)] for size in sizes}


def _work(work, rank, ports, queue):
    torch.set_num_threads(1)  # there are more processes than processors
    results = {}
    for size, port in ports.items():
        if rank < size:
            address = f"tcp://127.0.0.1:{port}"
            torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=size)
            results[size] = work(Workers(rank, size))
            torch.distributed.destroy_process_group()
    queue.put((rank, results))


def free_ports(count):
    """Distinct ports that nothing listens on."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
