"""Subspace deep image prior: few coefficients instead of all weights."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from dip_lightning.errors import ConfigurationError
from dip_lightning.functional.subspace import principal_directions
from dip_lightning.inputs import InitialEstimate, NetworkInput
from dip_lightning.methods.dip import DIP
from dip_lightning.networks.subspace import SubspaceNetwork
from dip_lightning.networks.weights import load_weights, read_file


class SubspaceDIP(DIP):
    r"""Subspace DIP: :math:`\min_c \|A f_{\theta_0 + U c}(z) - y\|`, with pretrained weights :math:`\theta_0`.

    The columns of :math:`U` are the first left singular vectors of the path that the parameters took in pretraining.
    A few hundred coefficients cannot fit the noise as millions of weights can, and are few enough for L-BFGS. Source:
    arXiv 2302.10279; published settings: 1,000 samples, Adam 1e-2 with 10,000 steps or L-BFGS with 250. Of that
    paper's further options, leverage-score trimming of parameters and sampling of directions are not here.

    Args:
        pretrained: Checkpoint of ``dip-lightning pretrain`` that gives :math:`\theta_0`.
        trajectory: ``trajectory.pt`` that the callback ``ParameterTrajectory`` wrote in the same pretraining.
        dim: Number of coefficients; at most the number of samples in the trajectory.
        initial_input: First input; by default the measurement's initial estimate, as in pretraining.
        **kwargs: See :class:`~dip_lightning.methods.settings.FitSettings`.

    Raises:
        ConfigurationError: If ``dim`` is not positive.
    """

    static_step = True

    def __init__(
        self,
        pretrained: str,
        trajectory: str,
        dim: int = 40,
        initial_input: NetworkInput | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(initial_input=initial_input or InitialEstimate(), reinitialise=False, **kwargs)
        if dim < 1:
            raise ConfigurationError(f"dim={dim} must be at least 1.")
        self.pretrained = pretrained
        self.trajectory = trajectory
        self.dim = dim

    def setup(self, stage: str) -> None:
        """Load weights and trajectory, and put the network into the subspace; see the base class.

        Raises:
            ConfigurationError: If there are several members, or a file cannot be read, is another network's, or has
                too few samples.
        """
        if self.take_measurement(self.trainer).batch_size > 1:
            raise ConfigurationError("SubspaceDIP fits one measurement at a time: set data.batch and data.repeat to 1.")
        if stage == "fit" and isinstance(self.network, SubspaceNetwork):  # of an earlier fit
            nn.init.zeros_(self.network.coefficients)
        elif stage == "fit":
            load_weights(self.network, self.pretrained)
            names, basis = self._basis()
            self.network = SubspaceNetwork(self.network, names, basis)
        super().setup(stage)

    def _basis(self) -> tuple[list[str], Tensor]:
        content = read_file(self.trajectory, "trajectory")
        if not {"names", "shapes", "samples"} <= content.keys():
            raise ConfigurationError(f"{self.trajectory} is no file of the callback ParameterTrajectory.")
        names, shapes = content["names"], content["shapes"]
        own = {name: list(parameter.shape) for name, parameter in self.network.named_parameters()}
        wrong = [name for name, shape in zip(names, shapes, strict=True) if own.get(name) != shape]
        if wrong:
            raise ConfigurationError(
                f"The trajectory {self.trajectory} is not of this {type(self.network).__name__}: "
                f"{len(wrong)} parameters are missing or of another shape ({', '.join(wrong[:4])})."
            )
        dtype = next(self.network.parameters()).dtype
        try:
            return names, principal_directions(content["samples"].to(dtype), self.dim)
        except ValueError as error:
            raise ConfigurationError(f"dim={self.dim}: {error} Set a smaller dim, or save more samples.") from error
