"""Whether the published order of the methods holds, by the record of the quality benchmark."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Entry = dict[str, Any]
Problem = dict[str, Any]
#: Methods whose place in the published tables is checked, by their names in comparisons.
VANILLA, BETWEEN, ABOVE = "DIP", ("TV-DIP", "ES-DIP"), ("aSeqDIP", "Self-Guided DIP")


@dataclass(frozen=True)
class Check:
    """Whether a claim holds on one problem.

    Attributes:
        claim: In words.
        holds: Whether it does.
        difference: By how many dB, positive where it holds.
        text: The difference in words.
    """

    claim: str
    holds: bool
    difference: float
    text: str


def scores(entry: Entry, image: str) -> dict[str, float]:
    """PSNR in dB of one of a method's images on each measurement, the mean over the seeds."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for run in entry["runs"]:
        if run["psnr"].get(image) is not None:
            found[run["measurement"]].append(run["psnr"][image])
    return {measurement: statistics.fmean(values) for measurement, values in found.items()}


def difference(entry: Entry, image: str, other: Entry, other_image: str) -> float | None:
    """Compare two methods on the measurements that both have: the mean of the differences in dB."""
    own, others = scores(entry, image), scores(other, other_image)
    pairs = [own[measurement] - others[measurement] for measurement in own if measurement in others]
    return statistics.fmean(pairs) if pairs else None


def entry_of(problem: Problem, method: str) -> Entry | None:
    """The entry of a method, if it has finished runs."""
    return next((entry for entry in problem["entries"] if entry["method"] == method), None)


def is_recommended(entry: Entry) -> bool:
    """Whether it is the configuration that the suite recommends."""
    return entry["kind"] == "fit" and "recommended" in entry["method"].lower()


def order_checks(problem: Problem) -> list[Check]:
    """Check the published order on one problem.

    Published tables choose the iterate with the truth; what a user gets is the estimate. Both are compared, and the
    last iterates.

    Args:
        problem: A problem of the record.

    Returns:
        Those claims that the finished runs can decide.
    """
    checks = [*_above_vanilla(problem), *_between(problem), *_above_initial(problem), *_recommended_above(problem)]
    return [check for check in checks if check is not None]


def _above_vanilla(problem: Problem) -> Iterator[Check | None]:
    for method in ABOVE:
        pairs = (
            (f"{method} above {VANILLA}: estimates", "estimate", "estimate"),
            (f"{method} above {VANILLA}: its estimate, {VANILLA}'s last iterate", "estimate", "last"),
            (f"{method} above {VANILLA}: last iterates", "last", "last"),
            (f"{method} above {VANILLA}: best iterates, chosen with the truth", "best", "best"),
        )
        for claim, image, other in pairs:
            yield _compared(claim, entry_of(problem, method), image, entry_of(problem, VANILLA), other)


def _compared(claim: str, entry: Entry | None, image: str, other: Entry | None, other_image: str) -> Check | None:
    if entry is None or other is None:
        return None
    gap = difference(entry, image, other, other_image)
    return None if gap is None else Check(claim, gap > 0, gap, f"{gap:+.1f}")


def _between(problem: Problem) -> Iterator[Check | None]:
    """TV-DIP and ES-DIP above vanilla DIP and below the better of the methods that are to be above it."""
    vanilla = entry_of(problem, VANILLA)
    for method in BETWEEN:
        entry = entry_of(problem, method)
        tops = [found for name in ABOVE if (found := entry_of(problem, name)) is not None]
        if entry is None or vanilla is None or not tops:
            continue
        below = difference(entry, "estimate", vanilla, "estimate")
        aboves = [gap for top in tops if (gap := difference(top, "estimate", entry, "estimate")) is not None]
        if below is None or not aboves:
            continue
        above = max(aboves)
        names = " and ".join(ABOVE)
        claim = f"{method} between {VANILLA} and the better of {names}: estimates"
        text = f"{below:+.1f} to {VANILLA}, {-above:+.1f} to the better"
        yield Check(claim, min(below, above) > 0, min(below, above), text)


def _above_initial(problem: Problem) -> Iterator[Check | None]:
    gains = {}
    for entry in problem["entries"]:
        if entry["kind"] == "fit" and (gap := difference(entry, "estimate", entry, "initial")) is not None:
            gains[entry["method"]] = gap
    if gains:
        least = min(gains, key=lambda method: gains[method])
        below = [method for method, gain in gains.items() if gain <= 0]
        text = ", ".join(f"{method} {gains[method]:+.1f}" for method in below or [least])
        yield Check("every method's estimate above the initial image", not below, gains[least], text)


def _recommended_above(problem: Problem) -> Iterator[Check | None]:
    chosen = next((entry for entry in problem["entries"] if is_recommended(entry)), None)
    if chosen is None:
        return
    for kind, whom in (("fit", "all other methods"), ("baseline", "all baselines")):
        gaps = {}
        for entry in problem["entries"]:
            if entry["kind"] == kind and not is_recommended(entry):
                gap = difference(chosen, "estimate", entry, "estimate")
                gaps.update({} if gap is None else {entry["method"]: gap})
        if gaps:
            best = min(gaps, key=lambda method: gaps[method])
            yield Check(
                f"recommended above {whom}: estimates", gaps[best] > 0, gaps[best], f"{gaps[best]:+.1f} to {best}"
            )
