"""A small generator and its critic for images of 28 x 28 pixels, and a training of both."""

import copy


def generator(activation="sigmoid", *, channels=1, momentum=0.9, declared=True):
    """A network that makes images of 8 random numbers."""
    dense = {"name": "dense", "units": 7 * 7 * 2}
    if declared:
        dense["batch_input_shape"] = [None, 8]
    conv = {"name": "conv", "filters": channels, "kernel_size": 3, "padding": "same", "activation": activation}
    return [
        {"class_name": "Dense", "config": dense},
        {"class_name": "BatchNormalization", "config": {"name": "norm", "momentum": momentum}},
        {"class_name": "Reshape", "config": {"name": "reshape", "target_shape": [7, 7, 2]}},
        {"class_name": "UpSampling2D", "config": {"name": "up", "size": 4}},
        {"class_name": "Conv2D", "config": conv},
    ]


def critic(*inner, units=1, activation="linear", channels=1, declared=True):
    """A network that gives an image a score; `inner` layers are behind its first one."""
    conv = {"name": "conv", "filters": 3, "kernel_size": 4, "strides": 4}
    if declared:
        conv["batch_input_shape"] = [None, 28, 28, channels]
    return [
        {"class_name": "Conv2D", "config": conv},
        *inner,
        {"class_name": "Flatten", "config": {"name": "flatten"}},
        {"class_name": "Dense", "config": {"name": "score", "units": units, "activation": activation}},
    ]


def configuration(folder, **changes):
    """A training on the digits of a folder; changes are values by keys with `__` for dots, None to leave a key out."""
    network = {
        "layers": generator(),
        "critic": {"layers": critic()},
        "data": {"input_type": "images", "grayscale": True, "input_path": str(folder / "training")},
        "optimizer": {"type": "Adam", "learning_rate": 5e-4, "beta1": 0.0, "beta2": 0.9},
        "loss": {"function": "Wasserstein", "critic_steps": 3},
        "num_epochs": 300,
    }
    network["data"] |= {"test_input_path": str(folder / "testing"), "batch_size": 4}
    network = copy.deepcopy(network)
    for key, value in changes.items():
        *outer, last = key.split("__")
        place = network
        for part in outer:
            place = place.setdefault(part, {})
        place.pop(last, None)
        place.update({} if value is None else {last: value})
    return {"neural_network": network}
