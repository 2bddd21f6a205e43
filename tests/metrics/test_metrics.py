import functools
import inspect

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from rayrml.config.figures import is_cost
from rayrml.metrics import METRICS, Pairs, confusion

RNG = np.random.default_rng(0)
OUTPUT = RNG.normal(size=(6, 4, 3, 2))
LABELS = RNG.integers(0, 3, (6, 3, 2))  # class 3 is predicted, but never true


def value(name, output, target, **options):
    metric = METRICS[name](**options)
    return metric.value(metric.sums(torch.tensor(output), torch.tensor(target)))


def f1(p, t):
    if not (p & t).any():
        return 0.0
    precision, recall = (p & t).sum() / p.sum(), (p & t).sum() / t.sum()
    return 2 * precision * recall / (precision + recall)


def recall(p, t):
    return (p & t).sum() / t.sum() if t.any() else np.nan  # of classes that do not occur there is none


BY_CLASS = {
    "balanced_accuracy": recall,
    "dice": lambda p, t: 2 * (p & t).sum() / (p.sum() + t.sum()),
    "jaccard": lambda p, t: (p & t).sum() / (p | t).sum(),
    "f1": f1,
    "f1_macro": f1,
}


def by_hand(name, predicted, labels, classes):
    if name in ("accuracy", "pixel_accuracy", "exact_match", "f1_micro"):  # the same, with one class each
        return (predicted == labels).mean()
    pairs = [(predicted == c, labels == c) for c in classes]
    return np.nanmean([BY_CLASS[name](p, t) for p, t in pairs if p.any() or t.any()])


# Contract of every row

RANKING = pytest.mark.parametrize("name", [name for name, row in METRICS.items() if row().ranks])
OF_CLASSES = pytest.mark.parametrize(
    "name",
    [
        name
        for name, row in METRICS.items()
        if row().compares not in ("values", "boxes", "generated") and not row().ranks and row().fewest_classes == 1
    ],
)
OF_VALUES = pytest.mark.parametrize("name", [name for name, row in METRICS.items() if row().compares == "values"])


@OF_CLASSES
@pytest.mark.parametrize("ignore", [None, 2, 255])
def test_a_row_is_what_its_definition_gives(name, ignore):
    labels = LABELS.copy()
    if ignore == 255:
        labels[:, 0] = 255
    keep = labels != ignore
    expected = by_hand(name, OUTPUT.argmax(1)[keep], labels[keep], range(4))
    assert value(name, OUTPUT, labels, ignore_index=ignore) == pytest.approx(expected, rel=1e-12)


@OF_CLASSES
def test_a_row_of_samples_is_like_one_of_pixels(name):
    output, labels = OUTPUT[:, :, 0, 0], LABELS[:, 0, 0]
    assert value(name, output, labels) == pytest.approx(by_hand(name, output.argmax(1), labels, range(4)))


@OF_CLASSES
def test_a_row_takes_one_channel_for_the_probability_of_class_1(name):
    output, labels = RNG.uniform(size=(5, 1, 7)), RNG.integers(0, 2, (5, 7))
    expected = by_hand(name, (output[:, 0] > 0.5).astype(int), labels, (0, 1))
    assert value(name, output, labels) == pytest.approx(expected, rel=1e-12)


@OF_CLASSES
@pytest.mark.parametrize("cuts", [[1, 3], [5], [2, 4]])
def test_sums_of_parts_add_up_to_those_of_the_whole(name, cuts):
    metric = METRICS[name]()
    output, labels = torch.tensor(OUTPUT), torch.tensor(LABELS)
    parts = zip(output.tensor_split(cuts), labels.tensor_split(cuts), strict=True)
    whole = metric.sums(output, labels)
    assert whole.dtype == torch.float64
    assert whole.ndim == 1
    assert torch.equal(sum(metric.sums(*part) for part in parts), whole)


@OF_CLASSES
def test_a_row_is_1_for_the_truth_and_less_for_anything_else(name):
    output = np.eye(3)[LABELS].transpose(0, 3, 1, 2)
    assert value(name, output, LABELS) == 1
    assert value(name, np.roll(output, 1, 1), LABELS) < 1


