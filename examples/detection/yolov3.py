"""Writes YOLOv3 as darknet computes it, for 80 classes `yolov3_80.json`: the weights of darknet's files fit it.

The layers are those of darknet's yolov3.cfg (arXiv 1804.02767), and convolutions have its numbers. Convolutions of
stride 2 pad above and on the left.
"""

import argparse
import json
from pathlib import Path

STAGES = ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4))  # filters, and number of residual blocks
HEADS = (512, 256, 128)  # filters of the three outputs, from the coarse to the fine one


class Layers:
    """The layers so far; each follows the one before it, or those that are named."""

    def __init__(self):
        self.list = []
        self.convolutions = 0

    def add(self, class_name, name, sources=(), **settings):
        """A layer; returns its name."""
        inbound = {"inbound_nodes": list(sources)} if sources else {}
        self.list.append({"class_name": class_name, "config": {"name": name, **settings}, **inbound})
        return name

    def convolution(self, filters, size, *, source=None, halve=False):
        """A convolution, batch normalization and leaky ReLU; returns the name of its result."""
        sources = () if source is None else (source,)
        number = self.convolutions = self.convolutions + 1
        settings = {"filters": filters, "kernel_size": size, "use_bias": False, "padding": "same"}
        if halve:
            self.add("ZeroPadding2D", f"pad_{number}", padding=[[1, 0], [1, 0]])
            settings |= {"strides": 2, "padding": "valid"}
        self.add("Conv2D", f"conv_{number}", sources, **settings)
        self.add("BatchNormalization", f"norm_{number}", momentum=0.9, epsilon=1e-5)
        return self.add("LeakyReLU", f"leaky_{number}", negative_slope=0.1)

    def output(self, filters):
        """A convolution whose result is an output of the network."""
        self.convolutions += 1
        self.add("Conv2D", f"boxes_{self.convolutions}", filters=filters, kernel_size=1)


def yolov3(height, width, num_classes):
    """The layers of the network; its outputs have cells of 32, 16 and 8 pixels."""
    layers = Layers()
    layers.add("InputLayer", "image", batch_input_shape=[None, height, width, 3])
    layers.convolution(32, 3)
    stages = []
    for filters, count in STAGES:
        before = layers.convolution(filters, 3, halve=True)
        for _ in range(count):
            layers.convolution(filters // 2, 1)
            after = layers.convolution(filters, 3)
            before = layers.add("Add", f"add_{layers.convolutions}", (before, after))
        stages.append(before)
    kept = [stages[3], stages[2]]  # of 16 and 8 pixels
    for filters in HEADS:
        for _ in range(2):
            layers.convolution(filters, 1)
            layers.convolution(2 * filters, 3)
        middle = layers.convolution(filters, 1)
        layers.convolution(2 * filters, 3)
        layers.output(3 * (5 + num_classes))
        if kept:
            layers.convolution(filters // 2, 1, source=middle)
            up = layers.add("UpSampling2D", f"up_{layers.convolutions}", size=2)
            layers.add("Concatenate", f"join_{layers.convolutions}", (up, kept.pop(0)))
    return layers.list


def main():
    """Write the network into the current folder."""
    parser = argparse.ArgumentParser(description="Write YOLOv3 with the padding of darknet.")
    parser.add_argument("--classes", type=int, default=80, help="number of classes (default: 80, COCO's)")
    parser.add_argument("--size", type=int, nargs=2, default=[416, 416], help="height and width, multiples of 32")
    arguments = parser.parse_args()
    if any(side < 32 or side % 32 for side in arguments.size):
        parser.error("--size: expected multiples of 32")
    network = yolov3(*arguments.size, arguments.classes)
    lines = ",\n".join(f" {json.dumps(layer)}" for layer in network)
    path = Path(f"yolov3_{arguments.classes}.json")
    path.write_text(f"[\n{lines}\n]\n")
    print(f"{path}: {len(network)} layers, {arguments.classes} classes")


if __name__ == "__main__":
    main()
