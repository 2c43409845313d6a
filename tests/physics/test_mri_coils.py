"""Coil maps by ESPIRiT, whitening and compression, on coils that are known."""

import numpy as np
import pytest
import torch
from fake_data.fastmri import centred_fft, coil_images

from dip_lightning.errors import ConfigurationError, MeasurementError
from dip_lightning.physics import ESPIRiT, RandomLines, SimulatedCoils
from dip_lightning.physics.mri_channels import compression, mix, noise_covariance, whitening
from dip_lightning.physics.mri_espirit import calibration_block, centre, espirit


def kspace(coils=5, height=48, width=40):
    return torch.from_numpy(centred_fft(coil_images(1, coils, height, width)[0]))


def smooth_object(height=64, width=56):
    """K-space of a smooth object seen through known maps."""
    maps = SimulatedCoils(6).simulated((height, width))
    rows, columns = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)[None]
    image = torch.exp(-2 * (rows**2 + columns**2)) * torch.exp(1j * (rows + columns))
    return maps, torch.from_numpy(centred_fft((maps * image).numpy())), image.abs() > 0.2


def test_espirit_finds_known_maps_up_to_a_phase():
    maps, data, inside = smooth_object()
    estimate = espirit(centre(data, (24, 24)), (64, 56), crop=0.8)
    overlap = (estimate.conj() * maps).sum(0).abs()  # 1 where they agree, for both have norm 1
    assert overlap[inside].min() > 0.999
    assert estimate[0].imag.abs().max() < 1e-5
    norm = torch.linalg.vector_norm(estimate, dim=0)
    assert ((norm - 1).abs() < 1e-4).logical_or(norm == 0).all()


