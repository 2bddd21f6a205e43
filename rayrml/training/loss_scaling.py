"""Dynamic loss scaling: gradients in 16-bit floats that are neither too small nor too large for them.

The smallest normal number of 16 bits is 6e-5, and gradients are often smaller. So the loss is multiplied by a large
number before backward, and the gradient divided by it afterwards. If the gradient or the loss overflows, the step is
skipped and the number halved; after many steps without an overflow it is doubled.

Source: arXiv 1710.03740, section 3.2; numbers of PyTorch's `GradScaler`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

_FIRST = 2.0**16
_STEPS_UNTIL_GROWTH = 2000
_LEAST = 2.0**-14  # a gradient that overflows even so is not finite for another reason


class LossScaler:
    """Scales losses, and skips the steps whose losses or gradients are not finite; its state stays on the device.

    Workers that share their gradients and losses all find the same, and so do the same.

    Attributes:
        scale: what losses are multiplied by, a scalar on the device; always the same tensor.
        overflow: 1 if the last step was skipped, else 0, a scalar on the device; each step's own tensor.
    """

    def __init__(self, device: torch.device, network: nn.Module | None = None):
        """Begin with a large scale; the running statistics of `network` are restored after a step that is skipped."""
        buffers = [] if network is None else network.buffers()
        self._statistics = [buffer for buffer in buffers if buffer.is_floating_point()]
        self._before = torch.empty(0, device=device)  # all of them before the step, one after the other
        self.scale = torch.tensor(_FIRST, device=device)
        self._good = torch.zeros((), device=device)  # steps without an overflow since the scale has changed
        self._skipped = torch.zeros((), device=device)  # in this epoch
        self.overflow = torch.zeros((), device=device)
        self._stepped: torch.optim.Optimizer | None = None

    def begin(self) -> None:
        """Remember the running statistics; must be called before a step's forward."""
        self._before = self._all_statistics()

    def unscale(self, gradients: Sequence[torch.Tensor], lengths: torch.Tensor, loss: torch.Tensor) -> torch.Tensor:
        """Divide the gradients of a scaled `loss` by the scale, in place; returns their `lengths` divided by it."""
        inverse = 1 / self.scale
        torch._foreach_mul_(list(gradients), inverse)  # pyright: ignore[reportPrivateImportUsage]
        finite = torch.isfinite(torch.linalg.vector_norm(lengths)) & torch.isfinite(loss)
        self.overflow = (~finite).to(lengths.dtype)
        return lengths * inverse

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Take the optimizer's step unless loss or gradient overflowed, and adapt the scale."""
        if self._can_wait(optimizer):
            optimizer.found_inf = self.overflow  # pyright: ignore[reportAttributeAccessIssue]
            optimizer.step()
            del optimizer.found_inf  # pyright: ignore[reportAttributeAccessIssue]
        elif not self.overflow.item():
            optimizer.step()
            self._stepped = optimizer
        self._restore_statistics()
        self._adapt()

    def take_skipped(self) -> int:
        """How many steps of the epoch were skipped; begins to count anew."""
        skipped = int(self._skipped.item())
        self._skipped.zero_()
        return skipped

    @property
    def exhausted(self) -> bool:
        """Whether loss or gradient overflow however small the scale is."""
        return self.scale.item() < _LEAST

    def state(self) -> dict[str, torch.Tensor]:
        """What is needed to continue."""
        return {"scale": self.scale, "good": self._good, "skipped": self._skipped}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Continue from a state; from the first scale if it is empty."""
        for name, own in self.state().items():
            if name in state:
                own.copy_(state[name])

    def _can_wait(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether the optimizer's kernels look at the overflow themselves, so that the CPU need not wait for the GPU.

        Not in an optimizer's first step: SGD's kernels would leave the momentum without a value.
        """
        fused = getattr(optimizer, "_step_supports_amp_scaling", False)
        return fused and self.scale.is_cuda and self._stepped is optimizer

    def _all_statistics(self) -> torch.Tensor:
        return torch.cat([each.flatten() for each in self._statistics]) if self._statistics else self._before

    def _restore_statistics(self) -> None:
        """Undo the update of the running statistics if the step is skipped, without a look at whether it is."""
        if not self._statistics:
            return
        kept = torch.where(self.overflow > 0, self._before, self._all_statistics())
        parts = kept.split([each.numel() for each in self._statistics])
        parts = [part.view_as(own) for part, own in zip(parts, self._statistics, strict=True)]
        torch._foreach_copy_(self._statistics, parts)  # pyright: ignore[reportPrivateImportUsage]

    def _adapt(self) -> None:
        good = (self._good + 1) * (1 - self.overflow)
        grows = (good >= _STEPS_UNTIL_GROWTH).to(good.dtype)
        self.scale.mul_(torch.where(self.overflow > 0, 0.5, 1 + grows))
        self._good.copy_(good * (1 - grows))
        self._skipped.add_(self.overflow)
