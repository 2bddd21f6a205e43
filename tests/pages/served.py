"""`rayrml serve` on a page: `python -m tests.pages.served ARGUMENTS IMAGE` asks it for a prediction, and ends it.

It prints the prediction. An image from the folder of a class has to be one of that class.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.serving.foreground import serving

if __name__ == "__main__":
    *arguments, image = sys.argv[1:]
    with serving(arguments, Path.cwd()) as server:
        (prediction,) = server.predict(Path(image).read_bytes())["predictions"]
        server.end()
    probabilities = [found["probability"] for found in prediction["classes"]]
    assert 0 < sum(probabilities) <= 1 + 1e-6, prediction
    assert probabilities == sorted(probabilities, reverse=True), prediction
    names, folder = [found["class"] for found in prediction["classes"]], Path(image).parent.name
    assert folder not in names[1:], prediction
    print(json.dumps(prediction))
