"""The sections of a configuration as frozen models: their keys, types, defaults and meanings.

Sections that choose a row of a table (`optimizer`, `loss`) are plain objects here and are checked by the tables, so
that reading a configuration imports neither torch nor Ray.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

from rayrml.config.adversarial import Critic
from rayrml.config.cluster import Ray
from rayrml.config.detection import BoxKeys, Detection
from rayrml.config.keeping import Checkpoints, Stopping
from rayrml.config.named_networks import with_absolute_weights
from rayrml.config.optimization import Averaging, Unfreezing
from rayrml.config.section import AnyCase, PathString, Section

SideName = Literal["input", "target"]
TargetKind = Literal["class", "classes", "number"]
Scale = Literal["range", "max", "values"] | Annotated[float, Field(gt=0)]


@dataclasses.dataclass(frozen=True)
class RowOf:
    """Marks a string that names a row of a table; it is checked where the table is available.

    Attributes:
        table: its name in `rayrml list`.
    """

    table: str


class Data(BoxKeys):
    """Where samples are, how they are read, and how they are batched."""

    type: Annotated[str, AnyCase] | None = Field(default=None, description="data type of both inputs and targets")
    input_type: Annotated[str, AnyCase] | None = Field(default=None, description="data type of the inputs")
    target_type: Annotated[str, AnyCase] | None = Field(default=None, description="data type of the targets")
    input_path: PathString | None = Field(
        default=None,
        description="folder of the training inputs, searched recursively, or one file; folders `train`, `val` and "
        "`test` in it are told apart if no other key names test samples",
    )
    target_path: PathString | None = Field(
        default=None,
        description="folder or file of the training targets; a table (CSV, TSV, JSON Lines, Parquet) has a row for "
        "each input",
    )
    test_input_path: PathString | Annotated[list[PathString], Field(min_length=1)] | None = Field(
        default=None,
        description="folder or file of the test inputs, or a list of them; a training evaluates each epoch on them",
    )
    test_target_path: PathString | None = Field(default=None, description="folder or file of the test targets")
    final_test_input_path: PathString | None = Field(
        default=None,
        description="folder or file of the inputs of the final test: evaluated once after training, with the best "
        "model; never seen before",
    )
    final_test_target_path: PathString | None = Field(
        default=None, description="folder or file of the targets of the final test"
    )
    file_column: str | None = Field(
        default=None,
        description="column of the table that names the inputs (default: the first whose values are files; none for "
        "samples in one array, whose rows have the table's order)",
    )
    target_column: str | Annotated[list[str], Field(min_length=1)] | None = Field(
        default=None,
        description="column of the targets in the table, or several (default: the only other "
        "one, or all others if they hold 0 and 1 alone)",
    )
    target_kind: Annotated[TargetKind, AnyCase] | None = Field(
        default=None,
        description="what the columns hold: one class of each sample, any number of classes, or numbers "
        "(default: whichever suits the loss and the values)",
    )
    separator: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="what stands between the classes of a sample, such as `;` (default: found out)"
    )
    split_column: str | None = Field(
        default=None,
        description="column of the table that says which samples are for `train`, `val` and `test` "
        "(default: `split` if there is one, and nothing else names test samples)",
    )
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="probability above which a sample has a class, where it may have several (default: 0.5)",
    )
    class_names: Annotated[list[str], Field(min_length=1)] | None = Field(
        default=None, description="the classes in the order of the network's outputs (default: sorted)"
    )
    target_suffix: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="how the name of a target goes on after the input's, such as `_mask`; both may be in one folder",
    )
    test_share: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="share of the images in `input_path`, the same for each class, that is kept for the test",
    )
    test_output_path: PathString | None = Field(
        default=None, description="folder for the predictions `output_<epoch>.h5`"
    )
    test_output_images: Annotated[Literal["auto", "always", "masks", "pixels", "boxes", "none"], AnyCase] = Field(
        default="auto",
        description="pictures, in `test_output_path`, of outputs: masks of classes with overlays, pixels as they are, "
        "or images with their boxes; auto: masks or pixels, but none during training; always: whichever they are",
    )
    batch_size: PositiveInt = Field(default=64, description="samples of a training batch, over all workers")
    test_batch_size: PositiveInt = Field(default=64, description="samples of an evaluation batch, over all workers")
    test_transforms: Annotated[Literal["none", "horizontal_flip", "flips"], AnyCase] = Field(
        default="none",
        description="evaluation and prediction average the outputs for each sample and its flips: of the last axis "
        "(`horizontal_flip`), or of all axes in every combination (`flips`: 4 for images, 8 for volumes)",
    )
    preload: bool = Field(default=False, description="decode once and keep the samples in memory")
    sampling: Annotated[Literal["all", "balanced"], AnyCase] = Field(
        default="all",
        description="what an epoch of training consists of: all: each sample once; balanced: as many samples, but each "
        "class equally often, so that those of rare classes are repeated",
    )
    on_bad_sample: Annotated[Literal["error", "skip"], AnyCase] = Field(
        default="error",
        description="whether samples that cannot be read, or differ from the first one in shape, stop the run, or are "
        "named once and skipped (at most half of all samples)",
    )
    grayscale: bool = Field(default=False, description="read images with one channel")
    input_grayscale: bool | None = Field(default=None, description="`grayscale` for the inputs only")
    target_grayscale: bool | None = Field(default=None, description="`grayscale` for the targets only")
    scale: Scale | None = Field(
        default=None,
        description="`images`: what stands for white: the type's `range`, each image's own `max`, or a number; "
        "`values`: 32-bit numbers as they are (default: bytes as they are, `range` of 16 bits, `values` of others)",
    )
    input_scale: Scale | None = Field(default=None, description="`scale` for the inputs only")
    target_scale: Scale | None = Field(default=None, description="`scale` for the targets only")
    pages: Literal["first", "channels", "samples"] | None = Field(
        default=None,
        description="`images`: what is read of TIFF files with several pages: the first one, all as channels of one "
        "image, or each as a sample (default: such files are refused)",
    )
    channels: Literal["first", "last"] = Field(
        default="first",
        description="`numpy`, `hdf5`: whether the channels of a sample are its first axis, (C, *spatial), or its last",
    )
    input_channels: Literal["first", "last"] | None = Field(default=None, description="`channels` for the inputs only")
    target_channels: Literal["first", "last"] | None = Field(
        default=None, description="`channels` for the targets only"
    )
    stacked: bool | None = Field(
        default=None,
        description="`numpy`, `hdf5`: each array holds many samples along its first axis, (N, C, *spatial) "
        "(default: found out for a single array)",
    )
    target_is_mask: bool = Field(
        default=False, description="targets are discrete: resampling takes the nearest pixel and never mixes pixels"
    )
    transforms: list[Any] = Field(
        default=[], description="transforms of inputs and targets, with the same random numbers"
    )
    input_transforms: list[Any] = Field(default=[], description="transforms of the inputs only")
    target_transforms: list[Any] = Field(default=[], description="transforms of the targets only")
    training_tag: str | None = Field(default=None, description="a training image's class is the folder under this one")
    test_tag: str | None = Field(
        default=None,
        validation_alias=AliasChoices("test_tag", "testing_tag"),
        description="a test image's class is the folder under this one",
    )

    slicers: list[Any] = Field(
        default=[], description="how large arrays are cut into samples, inputs and targets alike"
    )
    hdf5_outfile: PathString | None = Field(
        default=None, description="file in which the predictions for slices are reassembled"
    )
    hdf5_precision: Annotated[Literal["single", "half"], AnyCase] = Field(
        default="single", description="32-bit or 16-bit floats in the files of predictions"
    )
    hdf5_shards: Annotated[Literal["none", "merge", "keep"], AnyCase] = Field(
        default="none",
        description="whether the processes that predict samples without targets write a file each instead of sending "
        "outputs to one writer; merge: these are merged in the background; keep: `output_1.h5` links to them",
    )
    domain_size: int | None = Field(default=None, description="`pde`: number of points of the domain in x")
    num_examples: int | None = Field(default=None, description="`pde`: initial conditions to train on")
    num_test_examples: int | None = Field(
        default=None,
        description="`pde`: initial conditions to evaluate on; `gan`: samples to generate in an evaluation or an "
        "inference (default: as many as test images)",
    )
    bc_frequency: tuple[float, float] | None = Field(
        default=None, description="`pde`: lowest and highest frequency of the initial conditions"
    )
    bc_type: Annotated[str, AnyCase] | None = Field(
        default=None, description="`pde`: frequencies are random (`random_uniform`) or evenly spaced (`fixed_uniform`)"
    )

    @property
    def inputs(self) -> str | None:
        """The data type of the inputs."""
        return self.input_type or self.type

    @property
    def targets(self) -> str | None:
        """The data type of the targets; None for inference."""
        return self.target_type or self.type

    @property
    def trains(self) -> bool:
        """Whether there are samples to train on."""
        return self.input_path is not None or self.num_examples is not None

    @property
    def tests(self) -> bool:
        """Whether there are samples to evaluate or predict."""
        return any(getattr(self, key) is not None for key in _NAMING_TEST_SAMPLES)

    @property
    def skips(self) -> bool:
        """Whether unusable samples are skipped."""
        return self.on_bad_sample == "skip"

    @property
    def draws(self) -> bool:
        """Whether outputs are kept as pictures, if they make any."""
        wanted = not self.trains if self.test_output_images == "auto" else self.test_output_images != "none"
        return wanted and self.test_output_path is not None

    def option(self, key: str, side: SideName) -> Any:
        """The value of a key for one side: the side's own `input_...` or `target_...` key takes precedence."""
        own = getattr(self, f"{side}_{key}", None)
        return getattr(self, key) if own is None else own


