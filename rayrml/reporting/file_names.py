"""The names of the files next to a run's checkpoints."""

from __future__ import annotations

from rayrml.reporting import history

CONFIG, ENVIRONMENT, CLASSES, METRICS = "config.resolved.json", "environment.json", "classes.json", "metrics.json"
DATA = "data.json"  # how many samples there are, and of which classes
CONFUSION_TABLE = "confusion_matrix.csv"
RUN_LOG = "run.log"  # what the run has shown
REPORT = "report.html"
FILES = (CONFIG, history.FILE, METRICS, CLASSES, ENVIRONMENT, DATA, CONFUSION_TABLE, REPORT, RUN_LOG)
SEARCH, TRIALS_FOLDER = "trials.json", "trials"  # the state of a search, and the folder of its trials
SEARCH_FILES = (SEARCH, "trials.csv", "trials.png", "best_config.json", "best_model.pt")
PLOTS_FOLDER = "plots"
CURVES = ("loss", "metric", "learning_rate")  # plots of the history; `plots.draw_loss` draws the first, and so on
CONFUSION_MATRIX, PREDICTIONS = "confusion_matrix", "predictions"
SCATTER, PRECISION_RECALL = "scatter", "precision_recall"
EXAMPLES, MISTAKES = "examples", "mistakes"
SAMPLES = "samples"  # of a generator; also the folder of their pictures during training
PLOTS = {
    name: f"{PLOTS_FOLDER}/{name}.png"
    for name in (*CURVES, CONFUSION_MATRIX, PREDICTIONS, MISTAKES, SCATTER, PRECISION_RECALL, SAMPLES, EXAMPLES)
}
SAMPLES_PICTURE = f"{SAMPLES}.png"  # of generated samples, next to their file
PREDICTIONS_TABLE = "predictions.csv"  # of classes, next to the predictions
DETECTIONS = "detections.json"  # COCO's results, likewise


def sample_picture(epoch: int) -> str:
    """The name of the picture of the samples after an epoch."""
    return f"epoch_{epoch}.png"
