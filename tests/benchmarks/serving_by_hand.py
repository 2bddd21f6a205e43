"""The server that `serving` is compared with: FastAPI in one process, Pillow, and the network for one image at a time.

`python -m tests.benchmarks.serving_by_hand CHECKPOINT PORT`
"""

import io
import sys


def serve(checkpoint: str, port: int) -> None:
    """Serve until the process is ended."""
    import numpy as np
    import torch
    import uvicorn
    from fastapi import FastAPI, UploadFile
    from PIL import Image

    from rayrml.networks.network import build_network
    from rayrml.saving import checkpoints

    kept = checkpoints.load(checkpoint)
    network = build_network(kept.layers).eval()
    network.load_state_dict(kept.network)
    app = FastAPI()

    def predict(content: bytes) -> dict[str, float]:
        image = torch.from_numpy(np.asarray(Image.open(io.BytesIO(content)).convert("L"), np.float32) / 255)
        with torch.inference_mode():
            found = network(image[None, None])[0].exp().tolist()
        return dict(zip(kept.classes, found, strict=True))

    @app.post("/predict")
    def answer(file: UploadFile) -> dict[str, float]:
        return predict(file.file.read())

    uvicorn.run(app, port=port, log_level="error")


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
