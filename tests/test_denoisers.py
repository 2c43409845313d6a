"""Block matching without further packages, and how denoisers are called."""

from __future__ import annotations

import pytest
import torch
from skimage.data import camera
from torch import Tensor, nn

from dip_lightning.denoisers import BlockMatching, denoise_members
from dip_lightning.errors import ConfigurationError
from dip_lightning.functional.random import MemberGenerators

SIGMA = 0.1


def photograph() -> Tensor:
    return torch.from_numpy(camera()[128:192, 192:256] / 255).float()[None, None]


def noise(shape: tuple[int, ...]) -> Tensor:
    return MemberGenerators([0]).normal(shape, dtype=torch.float64).float() * SIGMA


def error(image: Tensor, target: Tensor) -> float:
    return float((image - target).square().mean())


def test_block_matching_removes_most_of_the_noise() -> None:
    target = photograph()
    noisy = target + noise((1, 64, 64))
    assert error(BlockMatching()(noisy, SIGMA), target) < 0.3 * error(noisy, target)


def test_block_matching_leaves_an_image_alone_when_there_is_no_noise() -> None:
    image = photograph()
    assert torch.equal(BlockMatching()(image, 0.0), image)
    assert error(BlockMatching()(image, 2e-4), image) < 1e-7


def test_colours_are_denoised_together() -> None:
    """Grey images in three channels stay grey, and luminance gains what a grey image does at the same noise."""
    target = photograph().expand(1, 3, 64, 64)
    together = BlockMatching()(target + noise((3, 64, 64)), SIGMA)
    alone = torch.cat([BlockMatching()(c, SIGMA) for c in (target + noise((3, 64, 64))).split(1, 1)], 1)
    assert error(together, target) < 0.8 * error(alone, target)
    grey = BlockMatching()(photograph().expand(1, 3, 64, 64), SIGMA)
    assert torch.allclose(grey[:, 0], grey[:, 1], atol=1e-5)


def test_channels_of_a_complex_image_are_denoised_one_by_one() -> None:
    image = torch.cat([photograph() + noise((1, 64, 64)), torch.zeros(1, 1, 64, 64)], 1).double()
    both = BlockMatching()(image, SIGMA)
    assert both.dtype == torch.float64
    assert torch.equal(both[:, :1].float(), BlockMatching()(image[:, :1].float(), SIGMA))


def test_each_member_has_its_own_strength() -> None:
    images = photograph().repeat(2, 1, 1, 1) + noise((1, 64, 64))
    denoiser = BlockMatching()
    both = denoise_members(denoiser, images, [SIGMA, 0.02])
    assert torch.equal(both[:1], denoiser(images[:1], SIGMA))
    assert torch.equal(both[1:], denoiser(images[1:], 0.02))


def test_a_denoiser_that_changes_the_shape_is_refused() -> None:
    class Grey(nn.Module):
        def forward(self, x: Tensor, sigma: float) -> Tensor:
            return x.mean(1, keepdim=True)

    with pytest.raises(ConfigurationError, match="3 channels"):
        denoise_members(Grey(), torch.rand(1, 3, 8, 8), [SIGMA])


@pytest.mark.parametrize("wrong", [{"patch_size": 1}, {"search_radius": 2}, {"stride": 0}])
def test_impossible_sizes_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        BlockMatching(**wrong)
