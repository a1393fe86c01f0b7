"""The command `ganfit`: finds the command that is asked for, and runs it."""

from jobs.cli.interruption import end_at_once_when_interrupted

if __name__ == "__main__":
    end_at_once_when_interrupted()

import argparse
import difflib
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.cli.command import Command

GROUPS = {
    "Photos and videos to 3D": {
        "reconstruct": "photos and clips to textured meshes and Parquet tables",
        "status": "how a run stands: progress, failures by reason, rate, time left",
        "export": "meshes of a run for other programs and for evaluators",
        "ablation": "what each term of the objective is worth on your photos",
        "demo": "film people who do not exist, reconstruct them, compare with the truth",
    },
    "GPU": {"check-gpu": "whether this machine's GPU computes what the CPU does, and how fast"},
    "Models": {
        "fetch": "get the model files of a bundle from their public addresses or a mirror",
        "assets": "list, verify or fetch model files, with their licences",
        "import-model": "convert a morphable model you have a licence for",
        "import-texture": "convert a Progressive GAN pickle (TBGAN) into a texture model",
        "make-texture": "paint the PCA texture of a shape model with other settings",
        "learn-texture": "learn a texture model from ordinary photos",
        "calibrate": "where a landmark network's points lie on a shape model, from photos",
        "estimate-prior": "prior of camera and light from 300W-LP / 300W-3D files",
        "train-texture-gan": "train a texture generator on UV maps",
        "train-regressor": "train a bundle's FastGANFit regressor",
        "train-landmarks": "train a dense landmark network on portraits of people who do not exist",
        "train-embedded": "retrain the small networks of the synthetic world",
    },
    "Measuring": {
        "micc": "MICC Florence in one command: register, reconstruct, evaluate, table",
        "register-micc": "deform a template onto every annotated MICC scan",
        "evaluate-micc": "measure a run, or any other method's meshes, against the scans",
        "evaluate-scans": "measure against scans of people: your photos, or views drawn of the scans",
        "fit-texture": "what texture models can express: generators beside PCA",
        "make-synthetic": "data sets of people who do not exist, with the truth",
    },
}
"""Every command with one line about it. `python -m jobs.NAME`, with underscores, runs those of no sub-folder too."""
ROOMS = {
    "calibrate": "learning.",
    "evaluate-scans": "measuring.",
    "learn-texture": "learning.",
    "train-landmarks": "learning.",
}
"""The sub-folder of a command that does not lie in jobs itself."""
COMMANDS = {name: line for group in GROUPS.values() for name, line in group.items()}
SHELLS = ("bash", "zsh", "tcsh")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `ganfit NAME ...`; returns the exit status."""
    end_at_once_when_interrupted()
    name, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help", "help"):
        print(_help())
        return 0
    if name == "--version":
        print(f"ganfit {_version()}")
        return 0
    if name == "completion":
        return _print_completion(rest)
    if name.replace("_", "-") not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        print(f"error: ganfit has no command {name!r}{hint} See ganfit --help", file=sys.stderr)
        return 1
    return command(name)(rest)


def command(name: str) -> "Command":
    """The command of a name as in `COMMANDS`; imports its module."""
    module = name.replace("-", "_")
    return import_module(f"jobs.{ROOMS.get(name, '')}{module}").main


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = ["usage: ganfit COMMAND [options]", ""]
    for group, members in GROUPS.items():
        lines += [f"{group}:", *(f"  {name:{width}}  {line}" for name, line in members.items()), ""]
    lines += ["ganfit COMMAND --help explains a command; ganfit completion bash prints a shell completion script."]
    return "\n".join(lines)


def _version() -> str:
    try:
        return version("ganfit")
    except PackageNotFoundError:
        return "from a checkout"


def _print_completion(arguments: Sequence[str]) -> int:
    """Print a script for the shell; its users source it or put it where their shell looks for completions."""
    if len(arguments) != 1 or arguments[0] not in SHELLS:
        print(f"error: expected ganfit completion {'|'.join(SHELLS)}", file=sys.stderr)
        return 1
    import shtab

    top = argparse.ArgumentParser(prog="ganfit")
    commands = top.add_subparsers()
    for name, line in COMMANDS.items():
        listed = commands.add_parser(name, help=line)
        for option in command(name).parser().option_names():
            if option not in ("-h", "--help"):
                listed.add_argument(option)
    print(shtab.complete(top, arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
