"""What is served and how: the keys of a file for `serve deploy`, and what the command line and Python set."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt, model_validator

from rayrml.serving.limits import MEBIBYTE, Limits

TOKEN_VARIABLE = "RAYRML_SERVE_TOKEN"
Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseModel):
    """What is served and how.

    Attributes:
        checkpoint: a file, or a run's folder; replicas on other machines read it, too.
        overrides: values for dotted keys of the configuration.
        min_replicas: replicas of the network at least.
        max_replicas: replicas at most; more than `min_replicas` lets their number follow the requests.
        gpus: of each replica, also a part of one.
        cpus: of each replica.
        exact: whether answers are those to each file alone, to the last bit.
        token: that requests must have; without one, that of the environment variable `RAYRML_SERVE_TOKEN`.
        open: whether requests need no token.
        hosts: names by which browsers may address the server, () for any.
        weights: which weights the checkpoint must have, as `/metadata` names them; None for any.
        max_bytes: of a request.
        max_pixels: of an image, or values of an array.
        max_waiting: requests that wait for their answer; further ones are refused.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint: str
    overrides: dict[str, Any] = Field(default_factory=dict)
    min_replicas: PositiveInt = 1
    max_replicas: PositiveInt = 1
    gpus: NonNegativeFloat = 0
    cpus: NonNegativeFloat = 1
    exact: bool = True
    token: str | None = None
    open: bool = False
    hosts: tuple[str, ...] = ()
    weights: str | None = None
    max_bytes: PositiveInt = 32 * MEBIBYTE
    max_pixels: PositiveInt = 50_000_000
    max_waiting: PositiveInt = 512

    @model_validator(mode="after")
    def _check(self) -> Settings:
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas is {self.max_replicas}, but min_replicas {self.min_replicas}")
        if self.gpus > 1 and self.gpus % 1:
            raise ValueError(f"gpus is {self.gpus:g}. Expected a part of one GPU, or a whole number")
        if self.open and self.token:
            raise ValueError("token and open exclude each other")
        return self

    @property
    def limits(self) -> Limits:
        """What is accepted."""
        return Limits(max_bytes=self.max_bytes, max_pixels=self.max_pixels, max_waiting=self.max_waiting)
