import re
from dataclasses import replace
from pathlib import Path

from pipeline.run.report import write_report
from pipeline.run.shards import ShardSummary
from pipeline.run.summary import RunSummary
from pipeline.storage.store import open_storage


def test_the_page_shows_counts_and_sheets_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    shard = ShardSummary(
        shard=3,
        fingerprint="f",
        items=2,
        identities={"ok": 1},
        frames={"ok": 1, "rejected no_face": 1},
        fit_seconds=1.0,
    )
    summary = RunSummary(
        items=2, planned_items=2, identities=shard.identities, frames=shard.frames, new_frames_ok=1, seconds=1.0,
        fit_seconds=1.0, fit_workers=1,
    )  # fmt: skip
    (tmp_path / "shards" / "00003").mkdir(parents=True)
    (tmp_path / "shards" / "00003" / "contact_sheet.png").touch()
    gone = replace(shard, shard=2)
    superseded = {2: frozenset(["anna"])}
    where = write_report(
        open_storage(tmp_path),
        summary,
        [shard, gone],
        {"configuration": {"input": "<script>alert(1)</script>"}},
        superseded,
    )
    path = tmp_path / "report" / "index.html"
    assert where == str(path)
    page = path.read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "<td>rejected no_face</td><td>1</td><td>0</td>" in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources == ["../shards/00003/contact_sheet.png"]
    assert (path.parent / sources[0]).exists()
    assert "http" not in page
