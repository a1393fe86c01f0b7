"""One drill after the other, and the table of what came of them."""

import os
import platform
import re
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.drills.catalogue import DRILLS
from tests.drills.harness import ROOT, DrillFailure, DrillSkipped, Ground

DOCUMENT = ROOT / "docs" / "reliability.md"
HEADINGS = (
    "drill",
    "result",
    "seconds",
    "starts",
    "prepare +",
    "fits +",
    "files in = rows out",
    "orphans",
    "when, where",
)
_BEGIN, _END = "<!-- drills: begin -->", "<!-- drills: end -->"


@dataclass(frozen=True, kw_only=True)
class Row:
    """What came of one drill."""

    name: str
    result: str
    seconds: float = 0.0
    starts: int = 0
    """How often the command was started until the work was done."""
    repeated_prepares: int = 0
    """Shards whose images were read again."""
    repeated_fits: int = 0
    ledger: str = ""
    orphans: int = 0

    @property
    def failed(self) -> bool:
        """Whether the run did not recover."""
        return self.result == "failed"

    def cells(self) -> tuple[str, ...]:
        """As printed."""
        machine = f"{datetime.now(UTC):%Y-%m-%d}, {_machine()}"
        if self.result != "passed":
            return (self.name, self.result, *[""] * 6, machine)
        numbers = (f"{self.seconds:.0f}", self.starts, self.repeated_prepares, self.repeated_fits)
        return (self.name, self.result, *map(str, numbers), self.ledger, str(self.orphans), machine)


def run_drill(name: str, folder: Path, album: Path) -> Row:
    """Run one drill on a fresh copy of the album."""
    print(f"{name}: {DRILLS[name].__doc__}", file=sys.stderr, flush=True)
    shutil.rmtree(folder / name, ignore_errors=True)
    ground = Ground(folder / name)
    shutil.copytree(album, ground.photos)
    try:
        return _run(name, DRILLS[name], ground)
    except DrillSkipped as reason:
        return Row(name=name, result=f"skipped: {reason}")
    except Exception:  # noqa: BLE001 - whatever it is, the other drills are still to come
        traceback.print_exc()
        return Row(name=name, result="failed")
    finally:
        ground.close()


def _run(name: str, drill: Callable[[Ground], None], ground: Ground) -> Row:
    began = time.monotonic()
    drill(ground)
    seconds = time.monotonic() - began
    starts, prepares, fits = len(ground.runs), ground.repeats("prepare"), ground.repeats("fit")
    begun = len(ground.begun())
    once_more = ground.start().end()
    if len(ground.begun()) != begun:
        raise DrillFailure(f"the same command once more did work again\n{once_more.said()}")
    ledger = ground.ledger()
    ledger.check(ground.files())
    return Row(
        name=name,
        result="passed",
        seconds=seconds,
        starts=starts,
        repeated_prepares=prepares,
        repeated_fits=fits,
        ledger=f"{len(ground.files())} = {len(ledger.current)}",
        orphans=len(ledger.orphans),
    )


def table_text(rows: Sequence[Row]) -> str:
    """The table in Markdown."""
    return "\n".join([_line(HEADINGS), _line(["---"] * len(HEADINGS)), *(_line(row.cells()) for row in rows)])


def update_table(rows: Sequence[Row], document: Path = DOCUMENT) -> None:
    """Replace the lines of these drills in the document's table; those of others stay."""
    text = document.read_text()
    found = re.search(f"{_BEGIN}\n(.*?){_END}", text, re.DOTALL)
    assert found, f"{document} has no table between {_BEGIN} and {_END}"
    lines = {line.split("|")[1].strip(): line for line in found[1].splitlines()[2:]}
    lines |= {row.name: _line(row.cells()) for row in rows}
    ordered = [lines[name] for name in DRILLS if name in lines]
    table = "\n".join([_line(HEADINGS), _line(["---"] * len(HEADINGS)), *ordered])
    document.write_text(text.replace(found[0], f"{_BEGIN}\n{table}\n{_END}"))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _machine() -> str:
    cpus = len(os.sched_getaffinity(0))
    return f"{cpus} CPUs, {platform.system()} {platform.machine()}"
