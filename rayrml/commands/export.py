"""`rayrml export`: export a checkpoint's network for other programs."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from rayrml.commands.first_words import announce_reading

if TYPE_CHECKING:
    from rayrml.exporting.export import Exported

HELP = "export a checkpoint's network for other programs: .pt2, .onnx, .h5"
EXAMPLES = (
    "rayrml export model network.onnx --with-preprocessing",
    "rayrml export model/best.pt network.pt2 --check images",
    "rayrml export model network.h5",
)


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    verb.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint, or a run's folder: its best model")
    meaning = "output file: .pt2 (torch.export), .onnx, .h5 (Keras) or .weights.h5 (Keras 3)"
    verb.add_argument("file", metavar="FILE", help=meaning)
    meaning = "the file takes pixels as decoders give them, and gives probabilities"
    verb.add_argument("--with-preprocessing", action="store_true", help=meaning)
    meaning = "images whose answers are compared with those of predict (default: some of the run's own)"
    verb.add_argument("--check", metavar="IMAGES", help=meaning)
    verb.add_argument("--opset", type=int, metavar="N", help="version of ONNX's operations (default: PyTorch's choice)")
    meaning = "weights and activations of 8 bits in an .onnx file; accuracy is measured before and after"
    verb.add_argument("--quantize", choices=("int8",), help=meaning)
    meaning = "folder of classes by which accuracy is measured (default: the run's test samples)"
    verb.add_argument("--test", metavar="FOLDER", help=meaning)
    meaning = "samples that show the range of each activation (default: the run's training samples)"
    verb.add_argument("--calibrate", metavar="FOLDER", help=meaning)
    meaning = "points of accuracy that may be lost, or no file is written (default: 1)"
    verb.add_argument("--max-loss", type=float, metavar="POINTS", help=meaning)


def do(options: argparse.Namespace) -> None:
    """Write the file and print how far its outputs differ. Raises what `rayrml.export` raises."""
    announce_reading(options.checkpoint)
    from rayrml.exporting.export import export

    found = export(
        options.checkpoint,
        options.file,
        preprocessing=options.with_preprocessing,
        check=options.check,
        opset=options.opset,
        quantize=options.quantize,
        test=options.test,
        calibrate=options.calibrate,
        max_loss=options.max_loss,
    )
    sys.stdout.write("".join(f"{line}\n" for line in _describe(found)))


def _describe(found: Exported) -> list[str]:
    from rayrml.formatting import format_bytes, format_path

    when = "" if found.quantized is None else " before quantization"
    lines = [f"Saved network: {format_path(found.path)} (largest difference of outputs{when}: {found.difference:.1g})"]
    if found.images.count:
        count = "1 image" if found.images.count == 1 else f"{found.images.count} images"
        lines.append(f"Compared with predictions of {count}{when}: largest difference {found.images.difference:.1g}")
    elif found.images.reason:
        lines.append(f"Not compared with predictions: {found.images.reason}. `--check IMAGES` names some")
    if found.quantized is not None:
        done = found.quantized
        sizes = f"{format_bytes(done.bytes_before)} -> {format_bytes(done.bytes_after)}"
        accuracy = f"accuracy {done.before:.2%} -> {done.after:.2%} on {done.num_samples} test samples"
        lines.append(f"Quantized to int8: {accuracy}, {sizes}")
    return lines
