"""The methods that need a regressor, with the one that ships."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jobs.reconstruct import main


def tables(output: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The frames by id, and the identities."""
    frames, identities = (
        pd.concat(pd.read_parquet(path) for path in sorted(output.glob(f"shards/*/{name}.parquet")))
        for name in ("frames", "identities")
    )
    return frames.set_index("image_id").sort_index(), identities


@pytest.mark.ray
@pytest.mark.slow
def test_the_shipped_regressor_answers_and_starts_fits(album_run: Path, album: Path, tmp_path: Path) -> None:
    machine = ["--models", "embedded", "--num-gpus", "0", "--fit-workers", "1", "--fit.steps", "8", "--limit", "2"]
    assert main(["--input", str(album), "--output", str(tmp_path / "out"), "--method", "ganfit++", *machine]) == 0
    found = {"fastganfit": tables(album_run), "ganfit++": tables(tmp_path / "out")}
    for (method, (frames, identities)), people in zip(found.items(), (4, 2), strict=True):
        assert set(identities["method"]) == {f"{method} default"}
        assert len(identities) == people
        assert set(frames["status"]) == {"ok"}
        identity = np.stack(identities["identity"].to_list())
        assert np.ptp(identity, axis=0).max() > 0.1, "different people get different faces"
    plus = found["ganfit++"][0]
    fast = found["fastganfit"][0].loc[plus.index]
    assert (set(fast["iterations"]), set(plus["iterations"])) == ({0}, {8})
    assert np.mean(found["fastganfit"][0]["landmark_error"].to_numpy()) < 0.1
    assert np.mean(plus["loss_total"].to_numpy()) < np.mean(fast["loss_total"].to_numpy())