def test_espirit_makes_the_first_coil_positive_whatever_the_eigenvectors_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    _, data, _ = smooth_object()
    expected, eigh = espirit(centre(data, (24, 24)), (64, 56), crop=0.8), torch.linalg.eigh

    def turned(matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, vectors = eigh(matrices)
        phases = torch.polar(torch.ones(len(vectors)), torch.arange(len(vectors)).float())
        return values, vectors * phases[:, None, None, None]

    monkeypatch.setattr(torch.linalg, "eigh", turned)
    estimate = espirit(centre(data, (24, 24)), (64, 56), crop=0.8)
    torch.testing.assert_close(estimate, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(estimate[0], estimate[0].abs().to(estimate), rtol=0, atol=1e-5)


def test_espirit_does_not_depend_on_the_threads_and_leaves_their_number():
    _, data, inside = smooth_object()
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(espirit(centre(data, (24, 24)), (64, 56), crop=0.8))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found[0][:, inside], found[1][:, inside], rtol=0, atol=1e-5)


def test_espirit_is_sigpys():
    pytest.importorskip("sigpy", reason="sigpy is not installed")
    data, mask = kspace(), torch.ones(48, 40, dtype=torch.bool)
    ours, theirs = ESPIRiT().measured(data, mask), ESPIRiT(backend="sigpy").measured(data, mask)
    both = (ours != 0).any(0) & (theirs != 0).any(0)
    assert torch.equal((ours != 0).any(0), (theirs != 0).any(0))
    torch.testing.assert_close(ours[:, both], theirs[:, both], rtol=0, atol=2e-3)


def test_sigpy_missing_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "sigpy.mri.app", None)
    monkeypatch.setitem(sys.modules, "sigpy", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'dip-lightning\[mri\]'"):
        ESPIRiT(backend="sigpy").measured(kspace(), torch.ones(48, 40, dtype=torch.bool))


@pytest.mark.parametrize(
    ("mask", "block"),
    [(RandomLines(4, 0.08), (24, 7)), (RandomLines(4, 0.08, axis=-2), (7, 24)), (RandomLines(2, 0.4), (24, 24))],
)
def test_calibration_block_is_what_is_fully_sampled(mask, block):
    sampled = mask((96, 96))
    found = calibration_block(sampled, 24)
    # A line beside the centre may be sampled by chance.
    assert all(a <= b <= a + 1 for a, b in zip(block, found, strict=True))
    assert centre(sampled, found).all()


def test_small_centre_gets_a_small_kernel_or_is_refused():
    maps, data, inside = smooth_object()
    mask = torch.zeros(64, 56, dtype=torch.bool)
    mask[:, 24:33] = True
    estimate = ESPIRiT(crop=0.8).measured(data * mask, mask)
    found = inside & (estimate != 0).any(0)
    assert found.sum() > 0.8 * inside.sum()
    overlap = (estimate.conj() * maps).sum(0).abs()[found]
    assert overlap.min() > 0.95
    assert overlap.mean() > 0.995
    mask[:, :27] = mask[:, 30:] = False
    with pytest.raises(MeasurementError, match="fully sampled centre of k-space, 24x3, is too small"):
        ESPIRiT().measured(data * mask, mask)


def test_maps_need_signal():
    noise = torch.randn(4, 48, 40, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    with pytest.raises(MeasurementError, match="finds no signal above crop"):
        ESPIRiT(threshold=0.9, crop=0.99).measured(noise, torch.ones(48, 40, dtype=torch.bool))


def test_espirit_arguments():
    for bad in ({"width": 2}, {"kernel": 1}, {"threshold": 0.0}, {"crop": 1.0}, {"calibration": "ful"}):
        with pytest.raises(ConfigurationError):
            ESPIRiT(**bad)


def correlated_noise(coils=4, height=60, width=50):
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(coils, coils, dtype=torch.complex64, generator=generator)
    white = torch.randn(coils, height, width, dtype=torch.complex64, generator=generator)
    return mixing, mix(mixing, white)


def test_whitening_makes_the_noise_independent():
    mixing, noise = correlated_noise()
    mask = torch.ones(60, 50, dtype=torch.bool)
    covariance = noise_covariance(noise, mask, 20)
    torch.testing.assert_close(covariance, mixing @ mixing.conj().T, rtol=0.2, atol=0.3)
    white = mix(whitening(covariance), noise)
    after = noise_covariance(white, mask, 20)
    torch.testing.assert_close(after, torch.eye(4, dtype=torch.complex64), rtol=0, atol=1e-4)
    middle = white[:, 20:40, 20:30].flatten(1)
    torch.testing.assert_close(middle @ middle.conj().T / 200, torch.eye(4, dtype=torch.complex64), rtol=0, atol=0.3)


def test_covariance_counts_sampled_points_only():
    _, noise = correlated_noise()
    mask = torch.rand(60, 50, generator=torch.Generator().manual_seed(1)) > 0.5
    torch.testing.assert_close(
        noise_covariance(noise * mask, mask, 20), noise_covariance(noise, mask, 20), rtol=1e-5, atol=1e-5
    )
    with pytest.raises(MeasurementError, match="hold 4 samples, too few for the noise of 4 coils"):
        noise_covariance(noise, torch.ones(60, 50, dtype=torch.bool), 1)
    with pytest.raises(MeasurementError, match="zero, or coils repeat others"):
        noise_covariance(torch.cat([noise[:2], noise[:2]]), mask, 20)


def test_compression_keeps_what_counts():
    """Coils that are mixtures of three compress to three without loss."""
    generator = torch.Generator().manual_seed(0)
    three = kspace(3)
    mixing = torch.randn(7, 3, dtype=torch.complex64, generator=generator)
    seven = mix(mixing, three)
    matrix = compression(seven, 3)
    torch.testing.assert_close(matrix @ matrix.conj().T, torch.eye(3, dtype=torch.complex64), rtol=0, atol=1e-5)
    fewer = mix(matrix, seven)
    back = mix(matrix.conj().T, fewer)
    assert (back - seven).norm() < 1e-4 * seven.norm()
    energies = torch.linalg.vector_norm(fewer, dim=(1, 2))
    assert (energies[:-1] >= energies[1:]).all()
    with pytest.raises(MeasurementError, match="virtual_coils=8, but the data have 7 coils"):
        compression(seven, 8)


def test_simulated_coils_are_smooth_and_differ():
    maps = SimulatedCoils(8).simulated((64, 64))
    steps = torch.cat([(maps[:, 1:] - maps[:, :-1]).flatten(), (maps[..., 1:] - maps[..., :-1]).flatten()])
    assert steps.abs().max() < 0.1
    overlaps = np.abs(np.einsum("ihw,jhw->ij", maps.numpy().conj(), maps.numpy()))
    normalised = overlaps / np.sqrt(np.outer(overlaps.diagonal(), overlaps.diagonal()))
    assert normalised[~np.eye(8, dtype=bool)].max() < 0.95
    with pytest.raises(ConfigurationError, match="coils=0"):
        SimulatedCoils(0)
    with pytest.raises(ConfigurationError, match="SimulatedCoils are for simulations"):
        SimulatedCoils(4).measured(kspace(4), torch.ones(48, 40, dtype=torch.bool))
