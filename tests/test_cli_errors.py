"""What the command line says of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning_utilities.core.imports import RequirementCache

from dip_lightning.cli import main
from dip_lightning.cli_errors import one_line
from dip_lightning.cli_names import class_names
from dip_lightning.errors import LONGEST_LIST, near_match

CONFIG = Path(__file__).parents[1] / "configs" / "demo.yaml"
SMALL = [f"--config={CONFIG}", "--data.size=32", "--model.outer_steps=2", "--model.inner_steps=2"]
MONITORED = "pytorch_lightning.cli.ReduceLROnPlateau"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--model=EDIP", "--model.reinitialise=true"], "EDIP has no option 'reinitialise': EDIP sets it itself."),
        (
            ["--model=RethinkingDIP", "--model.initial_input=UniformNoise"],
            "'initial_input': RethinkingDIP sets it itself.",
        ),
        (["--model.regularisaton=2"], "Did you mean 'regularisation'"),
        (["--model.network=SmalUNet"], "Did you mean 'SmallUNet'"),
        (["--model.network.nrm=batch"], "Did you mean 'norm'"),
        (["--model.reduction=nrm"], "Did you mean 'norm'"),
        (["--model.inner_steps=two"], "expected int, got 'two'"),
        (["--trainer.max_epoch=2"], "Did you mean 'max_epochs'"),
        (["--dat.size=2"], "Did you mean 'data'"),
        (["--data=Phantm"], "Did you mean 'Phantom'"),
        (["--data.acquisition.views=0"], "at least one view"),
        (["--trainer.accelerator=gpu"], "no"),
        (["--trainer.callbacks=null"], "InputUpdate"),
        (["--trainer.callbacks+=EarlyStopingWMV"], "Did you mean 'EarlyStoppingWMV'"),
        (["--model.network.in_channels=2"], "in_channels"),
        (["--data.index=-1"], "must not be negative"),
        (["--config=nowhere.yaml"], "no file"),
        (["--model.network=MediumUNet", "--model.network.channels=[8,8]"], "Did you mean 'in_channels'"),
        (["--model.optimizer.lr=high"], "model.optimizer.lr: expected float, got 'high'"),
        (["--model.optimizer.betas=[1]"], "model.optimizer.betas: expected 2 values, got [1]"),
        (["--model.optimizer.betas=0.9"], "model.optimizer.betas: expected tuple, got '0.9'"),
        (["--model.optimizer=SGD", "--model.optimizer.nesterof=true"], "SGD has no option 'nesterof'"),
        (["--model.optimizer=Adamm"], "Did you mean 'Adam'"),
        (["--model.optimizer=torch.optim.Adamm"], "Did you mean 'Adam'"),
        (["--model.lr_scheduler=StepLr"], "Did you mean 'StepLR'"),
        (["--model.lr_scheduler=StepLR"], "model.lr_scheduler: step_size must be given"),
        (["--trainer.logger=WandbLoger"], "Did you mean 'WandbLogger'"),
        (["--trainer.logger=CSVLogger"], "trainer.logger: save_dir must be given"),
        (["--trainer.precision=7"], "trainer.precision: '7' is unknown"),
        (["--trainer.callbacks+=dip_lightning.data.Phantom"], "trainer.callbacks: the class that was given is no Call"),
        (["--data.acquisition=dip_lightning.data.Phantom"], "dip_lightning.data.Phantom is no Acquisition"),
        (["--data.acquisition=Phantom"], "Phantom is no Acquisition. Known: CartesianMRI"),
        (["--model=no_such_module.EdgeDIP"], "there is no module 'no_such_module'"),
        (["--model=dip_lightning.methods.ASeqDip"], "Did you mean 'ASeqDIP'"),
        (["--model.network=dip_lightning.network.SmallUNet"], "Did you mean 'networks'"),
        (["--model.bogus.x=3"], "there is no option 'bogus.x'"),
        (["--model.penalties=TotalVariation"], "model.penalties: expected list[Penalty], got 'TotalVariation'"),
        (["--model.network=[1, 2]"], "expected UntrainedNetwork or Module, got '[1, 2]'"),
        (["--record.overwrit=true"], "Did you mean 'overwrite'"),
        (["--metrics.evry=2"], "Did you mean 'every'"),
        (["--seed_everything=abc"], "seed_everything: expected bool or int, got 'abc'"),
        (["--seed_everything=-1"], "seed_everything=-1"),
        (["--model.seed=99999999999999999999"], "seed=99999999999999999999 must be from 0 to 4294967295"),
        (["--model.seed=-1"], "seed=-1 must be from 0"),
        (["--ckpt_path=nowhere.ckpt"], "no checkpoint 'nowhere.ckpt'"),
        (["--ckpt_path=best"], "no checkpoint 'best'"),
        (["--model.optimizer.lr=-1"], "model.optimizer: Invalid learning rate"),
        (["--model.optimizer.betas=[2, 3]"], "model.optimizer: Invalid beta"),
        (
            ["--model.lr_scheduler=ReduceLROnPlateau"],
            "give the path of one, such as torch.optim.lr_scheduler.ReduceLROnP",
        ),
        ([f"--model.lr_scheduler={MONITORED}", "--model.lr_scheduler.monitor=psnr"], "goes by the loss alone"),
        (["--model.lr_scheduler=OneCycleLR", "--model.lr_scheduler.max_lr=1"], "model.lr_scheduler: You must define"),
        (["--trainer.accelerator=gpuu"], "trainer: You selected an invalid accelerator"),
        (["--trainer.devices=two"], "trainer: `devices`"),
        (["--trainer.num_nodes=2"], "docs/cluster.md"),
        (["--trainer.gradient_clip_val=1"], "model.gradient_clip"),
        (["--model.network=torch.nn.Identity"], "Identity has no weights"),
        (["--model.network=torch.nn.Identity", "--data.batch=2"], "Identity has no weights"),
    ],
)
def test_a_mistake_gets_one_line_and_exit_code_2(
    arguments: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *SMALL, f"--record.run_dir={tmp_path / 'run'}", *arguments]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dip-lightning")]
    assert len(error) == 1
    assert expected in error[0]
    assert len(error[0]) < 400
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["fitt"], "there is no command 'fitt'. Did you mean 'fit'?"),
        (["compar"], "there is no command 'compar'. Did you mean 'compare'?"),
        (["xyz"], "Known: compare, datasets, fit, predict, pretrain, report, test, validate, wandb."),
        ([], "a command must be given: compare, datasets, fit,"),
    ],
)
def test_a_wrong_command_names_all_that_there_are(
    capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert main(arguments) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "package"),
    [
        (["--trainer.logger=MLFlowLogger"], "no_such_package>=1"),
        (["--trainer.logger=[MLFlowLogger]"], "no_such_package>=1"),
        (["--trainer.logger=TensorBoardLogger", "--trainer.logger.save_dir=logs"], "tensorboard"),
    ],
)
def test_a_logger_without_its_package_says_what_to_install(
    options: list[str], package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = RequirementCache("no_such_package>=1")
    monkeypatch.setattr("pytorch_lightning.loggers.mlflow._MLFLOW_AVAILABLE", missing)
    monkeypatch.setattr("lightning_fabric.loggers.tensorboard._TENSORBOARD_AVAILABLE", missing)
    monkeypatch.setattr("lightning_fabric.loggers.tensorboard._TENSORBOARDX_AVAILABLE", missing)
    assert main(["fit", *SMALL, *options]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.endswith(f"Logger needs a package that is not installed: pip install '{package}'.")


def test_an_unknown_message_stays_on_one_line() -> None:
    assert one_line("first\n   second") == "first second"


def test_a_long_list_is_cut_to_the_nearest() -> None:
    options = [f"option_{number}" for number in range(30)] + ["high_pass"]
    named = near_match("hi", options).removesuffix(".").split(": ")[1].split(", ")
    assert len(named) == LONGEST_LIST
    assert named[0] == "high_pass"


def test_only_classes_that_can_be_built_are_named() -> None:
    assert not {"ABC", "Any", "Penalty", "Optional", "Measurement"} & set(class_names())
    assert {"Adam", "SGD"} <= set(class_names(torch.optim.Optimizer))
    assert "SmallUNet" not in class_names(torch.optim.Optimizer)
