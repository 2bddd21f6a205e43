import pytest
import torch

from rayrml.inference.arithmetic import arithmetic, autocast, autocast_dtype, has_tf32

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("float32", None), ("tf32", None), ("auto", None), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_the_types_of_numbers_on_a_cpu(precision, dtype):
    found = autocast_dtype(precision, CPU)
    assert found is dtype
    with autocast(torch.zeros(1), found):
        assert torch.nn.Linear(2, 2)(torch.zeros(1, 2)).dtype == (dtype or torch.float32)


def test_a_cpu_computes_as_before():
    assert not has_tf32(CPU)
    with arithmetic("tf32", CPU, benchmark=True):
        assert not torch.backends.cuda.matmul.allow_tf32
        assert not torch.backends.cudnn.benchmark
