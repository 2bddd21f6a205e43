"""Large networks as Keras JSON, made rather than stored."""


class Layers(list):
    """Layers of a functional model; `add` returns the name by which later layers refer to the new one."""

    def add(self, class_name, *inputs, **config):
        name = f"{class_name.lower()}_{len(self)}"
        calls = [[[source, 0, 0, {}] for source in inputs]] if inputs else []
        self.append(
            {"class_name": class_name, "name": name, "config": {"name": name, **config}, "inbound_nodes": calls}
        )
        return name

    def model(self, output):
        config = {"layers": [*self], "input_layers": [[self[0]["name"], 0, 0]], "output_layers": [[output, 0, 0]]}
        return {"class_name": "Functional", "config": config}


def resnet50(size, *, width=64, num_classes=1000):
    """ResNet50 for (3, size, size), with bottlenecks that downsample in their 3 x 3 convolution.

    With `width` 64 and 1000 classes it has the 25.6 million parameters of the paper's. Source: arXiv 1512.03385.
    """
    layers = Layers()

    def convolved(x, filters, kernel, strides=1, activation="relu"):
        x = layers.add(
            "Conv2D", x, filters=filters, kernel_size=kernel, strides=strides, padding="same", use_bias=False
        )
        x = layers.add("BatchNormalization", x, axis=[3])
        return layers.add("Activation", x, activation=activation) if activation else x

    x = layers.add("InputLayer", batch_input_shape=[None, size, size, 3])
    x = convolved(x, width, 7, 2)
    x = layers.add("MaxPooling2D", x, pool_size=3, strides=2, padding="same")
    for stage, count in enumerate((3, 4, 6, 3)):
        filters = width * 2**stage
        for block in range(count):
            strides = 2 if stage and not block else 1
            shortcut = x if block else convolved(x, 4 * filters, 1, strides, None)
            y = convolved(convolved(x, filters, 1), filters, 3, strides)
            x = layers.add("Add", convolved(y, 4 * filters, 1, 1, None), shortcut)
            x = layers.add("Activation", x, activation="relu")
    x = layers.add("GlobalAveragePooling2D", x)
    return layers.model(layers.add("Dense", x, units=num_classes, activation="log_softmax"))


def unet3d(size, *, width=32, depth=3):
    """A U-Net for (1, size, size, size) with an output of that size: 19 million parameters with width 32 and depth 3.

    Source: arXiv 1606.06650, Figure 2.
    """
    layers = Layers()

    def convolved(x, *filters):
        for number in filters:
            x = layers.add("Conv3D", x, filters=number, kernel_size=3, padding="same", use_bias=False)
            x = layers.add("Activation", layers.add("BatchNormalization", x, axis=[4]), activation="relu")
        return x

    x = layers.add("InputLayer", batch_input_shape=[None, size, size, size, 1])
    skipped = []
    for level in range(depth):
        x = convolved(x, width * 2**level, width * 2 ** (level + 1))
        skipped.append(x)
        x = layers.add("MaxPooling3D", x, pool_size=2)
    x = convolved(x, width * 2**depth, width * 2 ** (depth + 1))
    for level in reversed(range(depth)):
        filters = width * 2 ** (level + 1)
        x = layers.add("Conv3DTranspose", x, filters=2 * filters, kernel_size=2, strides=2)
        x = convolved(layers.add("Concatenate", x, skipped[level]), filters, filters)
    return layers.model(layers.add("Conv3D", x, filters=1, kernel_size=1))
