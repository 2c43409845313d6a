"""A network pretrained in seconds, for tests of what starts from it."""

from __future__ import annotations

from pathlib import Path

import yaml

from dip_lightning.cli import main

SIZE = 32
NETWORK = {
    "class_path": "UNet",
    "init_args": {"channels": [16, 32, 32], "norm": "group", "activation": "leaky_relu", "init": "default"},
}
ACQUISITION = {"class_path": "ParallelBeamCT", "init_args": {"views": 8}}


def configuration(folder: Path, **data: int) -> Path:
    """Write a small pretraining configuration."""
    config = {
        "model": {
            "network": NETWORK,
            "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 3.0e-3}},
        },
        "data": {
            "acquisition": ACQUISITION,
            "size": SIZE,
            "images": 64,
            "validation_images": 8,
            "batch_size": 8,
            **data,
        },
        "trainer": {
            "max_epochs": 4,
            "accelerator": "cpu",
            "default_root_dir": str(folder),
            "enable_progress_bar": False,
            "callbacks": [{"class_path": "ParameterTrajectory", "init_args": {"every": 2, "samples": 20}}],
        },
    }
    path = folder / "pretrain.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def pretrain(folder: Path, *arguments: str) -> Path:
    """Pretrain through the command line; give the folder of the checkpoints."""
    assert main(["pretrain", "--config", str(configuration(folder)), *arguments]) == 0
    return folder / "checkpoints"