@OF_CLASSES
def test_a_row_is_undefined_where_all_labels_are_ignored(name):
    assert value(name, OUTPUT, np.full_like(LABELS, 255), ignore_index=255) is None


@pytest.mark.parametrize("name", METRICS)
def test_a_row_is_printed_under_its_name_in_the_table(name):
    assert METRICS[name]().name == name
    assert inspect.signature(METRICS[name]).parameters["ignore_index"].default is None


@OF_VALUES
@pytest.mark.parametrize("cuts", [[1, 3], [5], [2, 4]])
def test_sums_of_parts_add_up_for_values(name, cuts):
    metric, output = METRICS[name](), torch.tensor(OUTPUT)
    target = output.roll(1, 0)
    parts = zip(output.tensor_split(cuts), target.tensor_split(cuts), strict=True)
    whole = metric.value(metric.sums(output, target))
    added = functools.reduce(metric.merge or torch.add, [metric.sums(*part) for part in parts])
    assert metric.value(added) == pytest.approx(whole, rel=1e-13)


# Single metrics


@pytest.mark.parametrize("shape", [(50, 3), (6, 2, 4, 4), (9, 1)])
def test_r2_is_that_of_scikit_learn(shape):
    target, noise = RNG.normal(3, 2, shape), RNG.normal(size=shape)
    rows = [np.moveaxis(part, 1, 0).reshape(shape[1], -1) for part in (target, target + noise)]
    errors, spread = ((rows[0] - rows[1]) ** 2).sum(1), ((rows[0] - rows[0].mean(1, keepdims=True)) ** 2).sum(1)
    assert value("r2", target + noise, target) == pytest.approx((1 - errors / spread).mean(), rel=1e-9)


@pytest.mark.parametrize("num_parts", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("mean", [0.0, 1e3, 1e9])
def test_r2_of_parts_is_that_of_scikit_learn_for_targets_far_from_0(num_parts, seed, mean):
    rng, metric = np.random.default_rng(seed), METRICS["r2"]()
    target = rng.normal(mean, rng.uniform(0.1, 3, 4), (60, 4))
    output = target + rng.normal(0, 0.5, target.shape)
    cuts = [23, 31][: num_parts - 1]
    parts = zip(torch.tensor(output).tensor_split(cuts), torch.tensor(target).tensor_split(cuts), strict=True)
    moments = functools.reduce(metric.merge, [metric.sums(*part) for part in parts])
    assert metric.value(moments) == pytest.approx(sklearn_metrics.r2_score(target, output), rel=1e-9)


def test_r2_leaves_out_a_constant_channel_however_it_is_split():
    metric, target = METRICS["r2"](), torch.tensor(RNG.normal(size=(40, 2)))
    target[:, 1] = 1e6 + 0.1
    output = target + 0.3
    moments = functools.reduce(metric.merge, map(metric.sums, output.split(7), target.split(7)))
    assert metric.value(moments) == pytest.approx(sklearn_metrics.r2_score(target[:, 0], output[:, 0]), rel=1e-12)


def test_r2_is_1_for_the_truth_0_for_the_mean_and_undefined_for_constants():
    target = RNG.normal(size=(40, 2))
    assert value("r2", target, target) == 1
    assert value("r2", np.broadcast_to(target.mean(0), target.shape), target) == pytest.approx(0, abs=1e-12)
    target[:, 1] = 0.1  # does not vary
    assert value("r2", target * 1.5, target) == pytest.approx(value("r2", target[:, :1] * 1.5, target[:, :1]))
    assert value("r2", target, np.full((40, 2), 0.1)) is None


@pytest.mark.parametrize("name", ["dice", "jaccard"])
def test_float_targets_of_several_channels_are_a_region_each(name):
    target = RNG.integers(0, 2, (4, 3, 9)).astype(float)
    output = RNG.uniform(size=(4, 3, 9))
    expected = np.mean([BY_CLASS[name](output[:, c] > 0.5, target[:, c] > 0.5) for c in range(3)])
    assert value(name, output, target) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["dice", "jaccard"])