_NAMING_TEST_SAMPLES = ("test_input_path", "num_test_examples", "test_share", "split_column")


class NeuralNetwork(Section):
    """One network: what it computes, which data it learns from, and what is written."""

    layers: Annotated[str | list[Any] | dict[str, Any], AfterValidator(with_absolute_weights)] = Field(
        description='path of a Keras JSON file, the layers themselves, or a network by name: `{"network": "resnet50"}`'
    )
    data: Data = Field(description="where samples are, and how they are used")
    outfile: PathString | None = Field(
        default=None, description="`out_x.txt` names the logs `out_x_train.txt` and `out_x_test.txt`"
    )
    num_epochs: PositiveInt = Field(default=1, description="passes over the training data")
    optimizer: dict[str, Any] | None = Field(default=None, description="how weights are updated; training needs it")
    loss: dict[str, Any] | None = Field(default=None, description="what is minimized; training and evaluation need it")
    metric: Annotated[str, AnyCase, RowOf("metrics")] | None = Field(
        default=None,
        description="what evaluation reports next to the loss (default: accuracy; dice if pixels have classes; swd of "
        "generated samples)",
    )
    metric_network: PathString | None = Field(
        default=None,
        description="`gan`: checkpoint of a classifier, by whose features and classes generated samples are compared "
        "with real ones, too; `frechet` needs it",
    )
    checkpoints: Checkpoints = Field(default=Checkpoints(), description="where networks are saved and loaded")
    detection: Detection = Field(
        default=Detection(), description="what becomes of the outputs of a network that finds objects"
    )
    critic: Critic | None = Field(
        default=None, description="the second network of a GAN, whose generator is `layers`; training needs it"
    )
    app: Annotated[Literal["dnn", "pde", "obj", "gan"], AnyCase] | None = Field(
        default=None,
        description="the application: networks that learn from targets (`dnn`), from an equation (`pde`), to find "
        "objects (`obj`), or to generate samples (`gan`) (default: the loss tells)",
    )
    seed: NonNegativeInt = Field(default=0, description="seed for initial weights, sample order and dropout")
    precision: Annotated[Literal["float32", "tf32", "bf16", "fp16", "auto"], AnyCase] = Field(
        default="float32",
        description="arithmetic of the network (its last activation and the loss are float32 in any case); tf32: "
        "float32 whose products are rounded to 10 bits on GPUs that can; fp16: with loss scaling; auto: bf16 on GPUs "
        "that support it",
    )
    cudnn_benchmark: bool = Field(
        default=False,
        description="on GPUs, measure cuDNN's algorithms for each shape and take the fastest, which may not be the "
        "same ones in each run",
    )
    compile: bool = Field(
        default=False, description="compile the network with torch.compile, which speeds up large networks on a GPU"
    )
    activation_checkpointing: bool | str | Annotated[list[str], Field(min_length=1)] = Field(
        default=False,
        description="saves memory in training: tensors between layers are not kept for backward but computed once "
        "more, which costs about a third of the time; true: in segments of the network; or only within layers with "
        "these names, in which `*` stands for any characters",
    )
    train_batch_norm: Annotated[Literal["keras", "affine"], AnyCase] = Field(
        default="keras",
        description="what batch normalization trains: keras: gamma and beta as far as the layer has `scale` and "
        "`center`; affine: both in any case, except in frozen layers",
    )
    unfreeze: Unfreezing | Annotated[list[Unfreezing], Field(min_length=1)] | None = Field(
        default=None,
        description="layers that are frozen, with the statistics of their normalization, until an epoch begins; an "
        "object or a list of them",
    )
    ema: Averaging | None = Field(
        default=None,
        description="evaluate, keep and predict with a moving average of the weights (default: with the weights "
        "themselves)",
    )
    evaluate_every: PositiveInt = Field(
        default=1, description="epochs between evaluations on the test samples; the last epoch is evaluated in any case"
    )
    early_stopping: Stopping | None = Field(default=None, description="when the run ends early (default: never)")
    debug: bool = Field(default=False, description="write the network as a graph, `<model>.dot`, next to the outfile")
    debug_interval: PositiveInt | None = Field(
        default=None,
        description="epochs between further graphs, with statistics of weights and gradients",
    )
    gradient_clip: PositiveFloat | None = Field(
        default=None, description="largest norm of a gradient; larger gradients are scaled down"
    )


class Config(Section):
    """A whole configuration file."""

    neural_network: NeuralNetwork = Field(description="the network, its data and its training")
    ray: Ray = Field(default=Ray(), description="the cluster that it runs on")
    extends: str | list[str] | None = Field(
        default=None,
        exclude=True,
        description="path of a configuration, or a list of them, whose values count where this one has none; relative "
        "to this file",
    )
    schema_: str | None = Field(default=None, alias="$schema", description="for editors; not used by rayrml")
