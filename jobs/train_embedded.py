"""Train one of the networks of the embedded bundle on pictures rendered from the face world.

    python -m jobs.train_embedded --part detector --output runs/embedded

renders the training pictures once (some CPU-minutes, kept in the cache), trains, and writes PART.safetensors and,
beside it, PART.json with the score on people and scenes that were not trained on. `--resume` continues from the last
checkpoint.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

from jsonargparse import CLI


def main(
    part: Literal["detector", "landmarks", "recognition"],
    output: Path,
    cache: Path = Path("~/.cache/ganfit/training"),
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    resume: bool = False,
) -> None:
    """Train one of the embedded networks and score it.

    Args:
        part: which network.
        output: folder of the weights, the score and the checkpoint.
        cache: folder of the rendered pictures.
        minutes: wall-clock limit of the training; the learning rate then follows the time.
        steps: number of steps instead of the part's own.
        seed: of the training.
        resume: continue from the checkpoint in the output folder.
    """
    from ops.training import detector, landmarks, recognition

    parts = {
        "detector": (detector.train_detector, detector.SCHEDULE),
        "landmarks": (landmarks.train_landmarks, landmarks.SCHEDULE),
        "recognition": (recognition.train_recognition, recognition.SCHEDULE),
    }
    train, schedule = parts[part]
    schedule = replace(schedule, minutes=minutes, seed=seed, steps=steps or schedule.steps)
    score = train(output, cache.expanduser(), schedule, lambda line: print(line, flush=True), resume=resume)
    report = {
        "part": part,
        "seed": seed,
        "step_limit": schedule.steps,
        "minute_limit": minutes,
        "score": score._asdict(),
    }
    (output / f"{part}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report["score"], indent=2))


if __name__ == "__main__":
    CLI(main, as_positional=False)
