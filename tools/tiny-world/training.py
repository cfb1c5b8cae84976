"""Code shared by the three training scripts."""

import os
import time

import numpy as np
import torch

# Autocast to bfloat16 pays only on CPUs with AMX.
AMP = os.environ.get("AMP") == "1"


def autocast():
    return torch.autocast("cpu", torch.bfloat16, enabled=AMP)


def rounds(minutes):
    """Yields (step, fraction of the time that has passed) until the time is over."""
    started, step = time.time(), 0
    while (fraction := (time.time() - started) / 60 / minutes) < 1:
        yield step, fraction
        step += 1


def learning_rate(peak, step, fraction, warmup, floor=0.03):
    """A linear warm-up over steps, then half a cosine over the time, down to `floor` of the peak."""
    cosine = 0.5 * (1 + np.cos(np.pi * fraction))
    return peak * min(1, (step + 1) / warmup) * (cosine * (1 - floor) + floor)


def update(optimizer, model, loss):
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


class Average:
    """A running mean of the loss."""

    value = None

    def add(self, loss):
        self.value = loss if self.value is None else 0.98 * self.value + 0.02 * loss
        return self.value


def gradients(x):
    """Differences of neighbours on the last two axes."""
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def millions(model):
    return f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters"
