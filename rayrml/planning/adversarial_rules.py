"""Rules between the keys of generative adversarial networks."""

from __future__ import annotations

from collections.abc import Iterator

from rayrml.config.sections import Data
from rayrml.config.tables import Choice
from rayrml.data.reader_keys import DATA, FLIPS, PICTURES, SAMPLES, TARGET_PATHS, list_reader_options
from rayrml.errors import Problem
from rayrml.losses import adversarial
from rayrml.metrics import METRICS, generation
from rayrml.optimizers import needs_closure
from rayrml.planning.application import GAN, generates_alone
from rayrml.planning.settings import Settings

NN = "neural_network"
CRITIC, METRIC_NETWORK = f"{NN}.critic", f"{NN}.metric_network"
_BY_LOSS = "plateau"
_MOST_SAMPLES = 1_000_000  # each has a name
# Keys of `data` that do not go with generated samples, and why.
_OPTIONS_OF_TARGETS = [key for option in list_reader_options() if (key := f"target_{option}") in Data.model_fields]
_WITHOUT_TARGETS = "a generator learns from its inputs alone, there are no targets"
_OF_LABELS = "a generator learns from samples of all classes together"
_OF_WHOLE_SAMPLES = "samples are generated whole"
_BESIDE: dict[str, str] = {
    "type": f"{_WITHOUT_TARGETS}. Expected input_type",
    "target_type": _WITHOUT_TARGETS,
    **dict.fromkeys((*TARGET_PATHS, "target_transforms", "target_is_mask", *_OPTIONS_OF_TARGETS), _WITHOUT_TARGETS),
    **dict.fromkeys(("training_tag", "test_tag", "threshold"), _OF_LABELS),
    "hdf5_outfile": _OF_WHOLE_SAMPLES,
}
# What random numbers, from which samples are generated, do not go through.
_OF_IMAGES = ("transforms", "input_transforms", "slicers")


def generates(settings: Settings) -> bool:
    """Whether a generator is trained, evaluated or used."""
    return settings.nn.app == GAN or (settings.loss is not None and settings.loss.name in adversarial.LOSSES)


def _adversarial_application(settings: Settings) -> Iterator[Problem]:
    """The loss and the application go together."""
    nn, loss, where = settings.nn, settings.loss, f"{NN}.app"
    if loss is None:
        return
    if nn.app == GAN and loss.name not in adversarial.LOSSES:
        yield Problem(where, f"'gan' generates samples, but the loss {loss.name} is another. Expected {_LOSSES}")
    if loss.name in adversarial.LOSSES and nn.app not in (None, GAN):
        yield Problem(where, f"'{nn.app}' does not go with the loss {loss.name}. Expected gan, or no app")


def _adversarial_keys(settings: Settings) -> Iterator[Problem]:
    """Keys of generators need one, and their training needs a critic."""
    nn, data = settings.nn, settings.data
    if generates(settings):
        if data.trains and nn.critic is None:
            yield Problem(NN, "the section 'critic' is missing: a generator learns from the network in it")
        return
    for key in ("critic", "metric_network"):
        if getattr(nn, key) is not None:
            yield Problem(f"{NN}.{key}", f"has no effect: no samples are generated. Expected {_LOSSES}")
    if data.num_test_examples is not None and not settings.types.generated:
        message = f"has no effect: samples are neither computed (pde) nor generated. Expected {_LOSSES}, or no number"
        yield Problem(f"{DATA}.{SAMPLES}", message)


def _distances(settings: Settings) -> Iterator[Problem]:
    """Metrics of generated samples are for these alone."""
    nn, where = settings.nn, f"{NN}.metric"
    own = generation.METRICS
    if nn.metric not in METRICS:
        return
    if generates(settings) and nn.metric not in own:
        yield Problem(where, f"'{nn.metric}' compares outputs with targets, of which there are none. Expected {_OWN}")
    if not generates(settings) and nn.metric in own:
        yield Problem(where, f"'{nn.metric}' compares generated samples with real ones. Expected another")
    if nn.metric == "frechet" and nn.metric_network is None:
        yield Problem(where, "'frechet' compares features of a classifier. Expected metric_network, its checkpoint")


def _best_epoch(settings: Settings) -> Iterator[Problem]:
    """Only test images tell which epoch of a generator is the best."""
    data, keep = settings.data, settings.nn.checkpoints.keep
    if generates(settings) and data.trains and not data.tests and keep in ("best", "best+last"):
        message = f'"{keep}" needs test images: the losses of a GAN do not say which epoch is the best'
        yield Problem(f"{NN}.checkpoints.keep", f"{message}. Expected test_input_path, or another value")


