"""Masks on weights: soft samples of Bernoulli variables, and the hard choice of the most probable ones."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def soft_mask(logits: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    r"""Sample the Gumbel-softmax relaxation of Bernoulli variables with the given log-odds.

    The difference of two Gumbel variables is logistic, so that the first of two classes is
    :math:`\sigma((l + \log u - \log(1 - u)) / T)`. Source: Jang et al., arXiv 1611.01144.

    Args:
        logits: Log-odds :math:`l`, any shape.
        uniform: Numbers :math:`u` uniform on [0, 1), of the same shape.
        temperature: :math:`T`; samples are near 0 and 1 for small ones.

    Returns:
        Samples in [0, 1], with gradients to ``logits``.
    """
    return torch.sigmoid((logits + torch.logit(uniform)) / temperature)


def bernoulli_divergence(logits: Tensor, prior: float) -> Tensor:
    r"""Kullback-Leibler divergence :math:`\sum_i p_i \log\frac{p_i}{q} + (1 - p_i) \log\frac{1 - p_i}{1 - q}`.

    Args:
        logits: Log-odds of the :math:`p_i`.
        prior: :math:`q`, in (0, 1).

    Returns:
        A number.
    """
    p, log_p, log_rest = torch.sigmoid(logits), F.logsigmoid(logits), F.logsigmoid(-logits)
    log_q, log_other = torch.logit(logits.new_tensor(prior)), torch.log1p(logits.new_tensor(-prior))
    # p log(p / q) + (1 - p) log((1 - p) / (1 - q)), with log q = logit q + log(1 - q)
    return (p * (log_p - log_rest - log_q) + log_rest - log_other).sum()


def largest(values: Tensor, count: int, uniform: Tensor) -> Tensor:
    """Mark the largest values, exactly as many as asked for.

    Args:
        values: ``[N]``.
        count: How many.
        uniform: Random numbers ``[N]`` that decide among equal values.

    Returns:
        ``[N]``, boolean.
    """
    shuffled = torch.argsort(uniform)
    order = shuffled[torch.argsort(values[shuffled], descending=True, stable=True)]
    mask = torch.zeros_like(values, dtype=torch.bool)
    mask[order[:count]] = True
    return mask
