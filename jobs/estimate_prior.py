"""Estimate the camera-and-light prior from a folder of 300W-LP or 300W-3D parameter files."""

import sys
from collections import Counter
from pathlib import Path

from jsonargparse import Namespace

from jobs.cli.command import Command, CommandParser, refuse
from ops.errors import InputError
from ops.face.prior import CameraLightPrior, ClippedNormal, save_prior
from ops.face.prior_estimation import ImageParameters, estimate_prior, read_image_parameters
from ops.importers.expression_basis import read_mode_deviations

NOTES = """
Every .mat file under --input that holds Pose_Para (7 numbers), Illum_Para (10), Color_Para (7) and Exp_Para (29)
counts as one image; other .mat files are skipped and counted by reason. The result is a Gaussian of yaw, pitch and
roll, of the brightness and chroma of ambient and directional light, and of the light's direction, written as JSON
that runs read as their prior. Clipping intervals are those of the defaults. Expression coefficients in these files are
not in standard deviations of their modes: give --expression-sigma to estimate their deviation, else it stays 0.5.

Exit status: 0 written, 1 nothing usable or wrong arguments.
"""


def _declare(parser: CommandParser) -> None:
    parser.add_argument(
        "--input", type=Path, required=True, help="folder searched, with its sub-folders, for .mat files"
    )
    parser.add_argument("--output", type=Path, required=True, help="the .json file to write")
    parser.add_argument(
        "--expression-sigma",
        type=Path,
        help=".mat with sigma_exp, the standard deviations of the 29 expression modes (Model_Exp.mat)",
    )


def _estimate(options: Namespace) -> int:
    folder, output, sigma_file = options.input, options.output, options.expression_sigma
    if not folder.is_dir():
        return refuse(f"no folder at {folder}")
    sigma = None if sigma_file is None else read_mode_deviations(sigma_file, 29)
    images, skipped, examples = _read(folder)
    print(f"read     {len(images)} images")
    print(f"skipped  {skipped.total()} files")
    for reason, count in skipped.most_common():
        print(f"  {count:7d}  {reason}, for instance {examples[reason]}")
    if not images:
        return refuse(
            f"no usable file under {folder}: expected .mat files with Pose_Para, Illum_Para, Color_Para and Exp_Para, "
            "as 300W-LP and 300W-3D have them"
        )
    prior = estimate_prior(images, sigma)
    output.parent.mkdir(parents=True, exist_ok=True)
    save_prior(prior, output)
    print("\n".join(_table(prior)))
    if sigma is None:
        print("           (kept: without --expression-sigma the files do not tell)")
    print(f"written to {output}")
    return 0


def _read(folder: Path) -> tuple[list[ImageParameters], Counter[str], dict[str, Path]]:
    images: list[ImageParameters] = []
    skipped: Counter[str] = Counter()
    examples: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.mat")):
        try:
            images.append(read_image_parameters(path))
        except InputError as error:
            reason = str(error)
            skipped[reason] += 1
            examples.setdefault(reason, path)
    return images, skipped, examples


def _table(prior: CameraLightPrior) -> list[str]:
    def row(name: str, normal: ClippedNormal) -> str:
        return f"{name:10} N({normal.mean:.3f}, {normal.sd:.3f}), clipped to [{normal.minimum:g}, {normal.maximum:g}]"

    direction = (", ".join(f"{value:.3f}" for value in values) for values in (prior.direction_mean, prior.direction_sd))
    return [
        row("yaw deg", prior.yaw_deg),
        row("pitch deg", prior.pitch_deg),
        row("roll deg", prior.roll_deg),
        row("ambient", prior.ambient) + f", chroma {prior.ambient_chroma_sd:.3f}",
        row("light", prior.colour) + f", chroma {prior.colour_chroma_sd:.3f}",
        "direction  N(({}), ({}))".format(*direction),
        f"expression N(0, {prior.expression_sd:.3f})",
    ]


main = Command("estimate-prior", __doc__, _declare, _estimate, NOTES)

if __name__ == "__main__":
    sys.exit(main())
