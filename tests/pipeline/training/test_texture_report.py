from typing import Any

import pyarrow as pa
import pytest

from ops.weights.bundle import ModelBundle
from pipeline.storage.store import open_storage
from pipeline.training.texture_people import MEASURES
from pipeline.training.texture_report import LearningReport, write_learning_report


@pytest.mark.parametrize(("lumas", "words"), [([0.3, 0.5, 0.7], "0.50 (median)"), ([], "0.00 (median)")])
def test_people_are_counted_with_reasons_and_brightness(
    tmp_path: Any, embedded: ModelBundle, lumas: list[float], words: str
) -> None:
    used = [{"identity_id": f"u{i}", "used": True, "grey": i == 0, "skin_luma": luma} for i, luma in enumerate(lumas)]
    others = [{"identity_id": f"n{i}", "used": False, "reason": reason} for i, reason in enumerate(("held_out", "<b>"))]
    report = LearningReport(
        people=pa.Table.from_pylist([*used, *others], schema=MEASURES),
        rounds=[{"people": len(used), "iterations": [{"people": len(used), "left": 0.0123, "trusted": 0.9}]}],
        before=open_storage(tmp_path / "run"),
        after=None,
        bundle=embedded,
    )
    write_learning_report(open_storage(tmp_path), report)
    page = (tmp_path / "report" / "index.html").read_text()
    assert f"{len(used)} of {len(used) + 2} were learned from, {int(bool(used))} of them from grey photos" in page
    assert words in page
    assert "&lt;b&gt;" in page
    assert "0.0123" in page
    assert "Held out" not in page
    assert (tmp_path / "report" / "modes.png").stat().st_size > 1000
