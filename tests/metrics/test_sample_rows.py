import numpy as np

from rayrml.metrics.sample_rows import SampleRows, in_order


def collected(rows, numbers, cuts):
    collector = SampleRows()
    for some in np.split(numbers, cuts):
        collector.add(some, rows[some])
    return collector.part


def test_rows_are_in_the_order_of_the_samples_whatever_batches_and_workers_they_come_from():
    rows = np.random.default_rng(0).normal(size=(50, 3))
    order = np.random.default_rng(1).permutation(50)
    whole = in_order([collected(rows, np.arange(50), [])])
    parts = [collected(rows, order[:11], [3, 3, 7]), None, collected(rows, order[11:], [30])]
    assert np.array_equal(whole, rows)
    assert np.array_equal(in_order(parts), rows)
    assert in_order(parts).dtype == np.float64


def test_workers_without_samples_have_nothing_to_join():
    collector = SampleRows()
    collector.add(np.zeros(0, int), np.zeros((0, 3)))
    assert collector.part is None
    assert in_order([None, collector.part]).shape == (0, 0)
