"""The metric table; each chapter's rows are at the end of its file."""

from rayrml.metrics import classification, detection, generation, labels, overlap, ranking, regression
from rayrml.metrics.columns import ColumnSums, figures_of_columns
from rayrml.metrics.confusion import MOST_CLASSES, Confusion, Pairs, confusion
from rayrml.metrics.evaluation import ClassCounts, ColumnDetails, Details, Evaluation, PartNames, name_classes
from rayrml.metrics.metric import Metric, predicted_classes

METRICS = {
    **classification.METRICS,
    **labels.METRICS,
    **ranking.METRICS,
    **overlap.METRICS,
    **regression.METRICS,
    **detection.METRICS,
    **generation.METRICS,
}

__all__ = [
    "METRICS",
    "MOST_CLASSES",
    "ClassCounts",
    "ColumnDetails",
    "ColumnSums",
    "Confusion",
    "Details",
    "Evaluation",
    "Metric",
    "Pairs",
    "PartNames",
    "confusion",
    "figures_of_columns",
    "name_classes",
    "predicted_classes",
]
