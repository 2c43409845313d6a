"""The resolved configuration of a fit, in its run folder."""

from __future__ import annotations

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import SaveConfigCallback

from dip_lightning.callbacks.result_writer import run_folders
from dip_lightning.run_folder import CONFIG


class SaveRunConfig(SaveConfigCallback):
    """Write the resolved configuration into the run folder, once the folder has been claimed."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Wait: Lightning's own callback would write before anything has been checked."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write ``config.yaml``; ``dip-lightning fit --config`` on it repeats the run, from its beginning.

        The folder stays in it, for ``test`` and ``predict`` read there; that it may be replaced does not.
        """
        config = self.config.clone()
        for name in ("config", "ckpt_path"):  # a run that was continued is repeated as a whole
            config.pop(name, None)
        config.record.overwrite = False
        text = self.parser.dump(config)
        for folder in run_folders(trainer):
            folder.write_text(CONFIG, text)
