"""YOLO's loss and a training loop as a user writes them by hand: image by image, with torchvision's overlap."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torchvision.ops import box_iou


class YoloLoss:
    """The loss of arXiv 1804.02767 for one grid; the mean over the images of a batch."""

    def __init__(self, anchors: tuple[tuple[float, float], ...], stride: int):
        self.anchors = torch.tensor(anchors)
        self.stride = stride

    def __call__(self, output: torch.Tensor, targets: list[torch.Tensor]) -> torch.Tensor:
        """Of an output (N, A (5 + C), rows, columns); targets are (n, 5) class and corners in pixels, of each image."""
        num, _, rows, columns = output.shape
        numbers = output.view(num, len(self.anchors), -1, rows, columns).permute(0, 1, 3, 4, 2)
        with torch.no_grad():
            predicted = self._decode(numbers)
        taken = torch.zeros(numbers.shape[:-1], dtype=torch.bool)
        near = torch.zeros_like(taken)
        total = output.new_zeros(())
        for image, rows_of_image in enumerate(targets):
            if not len(rows_of_image):
                continue
            classes, boxes = rows_of_image[:, 0].long(), rows_of_image[:, 1:]
            overlap = box_iou(predicted[image].reshape(-1, 4), boxes).amax(1)
            near[image] = (overlap > 0.5).view(near[image].shape)
            sizes, middles = boxes[:, 2:] - boxes[:, :2], (boxes[:, :2] + boxes[:, 2:]) / 2 / self.stride
            best = box_iou(_centred(sizes), _centred(self.anchors)).argmax(1)
            column, row = middles.long().unbind(1)
            column, row = column.clamp(max=columns - 1), row.clamp(max=rows - 1)
            own = numbers[image, best, row, column]
            taken[image, best, row, column] = True
            inside = middles - torch.stack([column, row], 1)
            places = bce(own[:, :2], inside, reduction="none").sum(1)
            scales = (own[:, 2:4] - (sizes / self.anchors[best]).log()).square().sum(1) / 2
            weights = 2 - sizes.prod(1) / (rows * columns * self.stride**2)
            kinds = nn.functional.one_hot(classes, own.shape[1] - 5).float()
            total = total + (weights * (places + scales)).sum() + bce(own[:, 5:], kinds, reduction="sum")
        found = bce(numbers[..., 4], taken.float(), reduction="none")
        return (total + found[taken].sum() + found[~(taken | near)].sum()) / num

    def _decode(self, numbers: torch.Tensor) -> torch.Tensor:
        rows, columns = numbers.shape[2:4]
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        middles = (numbers[..., :2].sigmoid() + torch.stack([x, y], -1)) * self.stride
        halves = numbers[..., 2:4].exp() * self.anchors[:, None, None] / 2
        return torch.cat([middles - halves, middles + halves], -1)


class Detector:
    """A tensor of images and a list of boxes in memory, a permutation an epoch, and the lines of a step."""

    def __init__(self, network: nn.Module, loss: YoloLoss, images: torch.Tensor, boxes: list[torch.Tensor]):
        self.network = network
        self.criterion = loss
        self.images = images
        self.boxes = boxes
        self.optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
        self.loss = float("nan")

    def __call__(self) -> None:
        """Train an epoch."""
        self.network.train()
        losses = []
        width = self.images.shape[3]
        for picked in torch.randperm(len(self.images)).split(16):
            images = self.images[picked].float().div_(255)
            targets = [self.boxes[i] for i in picked.tolist()]
            for i in (torch.rand(len(picked)) < 0.5).nonzero()[:, 0].tolist():
                images[i] = images[i].flip(2)
                kind, left, top, right, bottom = targets[i].unbind(1)
                targets[i] = torch.stack([kind, width - right, top, width - left, bottom], 1)
            self.optimizer.zero_grad()
            loss = self.criterion(self.network(images), targets)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        self.loss = sum(losses) / len(losses)


def _centred(sizes: torch.Tensor) -> torch.Tensor:
    return torch.cat([-sizes / 2, sizes / 2], 1)
