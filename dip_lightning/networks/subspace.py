"""A network whose parameters move in a subspace only."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call


class SubspaceNetwork(nn.Module):
    r"""Network with the parameters :math:`\theta = \theta_0 + U c`, of which :math:`c` alone is trained.

    Args:
        network: The network; its parameters are :math:`\theta_0` and are frozen.
        names: Names of the parameters that move, in the order of the rows of the basis.
        basis: :math:`U`, ``[P, dim]``, with as many rows as these parameters have elements.
    """

    basis: Tensor

    def __init__(self, network: nn.Module, names: list[str], basis: Tensor) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self.names = names
        self.coefficients = nn.Parameter(torch.zeros(basis.shape[1], dtype=basis.dtype))
        # Read from its file again when a fit is continued: checkpoints stay small.
        self.register_buffer("basis", basis, persistent=False)

    def parameters_now(self) -> dict[str, Tensor]:
        r"""The parameters :math:`\theta_0 + U c` by name, with gradients to the coefficients."""
        start = {name: self.network.get_parameter(name) for name in self.names}
        step = (self.basis @ self.coefficients).split([parameter.numel() for parameter in start.values()])
        return {name: p + part.view_as(p) for (name, p), part in zip(start.items(), step, strict=True)}

    def forward(self, x: Tensor) -> Tensor:
        """Run the network with the parameters of now.

        Args:
            x: ``[B, C_in, H, W]``.

        Returns:
            ``[B, C_out, H, W]``.
        """
        result: Tensor = functional_call(self.network, self.parameters_now(), (x,))
        return result
