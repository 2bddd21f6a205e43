import numpy as np

from rayrml.data.readers import READERS


def test_initial_conditions_are_computed_from_their_number():
    reader = READERS["pde"](domain_size=32, num_examples=5, num_test_examples=2, bc_frequency=(1.0, 3.0))
    assert [len(reader.generate(part)) for part in ("training", "test")] == [5, 2]
    first, again = (reader.decode("", reader.generate("training")[3]) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first.shape, first.dtype) == ((1, 32), np.float32)
    assert not np.array_equal(first, reader.decode("", reader.generate("training")[2]))
    assert not np.array_equal(reader.decode("", "training/0"), reader.decode("", "test/0"))
