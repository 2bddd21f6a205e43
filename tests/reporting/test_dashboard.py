from rayrml.cluster.late_start import LateStart, offering
from rayrml.reporting.dashboard import Gauges
from rayrml.reporting.messages import EpochDone


def test_there_are_no_gauges_as_long_as_ray_has_not_started():
    gauges = Gauges("run")
    with offering(LateStart(lambda: None, lambda: None, {"CPU": 1})):
        gauges.receive(EpochDone({"epoch": 1, "train_loss": 0.5, "seconds": 2.0}))
    assert gauges._gauges == {}
    assert gauges._values == {"epoch_train_loss": (0.5, {"run": "run"}), "epoch_seconds": (2.0, {"run": "run"})}
