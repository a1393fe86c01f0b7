"""The mean embedding by dlib's network of photographed people who do not exist, which `ops.networks.dlib_recognition`
takes off every embedding.

    python -m benchmarks.dlib_mean --output ops/networks/dlib_mean.json

The people are the face world's; detector, landmarks and network are those of the bundle `open`.
"""

import json
import tempfile
from pathlib import Path

import torch

from benchmarks.bench_recognition import cut_crops
from benchmarks.command_line import parser_of
from ops.faceworld.album import AlbumSettings, write_album
from ops.faceworld.shape import faceworld_model
from ops.networks.dlib_recognition import load_dlib_recognition
from ops.weights.bundle import resolve_bundle
from ops.weights.registry import known_file, resolve_model_dir

PEOPLE, SIDE_PX, SEED, YAW_DEG = 100, 240, 3, 10.0


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--output", type=Path, required=True)
    output: Path = parser.parse_args().output
    torch.set_num_threads(1)
    bundle = resolve_bundle("open")
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        settings = AlbumSettings(people=PEOPLE, photos=1, side_px=SIDE_PX, seed=SEED, yaw_deg=YAW_DEG)
        write_album(faceworld_model(), photos, Path(folder) / "truth.safetensors", settings)
        crops = cut_crops(sorted(path for path in photos.rglob("*") if path.is_file()), bundle)
    weights = known_file("dlib_recognition_face_api").filename
    network = load_dlib_recognition(resolve_model_dir() / weights, (), mean=None)
    found = torch.stack([crop for crop in crops if crop is not None])
    with torch.no_grad():
        mean = torch.cat([network(part).embedding for part in found.split(10)]).double().mean(0)
    output.write_text(json.dumps({"people": len(found), "mean": [round(float(number), 5) for number in mean]}) + "\n")
    print(f"mean of {len(found)} people, of length {float(mean.norm()):.3f}, written to {output}")


if __name__ == "__main__":
    main()
