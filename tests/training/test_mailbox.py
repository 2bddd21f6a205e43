"""Messages from workers to the driver, and which of them may be lost on the way."""

import time

import pytest
import ray

from rayrml.reporting.messages import BatchesTrained, Phase
from rayrml.training.mailbox import Connection, Mailbox
from tests.reporting.test_figure_logs import row


@pytest.mark.ray
def test_a_worker_knows_what_the_driver_may_not_have_written_down(ray_cluster):
    mailbox = ray.remote(Mailbox).options(num_cpus=0).remote()

    def emit(worker, *rows):
        worker.emit(BatchesTrained(list(rows)))
        worker.settle()

    def comes_to(worker, *places):
        deadline = time.monotonic() + 30
        while (rows := [sent[:2] for sent in worker.unwritten()]) != list(places) and time.monotonic() < deadline:
            time.sleep(0.01)
        return rows == list(places)

    first = Connection(mailbox)
    first.emit(Phase("begins"))
    emit(first, row(1, 1), row(1, 2))
    assert comes_to(first, (1, 1), (1, 2))
    emit(first, row(2, 1))
    assert len(ray.get(mailbox.take.remote())) == 3
    time.sleep(0.3)
    assert comes_to(first, (1, 1), (1, 2), (2, 1)), "the driver may be lost before it writes"
    emit(first, row(2, 2))
    assert len(ray.get(mailbox.take.remote())) == 1
    assert comes_to(first, (2, 2))
    # Its replacement has sent nothing yet that the driver could have written.
    second = Connection(mailbox)
    emit(second, row(2, 1))
    assert comes_to(second, (2, 1))
    assert not second.asked_to_stop()
    ray.get(mailbox.take.remote(wish=True))
    assert comes_to(second, (2, 1))
    deadline = time.monotonic() + 30
    while not second.asked_to_stop() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert second.asked_to_stop()


@pytest.mark.ray
def test_workers_ask_as_often_as_one_of_them_does(ray_cluster):
    class Counting(Mailbox):
        questions = 0

        def heard(self):
            self.questions += 1
            return super().heard()

        def count(self):
            return self.questions

    mailbox = ray.remote(Counting).options(num_cpus=0).remote()
    others = [Connection(mailbox, listens=False) for _ in range(20)]
    first = Connection(mailbox)
    others[0].emit(Phase("says something"))
    ray.get(mailbox.take.remote(wish=True))
    deadline = time.monotonic() + 30
    while not first.asked_to_stop() and time.monotonic() < deadline:
        assert not any(other.asked_to_stop() for other in others)
        assert [row for other in others for row in other.unwritten()] == []
        time.sleep(0.05)
    assert first.asked_to_stop()
    asked = ray.get(mailbox.count.remote())
    time.sleep(0.5)
    assert not any(other.asked_to_stop() for other in others)
    assert ray.get(mailbox.count.remote()) == asked
