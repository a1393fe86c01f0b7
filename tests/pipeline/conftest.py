"""Small input files, outputs and stores."""

import json
import logging
import threading
from collections.abc import Callable, Generator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from moto.server import DomainDispatcherApplication, create_backend_app
from PIL import Image
from pyarrow.fs import S3FileSystem
from werkzeug.serving import make_server

from ops.face.morphable_model import ModelMetadata, MorphableModel
from ops.weights.bundle import ModelBundle, resolve_bundle
from pipeline.input.listing import Item, table_of
from pipeline.input.names import stable_id
from pipeline.input.planner import PlanConfig, plan_shards
from pipeline.run.plans import read_plans
from pipeline.run.shards import SUCCESS_NAME, ShardStore, ShardSummary
from pipeline.storage.store import Storage, open_storage

WritePhoto = Callable[..., Path]
Reconstructed = Mapping[str, list[dict[str, Any]]]
"""By person, the rows of its images; each may carry columns of the person under the key `person`."""


@pytest.fixture(scope="session")
def bundle(model_dir: Path) -> ModelBundle:
    return resolve_bundle("ict", model_dir)


@pytest.fixture
def photo_dir(model_dir: Path) -> Path:
    """Folder of real photos beside the model files."""
    folder = model_dir.parent / "photos"
    if not folder.is_dir():
        pytest.skip(f"needs the photos that belong in {folder}")
    return folder


@pytest.fixture
def write_photo() -> WritePhoto:
    """Write a photo of random noise."""

    def write(path: Path, size: tuple[int, int] = (80, 60)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(len(path.name)).integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(noise).save(path)
        return path

    return write


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 40 frames, 64 x 48, its index in front so that it can be cut."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("mpeg4", rate=20)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(40):
            image = np.full((48, 64, 3), 6 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def make_item() -> Callable[..., Item]:
    def make(name: str, identity: str | None = None, kind: Any = "image", location: str = "") -> Item:
        item_id = stable_id(name, name)
        return Item(item_id=item_id, identity_id=identity or item_id, uri=name, location=location or name, kind=kind)

    return make


@pytest.fixture
def write_output(make_item: Callable[..., Item]) -> Callable[..., None]:
    """Write an output as runs leave it: a generation for each argument, whose people are new or have more images."""

    def write(root: Storage, *generations: Reconstructed, record: Mapping[str, Any] | None = None) -> None:
        plans, store = read_plans(root), ShardStore(root)
        images: dict[str, int] = {}
        for people in generations:
            images |= {person: len(rows) for person, rows in people.items()}
            items = [make_item(f"{person}{n}", person) for person, count in images.items() for n in range(count)]
            known = plans.known() if plans.generations else None
            config = PlanConfig(shard_size=3)
            planned = plan_shards(table_of(items), config, known, first_shard=plans.next_shard)
            assert sorted(planned.identities.column("identity_id").to_pylist()) == sorted(people)
            plans = plans.add(planned, None, {"input": "", "layout": "", "planned": ""})
            shards: dict[int, list[str]] = {}
            for row in planned.identities.to_pylist():
                shards.setdefault(row["shard"], []).append(row["identity_id"])
            for shard, names in shards.items():
                _write_shard(store, shard, {name: people[name] for name in names})
        root.write("run.json", json.dumps(record or {}).encode())

    return write


def _write_shard(store: ShardStore, shard: int, people: Reconstructed) -> None:
    frames: list[dict[str, Any]] = []
    identities: list[dict[str, Any]] = []
    for name, rows in people.items():
        common = {"identity_id": name, "reason": "", "message": ""}
        frames += [common | {key: value for key, value in row.items() if key != "person"} for row in rows]
        ok = [row for row in rows if row["status"] == "ok"]
        status = {"status": "ok"} if ok else {"status": rows[0]["status"], "reason": rows[0].get("reason", "")}
        identities.append(common | status | {"n_images": len(rows)} | (ok or rows)[0].get("person", {}))

    def counts(rows: list[dict[str, Any]]) -> dict[str, int]:
        labels = [f"{row['status']} {row['reason']}".strip() for row in rows]
        return {label: labels.count(label) for label in labels}

    with store.writing(shard) as folder:
        for table, rows in (("frames", frames), ("identities", identities)):
            names = list(dict.fromkeys(key for row in rows for key in row))
            columns = {name: [row.get(name) for row in rows] for name in names}
            pq.write_table(pa.table(columns), folder / f"{table}.parquet")
        summary = ShardSummary(
            shard=shard, fingerprint="f", items=len(frames), identities=counts(identities), frames=counts(frames),
            fit_seconds=1.0,
        )  # fmt: skip
        (folder / SUCCESS_NAME).write_text(summary.to_json())


@pytest.fixture
def tiny_shape() -> MorphableModel:
    """A grid of 9 x 8 vertices as wide as a face, with one identity mode (depth) and one expression mode (height)."""
    columns, rows = 9, 8
    x, y = np.meshgrid(np.linspace(-60, 60, columns), np.linspace(-80, 80, rows))
    mean = np.stack((x, y, np.zeros_like(x)), -1).reshape(-1, 3)
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1)
    triangles = np.concatenate(
        (
            np.stack((corner, corner + 1, corner + columns), -1),
            np.stack((corner + 1, corner + columns + 1, corner + columns), -1),
        )
    )
    landmarks = torch.arange(68)
    landmarks[36], landmarks[45] = 0, 8
    everywhere = torch.ones(len(mean), dtype=torch.bool)
    return MorphableModel(
        mean_mm=torch.from_numpy(mean).float(),
        identity_basis_mm=torch.tensor([0.0, 0.0, 5.0]).expand(1, len(mean), 3).contiguous(),
        expression_basis_mm=torch.tensor([0.0, 3.0, 0.0]).expand(1, len(mean), 3).contiguous(),
        triangles=torch.from_numpy(triangles).int(),
        uv=torch.from_numpy((mean[:, :2] + (60, 80)) / (120, 160)).float(),
        uv_triangles=torch.from_numpy(triangles).int(),
        landmarks=landmarks,
        jaw_candidates=landmarks[:17, None].expand(17, 2).contiguous(),
        regions={"face": everywhere, "skin": everywhere},
        metadata=ModelMetadata(
            name="grid", licence="none", source="made here", uv_layout="grid", expression_kind="gaussian"
        ),
    )


class CountingServer:
    """An S3 server on the loopback interface that remembers its requests."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        app = DomainDispatcherApplication(create_backend_app)

        def counted(environ: dict[str, Any], start_response: Any) -> Any:
            self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}?{environ['QUERY_STRING']}")
            return app(environ, start_response)

        self._server = make_server("127.0.0.1", 0, counted, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="session")
def s3_server() -> Generator[CountingServer]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    environment = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    server = CountingServer()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (environment | {"AWS_ENDPOINT_URL": server.url}).items():
            patch.setenv(name, value)
        yield server
    server.stop()


@pytest.fixture
def bucket(s3_server: CountingServer, request: pytest.FixtureRequest) -> str:
    """URI of a new bucket on that server."""
    name = f"b{blake2b(request.node.nodeid.encode(), digest_size=8).hexdigest()}"
    S3FileSystem(endpoint_override=s3_server.url, allow_bucket_creation=True).create_dir(name)
    return f"s3://{name}"


@pytest.fixture(params=["disk", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An output that does not exist yet, on a disk and in an object store."""
    if request.param == "disk":
        return open_storage(tmp_path / "out")
    return open_storage(f"{request.getfixturevalue('bucket')}/some where/out")
