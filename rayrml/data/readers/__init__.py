"""The table of data types: how the samples of each become arrays.

A row's builder takes its options by keyword and returns a `Reader`. Readers run in Ray Data tasks, which must start
fast, so this package does not import torch or torchvision.
"""

from rayrml.data.readers import arrays, generated, idx, images
from rayrml.data.readers.reader import Part, Read, Reader

READERS = {**images.READERS, **arrays.READERS, **idx.READERS, **generated.READERS}

__all__ = ["READERS", "Part", "Read", "Reader"]
