"""What data sets there are, where to get them, and which files they should have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dip_lightning.errors import ConfigurationError, near_match


@dataclass(frozen=True)
class PublishedFile:
    """A file as published.

    Attributes:
        name: Name of the file.
        size: Bytes; ``None`` where not known.
        algorithm: ``md5`` or ``sha256``; empty where no checksum is known.
        checksum: Its digest.
        unpacked: For archives: pattern of the HDF5 files that they hold; the archive itself may then be deleted.
        count: How many files that pattern finds.
    """

    name: str
    size: int | None = None
    algorithm: str = ""
    checksum: str = ""
    unpacked: str = ""
    count: int = 0


@dataclass(frozen=True)
class DataSet:
    """A data set.

    Attributes:
        name: As its DataModule is called, where it has one.
        what: In a line.
        instructions: How to get it, line by line.
        licence: Under what terms.
        files: What a complete copy holds; empty where the files are not published in a fixed list.
        pattern: Pattern of data files for sets without a fixed list.
    """

    name: str
    what: str
    instructions: tuple[str, ...]
    licence: str
    files: tuple[PublishedFile, ...] = ()
    pattern: str = ""

    @property
    def size(self) -> int:
        """Bytes to download, as far as known."""
        return sum(file.size or 0 for file in self.files)


def find_data_set(name: str) -> DataSet:
    """Find a data set by its name, whatever its case.

    Args:
        name: For example ``cbsd68``.

    Raises:
        ConfigurationError: If there is none of that name.
    """
    names = {data_set.name.lower(): data_set for data_set in CATALOGUE}
    if name.lower() not in names:
        raise ConfigurationError(
            f"There is no data set '{name}'.{near_match(name.lower(), names)} All: "
            f"{', '.join(data_set.name for data_set in CATALOGUE)}."
        )
    return names[name.lower()]


def _cbsd68() -> tuple[PublishedFile, ...]:
    lines = (Path(__file__).parent / "checksums" / "cbsd68.sha256").read_text().splitlines()
    return tuple(PublishedFile(line.split()[1], None, "sha256", line.split()[0]) for line in lines)


def _lodopab() -> tuple[PublishedFile, ...]:
    # Sizes and MD5 digests as the Zenodo record states them.
    published = (
        ("ground_truth_train", 15_940_074_239, "f06829ccf2b9bb817abd093ce490b2c7", 280),
        ("observation_train", 29_938_738_627, "c4fde721ac5862469812de49f98fb0a3", 280),
        ("ground_truth_validation", 1_567_086_812, "666c36f403734842f14ca8811a63b8f7", 28),
        ("observation_validation", 2_944_573_582, "3cff406e09c59774912655eb7a72cfcf", 28),
        ("ground_truth_test", 1_582_139_537, "ecc655767fbe3d40908ca823921f4c7f", 28),
        ("observation_test", 2_996_574_366, "9ae6b053bb1faa94d573311af8ec67b2", 28),
    )
    return tuple(
        PublishedFile(f"{name}.zip", size, "md5", digest, f"{name}_[0-9][0-9][0-9].hdf5", count)
        for name, size, digest, count in published
    )


def _htc2022() -> tuple[PublishedFile, ...]:
    names = [
        *(f"{level:02d}{letter}" for level in range(1, 8) for letter in "abc"),
        "ta",
        "tb",
        "tc",
        "td",
        "solid_disc",
    ]
    return tuple(PublishedFile(f"htc2022_{name}_full.mat") for name in names)


CATALOGUE: tuple[DataSet, ...] = (
    DataSet(
        name="CBSD68",
        what="68 colour photographs, 321x481: denoising, inpainting, deblurring",
        instructions=(
            "git clone --depth 1 https://github.com/clausmichele/CBSD68-dataset",
            "The photographs are in CBSD68/original_png (20 MB); the noisy copies beside them are not used.",
            "Checksums: sha256 of the 68 PNG files of commit 51a07a9, kept with this package.",
        ),
        licence="Berkeley BSDS: non-commercial research and education; cite Martin et al., ICCV 2001",
        files=_cbsd68(),
    ),
    DataSet(
        name="LoDoPaB",
        what="42895 chest slices with low-dose parallel-beam sinograms: CT",
        instructions=(
            "Download the archives from https://zenodo.org/records/3384092 and unzip them into one folder.",
            "The two test archives (4.6 GB) are enough for comparisons; all unpack to 115 GB.",
            "Checksums: MD5 digests as stated on that page.",
            "The challenge set (observations alone): https://zenodo.org/records/3874937",
        ),
        licence="CC BY 4.0; cite Leuschner et al., Scientific Data 8:109, 2021",
        files=_lodopab(),
    ),
    DataSet(
        name="HTC2022",
        what="measured fan-beam sinograms of 26 acrylic phantoms: CT",
        instructions=(
            "Download the htc2022_*_full.mat files from https://zenodo.org/records/8041800 (1.5 MB each).",
            "Checksums stand on that page; none are kept here.",
        ),
        licence="see the Zenodo page; cite Meaney, Silva de Moura and Siltanen, 10.5281/zenodo.7418878",
        files=_htc2022(),
    ),
    DataSet(
        name="Tooth",
        what="measured parallel-beam counts of a tooth (APS): CT, DataModule DataExchangeCT",
        instructions=(
            "Download https://github.com/tomopy/tomopy/raw/master/source/tomopy/data/tooth.h5",
            "Checksum: sha256 of the file of commit 2c94ed1.",
        ),
        licence="BSD-style, UChicago Argonne",
        files=(
            PublishedFile(
                "tooth.h5", 1_043_312, "sha256", "ab1d9bd073b7fb1beae4defa991c2a2626605c5cf1f4be0d0203656bc47b6489"
            ),
        ),
    ),
    DataSet(
        name="BlurKernels",
        what="8 measured camera-shake kernels (Levin) and 12 more: deblurring, KernelFile",
        instructions=(
            "Download Levin09.mat and kernels_12.mat from https://github.com/cszn/DPIR/tree/master/kernels",
            "Checksums: sha256 of the files of commit 15bca3f.",
        ),
        licence="MIT (DPIR); cite Levin et al., CVPR 2009",
        files=(
            PublishedFile(
                "Levin09.mat", 32_224, "sha256", "377ce2fa5c95784cf454eb1c6e286038dc2ace76fb94a15ba6383a8f7b48aa1d"
            ),
            PublishedFile(
                "kernels_12.mat", 11_191, "sha256", "20a43a8b8b1a7922dcfe0e106e40f8d68be3fabd4e647c063e6f005937a4d8a9"
            ),
        ),
    ),
    DataSet(
        name="fastMRI",
        what="multi-coil and single-coil k-space of knees and brains: MRI",
        instructions=(
            "Register and accept the data use agreement at https://fastmri.med.nyu.edu",
            "The links come by e-mail; the knee validation sets are enough for comparisons.",
            "Checksums come with the links; none are kept here.",
        ),
        licence="NYU data use agreement: no redistribution",
        pattern="**/*.h5",
    ),
    DataSet(
        name="AAPM",
        what="2016 low-dose CT grand challenge, clinical images and projections (DICOM): CT, DataModule ImageFile",
        instructions=(
            "Follow https://www.aapm.org/GrandChallenge/LowDoseCT/ to the 30 cases of the challenge, or register with",
            "The Cancer Imaging Archive for LDCT-and-Projection-data: https://doi.org/10.7937/9NPB-2637",
            "Checksums come with the archive's own downloader; none are kept here.",
        ),
        licence="as stated there; redistribution is restricted",
        pattern="**/*.IMA|**/*.dcm|**/*.ima",
    ),
)
