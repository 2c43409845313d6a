"""A step of this suite against its peers', each with its own operator, at the same network and number of steps.

``deepinv``: its ``DeepImagePrior`` on its ``Tomography``, against vanilla DIP here. ``released``: a direct loop of the
released form of aSeqDIP on deepinv's ``Tomography``, against aSeqDIP here; ``released_sparse`` is the same loop on our
operator, which says how much of the difference is the operator's. Aim: never slower, and 1.15 times faster for CT with
networks below a million parameters. deepinv's default ConvDecoder is timed too, for a few steps.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch
from deepinv.models import ConvDecoder, DeepImagePrior
from deepinv.physics import Tomography

from benchmarks._common import report, side_by_side
from benchmarks._problems import NETWORKS, bare_loop, ct_measurement, fit, quieten
from dip_lightning.inputs import UniformNoise, minmax
from dip_lightning.methods import DIP
from dip_lightning.networks.skip import parameter_count


def measure(network: str, size: int, steps: int, repeats: int, decoder_steps: int, device: str) -> dict[str, Any]:
    """Let ours and theirs take turns."""
    measurement = ct_measurement(size).to(device)
    image, z = measurement.target, minmax(measurement.initial)
    assert image is not None
    tomography = Tomography(
        angles=30, img_width=size, circle=False, adjoint_via_backprop=True, normalize=False, device=device
    )
    with torch.no_grad():
        their_y = tomography.A(image)

    def build() -> torch.nn.Module:
        return NETWORKS[network]().to(device)

    def deepinv() -> None:
        DeepImagePrior(build(), (1, size, size), iterations=steps, learning_rate=1e-3)(their_y, tomography)

    def vanilla() -> None:
        options = {"initial_input": UniformNoise(1), "reduction": "mse", "device": device}
        fit(build(), measurement, steps, DIP, **options)

    candidates = {
        "deepinv": deepinv,
        "dip": vanilla,
        "released": lambda: bare_loop(build(), tomography, their_y, z, steps),
        "released_sparse": lambda: bare_loop(build(), measurement.physics, measurement.y, z, steps),
        "aseqdip": lambda: fit(build(), measurement, steps, device=device),
    }
    per_step = side_by_side(candidates, repeats, warmup=1)
    per_step = {name: {key: ms / steps for key, ms in t.items()} for name, t in per_step.items()}
    ratios = {
        "dip_over_deepinv": per_step["deepinv"]["median_ms"] / per_step["dip"]["median_ms"],
        "aseqdip_over_released": per_step["released"]["median_ms"] / per_step["aseqdip"]["median_ms"],
    }
    result = {"times_per_step": per_step, "times_faster": ratios, "parameters": parameter_count(build())}
    if decoder_steps:
        decoder = DeepImagePrior(ConvDecoder((1, size, size)).to(device), (256, 4, 4), iterations=decoder_steps)
        times = side_by_side({"decoder": lambda: decoder(their_y, tomography)}, 1, warmup=0)
        result["deepinv_default_decoder_ms"] = times["decoder"]["median_ms"] / decoder_steps
    return result


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["small", "medium"])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--decoder-steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--quick", action="store_true", help="check that it runs")
    arguments = parser.parse_args()
    quieten()
    torch.set_num_threads(arguments.threads)
    if arguments.quick:
        arguments.sizes, arguments.networks, arguments.steps = [32], ["small"], 10
        arguments.repeats, arguments.decoder_steps = 1, 1
    for network in arguments.networks:
        for size in arguments.sizes:
            result = measure(
                network, size, arguments.steps, arguments.repeats, arguments.decoder_steps, arguments.device
            )
            result = {"problem": {"network": network, "size": size, "steps": arguments.steps}, **result}
            print(json.dumps(result, indent=2), flush=True)
            name = f"peers_{arguments.device}_{network}_{size}_threads{arguments.threads}"
            report(name, result, arguments.quick)


if __name__ == "__main__":
    main()