def _penalty_or_clip(settings: Settings) -> Iterator[Problem]:
    """A critic is held back in one way: without any, its scores grow without limit."""
    loss = settings.loss
    if loss is None or loss.name not in adversarial.LOSSES:
        return
    penalty, clip = loss.settings["gradient_penalty"], loss.settings["clip"]
    if penalty and clip is not None:
        message = "does not go with a gradient penalty, which holds back the critic in another way"
        yield Problem(f"{NN}.loss.clip", f'{message}. Expected no clip, or "gradient_penalty": 0')
    if not penalty and clip is None:
        message = "is 0, so nothing holds back the critic, whose scores would grow without limit"
        yield Problem(f"{NN}.loss.gradient_penalty", f"{message}. Expected one such as 10, or a clip such as 0.01")


def _beside_generation(settings: Settings) -> Iterator[Problem]:
    """Keys of the data that do not go with generated samples."""
    data = settings.data
    if not generates(settings):
        return
    for key in filter(lambda key: getattr(data, key), _BESIDE):
        yield Problem(f"{DATA}.{key}", f"has no effect: {_BESIDE[key]}")
    if data.test_transforms != "none":
        yield Problem(f"{DATA}.{FLIPS}", "has no effect: there are no inputs whose flips could be averaged")
    if data.test_output_images in ("masks", "boxes"):
        yield Problem(f"{DATA}.{PICTURES}", "generated samples are images, not masks or boxes. Expected 'pixels'")
    if settings.types.generated:
        yield Problem(f"{DATA}.input_type", f"'{data.inputs}' is computed. Expected samples of files to learn from")


def _generated_samples(settings: Settings) -> Iterator[Problem]:
    """How many samples are generated, and what becomes of them."""
    nn, data, count = settings.nn, settings.data, settings.data.num_test_examples
    if not generates(settings):
        return
    where = f"{DATA}.{SAMPLES}"
    if count is not None and not 1 <= count <= _MOST_SAMPLES:
        yield Problem(where, f"expected 1 to {_MOST_SAMPLES:,} samples, got {count:,}")
    if generates_alone(nn):
        if count is None:
            yield Problem(DATA, f"'{SAMPLES}' is missing: how many samples to generate")
        for key in filter(lambda key: getattr(data, key), _OF_IMAGES):
            yield Problem(f"{DATA}.{key}", "has no effect: samples are generated from random numbers, no image is read")
        return
    tests = data.test_input_path or data.test_share or data.final_test_input_path
    if count is not None and not tests:
        message = "has no effect: there are no test images to compare generated samples with"
        yield Problem(where, f"{message}. Expected test_input_path")
    if nn.loss is None and data.test_input_path and not data.trains:
        message = "has no effect without a loss: nothing is compared"
        yield Problem(f"{DATA}.test_input_path", f"{message}. Expected {_LOSSES}, or {SAMPLES} alone")


def _adversarial_updates(settings: Settings) -> Iterator[Problem]:
    """What two networks that are updated in turn, and the gradient of a gradient, do not go with."""
    nn, data, ray = settings.nn, settings.data, settings.ray
    if not (generates(settings) and data.trains):
        return
    penalty = settings.loss is not None and settings.loss.settings.get("gradient_penalty")
    if penalty and nn.precision in ("bf16", "fp16"):
        message = f"'{nn.precision}' is too inexact for the derivatives of a gradient penalty, which is float32"
        yield Problem(f"{NN}.precision", f"{message}. Expected float32, tf32, or a clip in place of the penalty")
    if nn.compile:
        yield Problem(f"{NN}.compile", "does not go with a GAN: compiled networks have no second derivatives")
    if ray.sharding != "none":
        message = f"{ray.sharding} does not go with a GAN, whose two networks are updated in turn. Expected none"
        yield Problem("ray.sharding", message)
    if settings.optimizer is not None:
        yield from refuse_updates(settings.optimizer, nn.optimizer or {}, f"{NN}.optimizer")


def refuse_updates(optimizer: Choice, section: dict[str, object], where: str) -> Iterator[Problem]:
    """What neither optimizer of a GAN may be or have."""
    if needs_closure(optimizer.builder):
        message = f"{optimizer.name} compares losses of many points, but those of a GAN change with the other network"
        yield Problem(f"{where}.type", f"{message}. Expected another optimizer, such as Adam")
    schedulers = section.get("lr_scheduler")
    for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
        if isinstance(scheduler, dict) and str(scheduler.get("type")).casefold() == _BY_LOSS:
            message = "Plateau goes by the loss, but losses of a GAN cannot be compared between epochs"
            yield Problem(f"{where}.lr_scheduler", f"{message}. Expected another schedule, such as Cosine")
    if section.get("accumulate", 1) != 1:
        yield Problem(f"{where}.accumulate", "does not go with a GAN. Expected a smaller batch_size")


_LOSSES = f"the loss {' or '.join(adversarial.LOSSES)}"
_OWN = " or ".join(generation.METRICS)
RULES = (
    _adversarial_application,
    _adversarial_keys,
    _distances,
    _best_epoch,
    _penalty_or_clip,
    _beside_generation,
    _generated_samples,
    _adversarial_updates,
)
