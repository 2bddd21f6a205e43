"""How many CPUs this process may use."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_OLD_QUOTA, _OLD_PERIOD = (Path("/sys/fs/cgroup/cpu") / name for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))


def count_cpus() -> int:
    """The CPUs of the machine that this process may run on, within its container's quota; at least one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(math.ceil(min(allowed, _quota())), 1)


def _quota() -> float:
    """The CPUs' worth of time that the container may use; infinity without a limit."""
    with contextlib.suppress(OSError, ValueError):  # no container, or "max": no limit
        share, period = _QUOTA.read_text().split()
        return int(share) / int(period)
    with contextlib.suppress(OSError, ValueError):
        share = int(_OLD_QUOTA.read_text())
        return share / int(_OLD_PERIOD.read_text()) if share > 0 else math.inf
    return math.inf
