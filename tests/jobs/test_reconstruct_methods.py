"""The methods that need a regressor, with the one that ships."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jobs.reconstruct import main


@pytest.mark.ray
@pytest.mark.slow
def test_the_shipped_regressor_answers_and_starts_fits(album: Path, tmp_path: Path) -> None:
    machine = ["--models", "embedded", "--num-gpus", "0", "--fit-workers", "1", "--fit.steps", "8"]
    frames: dict[str, pd.DataFrame] = {}
    for method in ("fastganfit", "ganfit++"):
        output = tmp_path / method
        assert main(["--input", str(album), "--output", str(output), "--method", method, *machine]) == 0
        tables = {
            name: pd.concat(pd.read_parquet(path) for path in sorted(output.glob(f"shards/*/{name}.parquet")))
            for name in ("frames", "identities")
        }
        frames[method] = tables["frames"].set_index("image_id").sort_index()
        assert set(tables["identities"]["method"]) == {f"{method} default"}
        assert len(tables["identities"]) == 4
        assert set(frames[method]["status"]) == {"ok"}
        identity = np.stack(tables["identities"]["identity"].to_list())
        assert np.ptp(identity, axis=0).max() > 0.1, "different people get different faces"
    fast, plus = frames["fastganfit"], frames["ganfit++"]
    assert (set(fast["iterations"]), set(plus["iterations"])) == ({0}, {8})
    assert np.mean(fast["landmark_error"].to_numpy()) < 0.1
    assert np.mean(plus["loss_total"].to_numpy()) < np.mean(fast["loss_total"].to_numpy())
