"""What the processes of a run are given: variables of the environment, and the network interface they meet through."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

LEAST_SECONDS, MOST_SECONDS = 30.0, 7 * 86_400.0  # of `timeout_s`

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
_PLACES = "says where a worker is among the others, which Ray decides. Expected `ray.num_workers`"
_MEETING = "is set by `ray.interface`"
_GPUS = (
    "is set by Ray, which gives each worker its GPU. Expected `ray.use_gpu`, `ray.resources_per_worker` or `--device`"
)
_THREADS = "has no effect: each worker takes its share of the CPUs of its machine"
_MODULES = "would have workers find other packages than the driver"
_REFUSED = {
    **dict.fromkeys(("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"), _GPUS),
    **dict.fromkeys(("NVIDIA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"), _GPUS),
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), _THREADS),
    **dict.fromkeys(("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"), _PLACES),
    **dict.fromkeys(("MASTER_ADDR", "MASTER_PORT"), "is where the first worker is, which Ray decides"),
    **dict.fromkeys(("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"), _MEETING),
    **dict.fromkeys(("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV"), _MODULES),
}
_OF_RAY = "belongs to Ray, which reads it where the cluster starts. Expected it in the environment of `ray start`"


def _check_kinds(variables: Any) -> Any:
    """Refuse what is no object of strings, without repeating what may be secret."""
    if not isinstance(variables, Mapping):
        raise ValueError('expected an object, such as {"NCCL_DEBUG": "INFO"}')
    for name, value in variables.items():
        if value is None:
            cure = f"Records of runs show only the names: give it again, such as --set ray.env_vars.{name}=VALUE"
            raise ValueError(f"the value of '{name}' is missing. {cure}")
        if not isinstance(value, str):
            kind = "a number" if isinstance(value, int | float) and not isinstance(value, bool) else "no string"
            raise ValueError(f"the value of '{name}' is {kind}. Expected a string in quotation marks")
    return variables


def _check_variables(variables: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in variables.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"'{name}' is no name of a variable. Expected letters, digits and underscores")
        capitals = name.upper()
        spelled = "" if name == capitals else f"'{name}' is not read by any program, and "
        if capitals.startswith("RAY_"):
            raise ValueError(f"{spelled}'{capitals}' {_OF_RAY}")
        if capitals in _REFUSED:
            raise ValueError(f"{spelled}'{capitals}' {_REFUSED[capitals]}")
        if "\0" in value:
            raise ValueError(f"the value of '{name}' contains a null character")
    return variables


def _check_interface(name: str) -> str:
    if not _INTERFACE.fullmatch(name):
        raise ValueError("expected the name of one network interface, such as eth0, which `ip address` lists")
    return name


Variables = Annotated[dict[str, str], BeforeValidator(_check_kinds), AfterValidator(_check_variables)]
Interface = Annotated[str, AfterValidator(_check_interface)]
Seconds = Annotated[float, Field(ge=LEAST_SECONDS, le=MOST_SECONDS)]


def hide_variables(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration's JSON, for a record: of the variables it names, the values are null, since they may be secret.

    A configuration with such values is refused, so nobody repeats a run with other ones by mistake.
    """
    section = values.get("ray") or {}
    if section.get("env_vars"):
        hidden = dict.fromkeys(section["env_vars"])
        return {**values, "ray": {**section, "env_vars": hidden}}
    return values