@pytest.mark.parametrize("channels", [1, 2])
def test_nothing_found_where_nothing_is_is_no_merit(name, channels):
    background = np.zeros((2, channels, 3))
    background[:, 0] = 1 if channels > 1 else 0
    assert value(name, background, np.zeros((2, 3), dtype=int)) is None
    assert value(name, 1 - background, np.zeros((2, 3), dtype=int)) == 0, "something that is not there was found"


@pytest.mark.parametrize("num_parts", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_top5_and_balanced_accuracy_of_parts_are_those_of_scikit_learn(num_parts, seed):
    rng = np.random.default_rng(seed)
    scores, labels = rng.normal(size=(80, 9)), rng.choice(9, 80, p=rng.dirichlet(np.ones(9)))
    expected = {
        "top5_accuracy": sklearn_metrics.top_k_accuracy_score(labels, scores, k=5, labels=range(9)),
        "balanced_accuracy": np.mean([(scores.argmax(1)[labels == k] == k).mean() for k in np.unique(labels)]),
    }
    cuts = [11, 50][: num_parts - 1]
    for name, figure in expected.items():
        metric = METRICS[name]()
        parts = zip(torch.tensor(scores).tensor_split(cuts), torch.tensor(labels).tensor_split(cuts), strict=True)
        assert metric.value(sum(metric.sums(*part) for part in parts)) == pytest.approx(figure, abs=1e-9)
    assert expected["balanced_accuracy"] == pytest.approx(
        sklearn_metrics.recall_score(labels, scores.argmax(1), labels=np.unique(labels), average="macro")
    )


def test_top5_accuracy_rewards_no_ties_no_nan_and_no_label_of_no_class():
    target = np.arange(8)
    assert value("top5_accuracy", np.zeros((8, 8)), target) == 5 / 8, "of equal scores, the first five count"
    assert value("top5_accuracy", np.full((8, 8), np.nan), target) == 0
    scores = np.eye(8)
    assert value("top5_accuracy", scores, np.array([0, 1, 2, 3, 4, 5, 6, -100])) == 7 / 8
    assert value("top5_accuracy", scores, np.array([0, 1, 2, 3, 4, 5, 6, 255]), ignore_index=255) == 1
    assert value("top5_accuracy", scores, np.full(8, 255), ignore_index=255) is None
    pixels = RNG.normal(size=(3, 7, 4, 5))
    labels = RNG.integers(0, 7, (3, 4, 5))
    expected = sklearn_metrics.top_k_accuracy_score(
        labels.ravel(), np.moveaxis(pixels, 1, -1).reshape(-1, 7), k=5, labels=range(7)
    )
    assert value("top5_accuracy", pixels, labels) == pytest.approx(expected, abs=1e-12)
    assert value("top5_accuracy", pixels, np.eye(7)[labels].transpose(0, 3, 1, 2)) == pytest.approx(expected)


def test_accuracy_of_floats_is_the_share_on_the_right_side_of_a_half():
    assert value("accuracy", np.array([[0.9, 0.4, 0.6, 0.1]]), np.array([[1.0, 0.0, 0.2, 0.7]])) == 0.5


def test_the_report_is_the_confusion_matrix_with_figures_of_each_class():
    output, labels = torch.eye(4)[torch.tensor([0, 0, 1, 1, 1, 2])], torch.tensor([0, 1, 1, 1, 0, 1])
    pairs = Pairs()
    for part in zip(output.split(4), labels.split(4), strict=True):
        pairs.add(*part)
    report = confusion(pairs.counts)
    assert report.counts == [[1, 1, 0, 0], [1, 2, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert report.precision == pytest.approx([1 / 2, 2 / 3, 0, 0])
    assert report.recall == pytest.approx([1 / 2, 2 / 4, 0, 0])
    assert report.f1 == pytest.approx([1 / 2, 4 / 7, 0, 0])
    metric = METRICS["f1"]()
    assert metric.value(metric.sums(output, labels)) == pytest.approx(np.mean([1 / 2, 4 / 7, 0]))  # no class 3


@pytest.mark.parametrize("name", ["f1", "balanced_accuracy"])
def test_what_is_counted_of_classes_grows_with_their_number_and_not_with_its_square(name):
    output, labels = torch.randn(6, 21_841), torch.tensor([0, 3, 5, 21_840, 7, 8])
    assert METRICS[name]().sums(output, labels).numel() <= 3 * 21_841


# Samples with several classes, ranks, and numbers, against scikit-learn


def with_ties(seed, num_classes, absent=()):
    """Scores of few different values, and flags of which some classes are in no sample."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 12, (60, num_classes)) / 12
    flags = rng.uniform(size=(60, num_classes)) < rng.uniform(0.1, 0.9, num_classes)
    flags[:, list(absent)] = False
    return scores, flags.astype(float)


RANK_REFERENCE = {
    "mean_average_precision": sklearn_metrics.average_precision_score,
    "auroc": sklearn_metrics.roc_auc_score,
}


@RANKING
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("absent", [(), (1,), (0, 3)])
def test_ranks_of_several_classes_are_those_of_scikit_learn(name, seed, absent):
    scores, flags = with_ties(seed, 5, absent)
    present = [k for k in range(5) if k not in absent]
    expected = np.mean([RANK_REFERENCE[name](flags[:, k], scores[:, k]) for k in present])
    assert value(name, scores, flags) == pytest.approx(expected, abs=1e-9)


@RANKING
def test_ranks_of_one_class_each_compare_every_class_with_all_others(name):
    rng = np.random.default_rng(7)
    scores, labels = rng.dirichlet(np.ones(4), 50).round(1), rng.integers(0, 3, 50)
    expected = np.mean([RANK_REFERENCE[name](labels == k, scores[:, k]) for k in range(3)])
    assert value(name, scores, labels) == pytest.approx(expected, abs=1e-9)
    labels[:9] = 255
    expected = np.mean([RANK_REFERENCE[name](labels[9:] == k, scores[9:, k]) for k in range(3)])
    assert value(name, scores, labels, ignore_index=255) == pytest.approx(expected, abs=1e-9)
    two, single = labels[9:] % 2, scores[9:, :1]
    assert value(name, single, two) == pytest.approx(RANK_REFERENCE[name](two, single[:, 0]), abs=1e-9)


@RANKING
def test_ranks_do_not_depend_on_the_order_of_samples(name):
    metric, (scores, flags) = METRICS[name](), with_ties(3, 4)
    rows = metric.sums(torch.tensor(scores), torch.tensor(flags))
    assert metric.value(rows) == metric.value(rows[torch.randperm(len(rows))])


@RANKING
def test_ranks_without_samples_or_classes_to_tell_apart_are_undefined(name):
    assert METRICS[name]().value(torch.empty(0, 2)) is None
    assert value(name, np.ones((3, 2)), np.zeros((3, 2))) is None


@pytest.mark.parametrize("average", ["macro", "micro"])
@pytest.mark.parametrize("absent", [(), (2,)])
def test_f1_of_several_classes_is_that_of_scikit_learn(average, absent):
    scores, flags = with_ties(1, 5, absent)
    scores[:, list(absent)] = 0
    expected = sklearn_metrics.f1_score(flags, scores > 0.5, average=average, zero_division=np.nan)
    assert value(f"f1_{average}", scores, flags) == pytest.approx(expected, abs=1e-9)


def test_an_exact_match_has_all_classes_and_no_other():
    scores, flags = with_ties(2, 2)
    assert value("exact_match", scores, flags) == sklearn_metrics.accuracy_score(flags, scores > 0.5)


@pytest.mark.parametrize("shape", [(50,), (50, 3)])
@pytest.mark.parametrize("name", ["mean_absolute_error", "root_mean_squared_error"])
def test_errors_are_those_of_scikit_learn(name, shape):
    target, noise = RNG.normal(3, 2, shape), RNG.normal(size=shape)
    expected = getattr(sklearn_metrics, name)(target, target + noise)
    assert value(name, target + noise, target) == pytest.approx(expected, abs=1e-9)
    assert value(name, target, target) == 0
    assert is_cost(name)


def test_an_undefined_figure_has_a_reason_by_what_it_compares():
    assert METRICS["map"]().undefined_if == "no image has a box that is to be found"
    assert METRICS["r2"]().undefined_if == "the targets do not vary"
    assert METRICS["accuracy"]().undefined_if == "targets and predictions hold one class alone"
