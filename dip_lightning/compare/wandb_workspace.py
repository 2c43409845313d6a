"""A saved W&B workspace that compares methods, built by ``wandb-workspaces``."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from dip_lightning.errors import ConfigurationError

_BARS = ("psnr_estimate", "psnr_oracle", "ssim_estimate", "seconds")


def build_workspace(project: str, entity: str | None, tasks: Sequence[str]) -> Any:
    """Build the workspace without saving it: curves, bar charts and pictures, runs grouped by method.

    Args:
        project: W&B's project.
        entity: W&B's entity.
        tasks: Names of the tasks; the runs are tagged with them, which the workspace's filter offers.

    Returns:
        A ``wandb_workspaces.workspaces.Workspace``.

    Raises:
        ConfigurationError: If ``wandb-workspaces`` is not installed.
    """
    panels, workspaces = _modules()
    curves = [panels.LinePlot(title="PSNR", x="iteration", y=["psnr"])]
    curves += [panels.LinePlot(title="PSNR against seconds", x="seconds", y=["psnr"])]
    bars = [panels.BarPlot(title=name, metrics=[name]) for name in _BARS]
    pictures = [panels.MediaBrowser(title="Images", media_keys=["initial", "estimate", "target"])]
    sections = [
        workspaces.Section(name="PSNR over the fit", panels=curves, is_open=True),
        workspaces.Section(name="Scores", panels=bars, is_open=True),
        workspaces.Section(name="Images", panels=pictures, is_open=True),
    ]
    return workspaces.Workspace(
        name=f"Comparison of methods: {', '.join(tasks)}"[:128],
        entity=entity or "",
        project=project,
        sections=sections,
        runset_settings=workspaces.RunsetSettings(
            groupby=[workspaces.Config("task"), workspaces.Config("method")],
        ),
    )


def save_workspace(project: str, entity: str | None, tasks: Sequence[str]) -> str:
    """Build and save the workspace.

    Args:
        project: W&B's project.
        entity: W&B's entity.
        tasks: Names of the tasks.

    Returns:
        Its address.
    """
    workspace = build_workspace(project, entity, tasks)
    workspace.save()
    return str(workspace.url)


def _modules() -> tuple[Any, Any]:
    try:
        panels = importlib.import_module("wandb_workspaces.reports.v2")
        return panels, importlib.import_module("wandb_workspaces.workspaces")
    except ImportError as error:
        raise ConfigurationError("--workspace needs: pip install 'dip_lightning[wandb]'.") from error
