"""Train, evaluate and predict with neural networks from one JSON file, on a laptop or a Ray cluster."""
