"""What the command lines of all benchmarks have in common."""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path


def parser_of(description: str | None) -> ArgumentParser:
    """A parser that shows a benchmark's docstring as it is written."""
    return ArgumentParser(
        prog=f"python -m benchmarks.{Path(sys.argv[0]).stem}",
        description=description,
        formatter_class=RawDescriptionHelpFormatter,
    )
