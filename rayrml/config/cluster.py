"""The section `ray` of a configuration: which cluster a run uses, and how much of it."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from rayrml.config.section import AnyCase, PathString, Section
from rayrml.config.worker_settings import Interface, Seconds, Variables


class Ray(Section):
    """Which Ray cluster a run uses, and how much of it."""

    num_workers: PositiveInt | tuple[PositiveInt, PositiveInt] | None = Field(
        default=None,
        description="training workers, or [min, max] (default: every GPU of the cluster, or one CPU worker)",
    )
    use_gpu: bool | Literal["auto"] = Field(default="auto", description="one GPU per worker")
    resources_per_worker: dict[str, PositiveFloat] | None = Field(default=None, description="Ray resources per worker")
    accelerator_type: str | None = Field(default=None, description="the GPUs' type, as Ray names it")
    placement_strategy: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = Field(
        default="PACK", description="how workers are placed on nodes"
    )
    address: str | None = Field(
        default=None, description="a running cluster (default: RAY_ADDRESS, or a private local Ray)"
    )
    storage_path: PathString | None = Field(
        default=None, description="folder for a run's state, shared by all nodes (default: `checkpoints.save`)"
    )
    run_name: str | None = Field(
        default=None, min_length=1, description="the run's name on the dashboard and in storage"
    )
    max_failures: NonNegativeInt = Field(
        default=3, description="worker failures that a run survives; losses of which there was notice do not count"
    )
    env_vars: Variables = Field(
        default={},
        description="variables of the environment of all workers and tasks, as strings; records show only their names",
    )
    timeout_s: Seconds = Field(
        default=1800.0,
        description="seconds that workers wait for one another, when they start and in each exchange, before the run "
        "ends: longer than the slowest worker takes for a step, an evaluation or a checkpoint",
    )
    interface: Interface | None = Field(
        default=None,
        description="network interface through which workers exchange gradients, of the same name on all nodes, such "
        "as `eth0` (default: NCCL and Gloo choose)",
    )
    gradient_compression: Annotated[Literal["none", "bf16"], AnyCase] = Field(
        default="none", description="gradients are exchanged as they are, or in 16 bits"
    )
    sharding: Annotated[Literal["none", "zero1", "fsdp"], AnyCase] = Field(
        default="none",
        description="what workers divide among themselves: nothing, the optimizer's state (`zero1`), or the weights "
        "and gradients, too (`fsdp`: least memory); both take half as much exchange again",
    )
    batch_norm: Annotated[Literal["global", "local"], AnyCase] = Field(
        default="global",
        description="what batch normalization takes mean and variance of: the batch of all workers, so that their "
        "number makes no difference, or each worker's part of it",
    )

    @pydantic.model_validator(mode="after")
    def _range_is_ordered(self) -> Ray:
        if isinstance(self.num_workers, tuple) and self.num_workers[0] > self.num_workers[1]:
            raise ValueError(f"num_workers: expected [min, max] with min <= max, got {list(self.num_workers)}")
        return self
