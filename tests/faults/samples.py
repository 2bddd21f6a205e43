"""Small datasets whose right targets are known, changed in ways in which people's data differ."""

from __future__ import annotations

import dataclasses
import io
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

SIZE = 8
_LEARNED = {"num_epochs": 1, "checkpoints": {"save": "model", "plots": False}, "outfile": "log.txt"}
_OPTIMIZER = {"type": "SGD", "learning_rate": 1e-4}


@dataclasses.dataclass
class Made:
    """A dataset and its configuration.

    Attributes:
        configuration: of a run that trains on it.
        rights: the right target of each sample by its number, None for a sample that has none; None if not known.
        scale: what the first number of an input is multiplied by to give the sample's number.
        skips: whether samples that cannot be used are skipped.
        changes: what was changed, for messages.
    """

    configuration: dict[str, Any]
    rights: dict[int, Any] | None
    scale: float = 25.5
    skips: bool = False
    changes: list[str] = dataclasses.field(default_factory=list)

    @property
    def must_be_refused(self) -> bool:
        """Whether a sample has no right target, and is not to be skipped."""
        return not self.skips and self.rights is not None and any(right is None for right in self.rights.values())


def make(layers: Any, data: Mapping[str, Any], loss: Mapping[str, Any], rights: Any, **more: Any) -> Made:
    """A dataset with the configuration of a short training."""
    section = {**_LEARNED, "layers": layers, "data": {**data, "batch_size": 3}, "loss": loss, "optimizer": _OPTIMIZER}
    return Made({"neural_network": section}, rights, **more)


def layer(class_name: str, **config: Any) -> dict[str, Any]:
    """A layer in Keras JSON."""
    return {"class_name": class_name, "config": config}


def shade(number: int) -> Image.Image:
    """The input of a sample: its number is its shade."""
    return Image.new("L", (SIZE, SIZE), 10 * number)


def make_labels(r: random.Random) -> Made:
    """Images in class folders, with names and files that nobody expects."""
    names = r.sample(_NAMES, r.choice([1, 2, 2, 3])) if r.random() < 0.5 else ["a", "b"]
    changes = [repr(names)] if names != ["a", "b"] else []
    folder, number, files = Path("images"), 0, []
    for label in names:
        (folder / label).mkdir(parents=True)
        for _ in range(3):
            number += 1
            files.append(folder / label / f"{number}.png")
            shade(number).save(files[-1])
    labels = {path: sorted(names).index(path.parent.name) for path in files}
    rights: dict[int, Any] = {int(path.stem): label for path, label in labels.items()}
    layers = [
        layer("InputLayer", name="x", batch_input_shape=[None, SIZE, SIZE, 1]),
        layer("Flatten", name="f"),
        layer("Dense", name="d", units=len(names)),
    ]
    data: dict[str, Any] = {"input_type": "images", "target_type": "labels", "input_path": "images", "grayscale": True}
    skips = r.random() < 0.3
    data |= {"on_bad_sample": "skip"} if skips else {}
    data |= {"test_share": 0.4} if r.random() < 0.5 else {}
    data |= {"transforms": [{"resize": [SIZE, SIZE]}]} if (resized := r.random() < 0.2) else {}
    made = make(layers, data, {"function": "CrossEntropy"}, rights, skips=skips, changes=changes)
    if any(name.startswith(".") for name in names):
        made.rights = None
    if r.random() < 0.4:
        _add(r, folder, files, made)
    if r.random() < 0.6:
        spoil(r, files, made, resized=resized)
    return made


_NAMES = [
    "a", "b", "c d", " e", "é", "\U0001f600", "$x_1$", "a\nb", "#", "-f", ".g", "100%", "{}", "'", '"', "a,b", "c\\d",
    "A", "x.png", "\udcff", "~", "NaN", "a" * 200, "[bold]", "<b>", "\u202e", "1", "10", "2",
]  # fmt: skip


def _add(r: random.Random, folder: Path, files: list[Path], made: Made) -> None:
    """Add something beside the samples that is none, or is in an unexpected place."""
    inside, kind = r.choice(files).parent, r.randrange(8)
    made.changes.append(f"added {kind}")
    if kind == 0:
        (inside / "x.png").mkdir()
    elif kind == 1:
        (inside / ".hidden.png").write_bytes(b"x")
        (inside / "Thumbs.db").write_bytes(b"x")
    elif kind == 2:
        (folder / "empty").mkdir()
    elif kind == 3:
        (folder / "x.txt").write_text("x")
    elif kind == 4:
        (inside / "link.png").symlink_to("nowhere")
        made.rights = None
    elif kind == 5:
        (inside / "loop").symlink_to(folder.resolve())
    elif kind == 6:
        deeper = inside / "deeper"
        deeper.mkdir()
        shade(20).save(deeper / "20.png")
        made.rights = None
    else:
        shade(20).save(folder / "20.png")
        made.rights = None


