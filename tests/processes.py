"""Processes of this machine that are the workers of one run."""

import contextlib
import multiprocessing
import socket

import torch.distributed

from rayrml.workers import Workers


def on_workers(work, *sizes, timeout=120):
    """size -> what `work(workers)` gives in each of so many processes, for all sizes with the same processes.

    `work` is a function of a module, or a partial one, and has `timeout` seconds for all sizes.
    """
    # The server imports PyTorch once for all processes; with dynamo, which its optimizers would import in each.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([getattr(work, "func", work).__module__, "torch._dynamo"])
    queue = context.Queue()
    ports = dict(zip(sizes, free_ports(len(sizes)), strict=True))
    processes = [context.Process(target=_work, args=(work, rank, ports, queue)) for rank in range(max(sizes))]
    for process in processes:
        process.start()
    results = dict(queue.get(timeout=timeout) for _ in processes)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return {size: [results[rank][size] for rank in range(size)] for size in sizes}


def _work(work, rank, ports, queue):
    results = {}
    for size, port in ports.items():
        if rank < size:
            address = f"tcp://127.0.0.1:{port}"
            torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=size)
            results[size] = work(Workers(rank, size))
            torch.distributed.destroy_process_group()
    queue.put((rank, results))


def free_ports(count):
    """Ports that nobody listens at, each another one."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
