"""The run folder: where a fit keeps its record, and how files get there without ever being half written."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dip_lightning.errors import RunFolderError

CONFIG, METRICS, RECONSTRUCTION = "config.yaml", "metrics.csv", "reconstruction.h5"
SUMMARY, PREVIEW, CHECKPOINT = "summary.json", "preview.png", "checkpoints/last.ckpt"
PICTURES = "pictures/iteration_*.png"
#: By any of these a folder is known as that of a run; without one, nothing in it is a fit's to remove.
_MARKS = (SUMMARY, METRICS, CHECKPOINT)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Write a file under a temporary name and rename it: whoever sees ``path`` sees all of it.

    Args:
        path: Final name; its folder is made.

    Yields:
        The temporary name to write to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class RunFolder:
    """The folder of one reconstruction; ``docs/run-folder.md`` describes its files.

    Args:
        path: The folder; made by :meth:`claim`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._earlier: int | None = None  # when the checkpoint of the interrupted run that was here was written

    @property
    def finished(self) -> bool:
        """Whether a fit has ended here: ``summary.json`` is written last."""
        return (self.path / SUMMARY).exists()

    @property
    def checkpoint(self) -> Path:
        """Where the last checkpoint is, or will be."""
        return self.path / CHECKPOINT

    def claim(self, overwrite: bool, resume: bool) -> None:
        """Make the folder, check that it can be written, and that nothing finished is in the way.

        Args:
            overwrite: Whether a finished run may be replaced.
            resume: Whether its fit is being continued.

        Raises:
            RunFolderError: If the folder holds a finished run and neither was asked for, or cannot be written.
        """
        if self.finished and not (overwrite or resume):
            going_on = "--ckpt_path last to continue it, " if self.checkpoint.exists() else ""
            raise RunFolderError(
                f"{self.path} holds a finished run. Set --record.overwrite true to replace it (in Python, "
                f"ResultWriter(overwrite=True)), {going_on}or another --record.run_dir."
            )
        try:
            with written_whole(self.path / ".writable") as probe:
                probe.write_bytes(b"")
            (self.path / ".writable").unlink()
        except OSError as error:
            raise RunFolderError(
                f"Cannot write to {self.path} ({error.strerror}): set --trainer.default_root_dir or --record.run_dir "
                "to a folder that can be written."
            ) from error

    def clear(self) -> None:
        """Remove an earlier run's files: only those that a fit writes, and only where there has been one.

        The checkpoint of an interrupted run stays until the first new one takes its place: until then, that run can
        still be continued.
        """
        if not any((self.path / name).exists() for name in _MARKS):
            return
        if self.finished:
            self.checkpoint.unlink(missing_ok=True)
        self._earlier = self._checkpoint_time()
        for name in (SUMMARY, METRICS, RECONSTRUCTION, PREVIEW):
            (self.path / name).unlink(missing_ok=True)
        for picture in self.path.glob(PICTURES):
            picture.unlink()
        with suppress(OSError):  # there is none, or there are files of the user's in it
            (self.path / PICTURES).parent.rmdir()

    def drop_earlier_checkpoint(self) -> None:
        """Remove what :meth:`clear` left, if nothing has taken its place by the end: it is of another fit."""
        if self._earlier is not None and self._checkpoint_time() == self._earlier:
            self.checkpoint.unlink()

    def reopen(self) -> None:
        """Take back the mark of a finished run that is being continued."""
        (self.path / SUMMARY).unlink(missing_ok=True)

    def _checkpoint_time(self) -> int | None:
        return self.checkpoint.stat().st_mtime_ns if self.checkpoint.exists() else None

    def write_text(self, name: str, text: str) -> None:
        """Write a text file whole."""
        with written_whole(self.path / name) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def write_images(self, images: dict[str, np.ndarray], attributes: dict[str, Any]) -> None:
        """Write ``reconstruction.h5``.

        Args:
            images: Arrays ``[C, H, W]`` by name.
            attributes: What goes beside them; ``None`` values are left out.
        """
        with written_whole(self.path / RECONSTRUCTION) as temporary, h5py.File(temporary, "w") as file:
            for name, image in images.items():
                file.create_dataset(name, data=image, compression="gzip", compression_opts=1)
            for name, value in attributes.items():
                if value is not None:
                    file.attrs[name] = value

    def read_image(self, name: str = "estimate") -> np.ndarray:
        """Read an image of ``reconstruction.h5``.

        Args:
            name: ``estimate``, ``last``, ``initial``, ...

        Returns:
            ``[C, H, W]``.

        Raises:
            RunFolderError: If there is no such file or image, or if it cannot be read.
        """
        path = self.path / RECONSTRUCTION
        if not path.exists():
            raise RunFolderError(f"{self.path} holds no {RECONSTRUCTION}: run `dip-lightning fit` first.")
        try:
            with h5py.File(path) as file:
                if name not in file:
                    raise RunFolderError(f"{path} holds no '{name}', only: {', '.join(file)}.")
                return np.asarray(file[name])
        except OSError as error:
            raise RunFolderError(f"{path} cannot be read ({error}); run the fit again.") from error

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write ``summary.json``: the last file, whose presence means that the run is finished."""
        self.write_text(SUMMARY, json.dumps(_json(summary), indent=2) + "\n")

    def writing(self, name: str) -> AbstractContextManager[Path]:
        """Write any other file whole: gives the path to write to; see :func:`written_whole`."""
        return written_whole(self.path / name)


def check_distinct(folders: Sequence[RunFolder], names: Sequence[str]) -> None:
    """Check that no two measurements are written to the same folder: the second would replace the first.

    Args:
        folders: The folder of each.
        names: Their ids, for the message.

    Raises:
        RunFolderError: If two are.
    """
    seen: dict[Path, str] = {}
    for folder, name in zip(folders, names, strict=True):
        if folder.path in seen:
            raise RunFolderError(
                f"The measurements '{seen[folder.path]}' and '{name}' would both be written to {folder.path}, for "
                "folder names hold letters, digits and '_.+-' alone: give them ids that differ in these."
            )
        seen[folder.path] = name


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