def spoil(r: random.Random, files: list[Path], made: Made, *, resized: bool = False) -> None:
    """Replace the first, a middle or the last file by another one."""
    path, spoiler = files[r.choice([0, len(files) // 2, -1])], r.choice(_SPOILERS)
    made.changes.append(f"{spoiler.__name__} {path}")
    is_mask = path.parent.name == "masks"
    usable = spoiler(r, path, is_mask)
    if made.rights is None:
        return
    if usable is None or (spoiler is _resize and path == files[0]):  # then it is the others that differ
        made.rights = None
    elif not usable and not (spoiler is _resize and resized):
        made.rights[int(path.stem)] = None


def _empty(r: random.Random, path: Path, is_mask: bool) -> bool | None:
    path.write_bytes(b"")
    return False


def _truncate(r: random.Random, path: Path, is_mask: bool) -> bool | None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return False


def _write_text(r: random.Random, path: Path, is_mask: bool) -> bool | None:
    path.write_bytes(b"this is text")
    return False


def _make_folder(r: random.Random, path: Path, is_mask: bool) -> bool | None:
    path.unlink()
    path.mkdir()
    return None


def _break_link(r: random.Random, path: Path, is_mask: bool) -> bool | None:
    path.unlink()
    path.symlink_to("nowhere")
    return False


def _resize(r: random.Random, path: Path, is_mask: bool) -> bool | None:
    image = Image.open(io.BytesIO(path.read_bytes()))
    image.resize((SIZE + 1, SIZE), Image.Resampling.NEAREST).save(path, "PNG")
    return False


def _rename_away(r: random.Random, path: Path, is_mask: bool) -> bool | None:
    path.rename(path.with_suffix(".txt"))
    return None


def _rename(r: random.Random, path: Path, is_mask: bool) -> bool | None:
    path.rename(path.with_suffix(".JPEG"))
    return True


def _change_mode(r: random.Random, path: Path, is_mask: bool) -> bool | None:
    image = Image.open(io.BytesIO(path.read_bytes()))
    image.load()
    image.convert(r.choice(["RGB", "RGBA", "LA", "RGB" if is_mask else "CMYK"])).save(path, "TIFF")
    return None if is_mask else True


_SPOILERS = [
    _empty, _truncate, _write_text, _make_folder, _break_link, _resize, _rename_away, _rename, _change_mode,
]  # fmt: skip


def make_arrays(r: random.Random) -> Made:
    """Stacked arrays with labels or values, in every type and with shapes that do not fit."""
    count, labelled = r.randrange(6, 10), r.random() < 0.6
    inputs = np.stack([np.arange(count) + 1.0, *np.random.default_rng(0).integers(0, 9, (3, count))], 1)
    labels = np.arange(count) % 3
    targets = labels.astype(np.float64) if labelled else np.stack([labels * 1.5, inputs[:, 1]], 1)
    rights: dict[int, Any] = dict(enumerate(targets, 1))
    changes: list[str] = []
    if r.random() < 0.5:
        kind, number = r.randrange(8), r.choice([0, count // 2, count - 1])
        changes.append(f"value {kind} at {number}")
        wrong = [np.nan, np.inf, -1.0, 255.0, 1.5, 3.0, -100.0, 1e300][kind]
        targets.reshape(count, -1)[number, -1] = wrong
        bad = labelled or kind in (0, 1, 7)
        rights[number + 1] = None if bad else targets[number]
    names = {"x": inputs, "y": targets}
    for name in names:
        if r.random() < 0.4:
            kind = r.choice(_TYPES)
            with np.errstate(all="ignore"):
                before, names[name] = names[name], _cast(names[name], kind)
            changes.append(f"{name} {kind}")
            same = names[name].dtype.kind in "biuf" and np.array_equal(names[name].astype(float), before)
            rights = rights if same else {}
    if r.random() < 0.3:
        name, shape = r.choice(["x", "y"]), r.choice(_SHAPES)
        changes.append(f"{name} reshaped {_SHAPES.index(shape)}")
        names[name], rights = shape(names[name]), {}
    for name, values in names.items():
        _write(Path(f"{name}.{'h5' if count % 2 else 'npy'}"), values)
    ending = "h5" if count % 2 else "npy"
    data: dict[str, Any] = {"input_path": f"x.{ending}", "target_path": f"y.{ending}"}
    data |= {"input_type": "hdf5" if count % 2 else "numpy"}
    data["target_type"] = "labels" if labelled else data["input_type"]
    skips = r.random() < 0.3
    data |= {"on_bad_sample": "skip"} if skips else {}
    layers = [
        layer("InputLayer", name="x", batch_input_shape=[None, 4]),
        layer("Dense", name="d", units=3 if labelled else 2),
    ]
    loss = {"function": "CrossEntropy" if labelled else "MSE"}
    return make(layers, data, loss, rights or None, scale=1.0, skips=skips, changes=changes)


_TYPES = ["u1", "i1", "i2", "u2", ">i4", "u8", "i8", "f2", "f8", ">f4", "g", "?", "c8", "O", "S3", "U3", "M8[s]", "V8"]
_SHAPES: list[Callable[[np.ndarray], np.ndarray]] = [
    lambda a: a[:-1], lambda a: a[:0], lambda a: a[None], lambda a: a[..., None], lambda a: a.T,
    lambda a: a.reshape(-1), lambda a: a.flat[0], lambda a: np.concatenate([a, a]), lambda a: np.stack([a] * 3, -1),
    lambda a: a[:1],
]  # fmt: skip


def _cast(values: np.ndarray, kind: str) -> np.ndarray:
    if kind == "V8":
        return np.zeros(values.shape, [("a", "f4"), ("b", "i4")])
    if kind == "M8[s]":
        return np.nan_to_num(values, posinf=0).clip(-1e9, 1e9).astype("i8").astype(kind)
    return values.astype(kind)


def _write(path: Path, values: np.ndarray) -> None:
    if path.suffix == ".npy":
        np.save(path, values, allow_pickle=True)
        return
    with h5py.File(path, "w") as file:
        try:
            file["all"] = values
        except TypeError:  # HDF5 has no such type
            file["all"] = np.asarray(values).astype("S20")
