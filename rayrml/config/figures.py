"""The names of an epoch's figures in configurations, files and tables; the metric's name follows them."""

TRAIN_LOSS, TEST_LOSS = LOSSES = ("train_loss", "test_loss")
OF_TRAINING = ("epoch", TRAIN_LOSS, "learning_rate", "seconds")
COLUMNS = (*OF_TRAINING, TEST_LOSS)


def is_cost(name: str) -> bool:
    """Whether lower values of a figure are better: losses and errors are named so."""
    return name.endswith(("loss", "error"))
