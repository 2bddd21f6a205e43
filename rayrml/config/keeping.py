"""What a run keeps and when it ends early: sections as frozen models, like those of `sections`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from rayrml.config import figures
from rayrml.config.section import PathString, Section


class Checkpoints(Section):
    """Where trained networks are saved, how often, and where one is loaded from."""

    save: PathString | None = Field(default=None, description="folder for `best.pt` and `model_checkpoint_<epoch>.pt`")
    keep: Literal["best+last", "best", "last", "all"] | PositiveInt | None = Field(
        default=None,
        description="the epochs whose checkpoints stay, or how many of the newest; `best.pt` is always among them if "
        'there are test samples (default: "best+last")',
    )
    exist: Literal["keep", "overwrite"] = Field(
        default="keep",
        description="what becomes of an earlier run in `save` when a new one starts: it moves to `<save>-1` and so on, "
        "or is removed",
    )
    every_minutes: PositiveFloat | None = Field(
        default=None,
        description="minutes of training after which its state is written also in the middle of an epoch, where a run "
        "resumes that is killed or loses a worker without notice; each state replaces the one before",
    )
    interval: PositiveInt | None = Field(
        default=None, description="keep each epoch whose number is a multiple of this, and the last one"
    )
    load: PathString | None = Field(
        default=None, description="checkpoint, or weights of Keras or darknet, to start from"
    )
    plots: bool = Field(default=True, description="plot the run's curves and predictions into `save` when it ends")
    tensorboard: bool = Field(default=False, description="write event files for TensorBoard into `save`")
    mlflow: bool = Field(
        default=False, description="send figures, configuration and plots to MLFLOW_TRACKING_URI; needs `mlflow`"
    )
    wandb: bool = Field(
        default=False, description="send them to Weights & Biases, configured by WANDB_MODE and the like; needs `wandb`"
    )


class Stopping(Section):
    """When a run ends before its last epoch because it no longer improves."""

    patience: PositiveInt = Field(default=5, description="epochs without improvement after which the run ends")
    metric: str = Field(
        default=figures.TEST_LOSS,
        description=f"the figure that should improve: {', '.join(figures.LOSSES)}, or the metric's name",
    )
    min_delta: NonNegativeFloat = Field(default=0.0, description="smallest change that counts as an improvement")
