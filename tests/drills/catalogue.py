"""All drills by name."""

from collections.abc import Callable

from tests.drills import nodes, processes, storage
from tests.drills.harness import Ground

DRILLS: dict[str, Callable[[Ground], None]] = {
    "prepare-worker-killed": processes.kill_prepare_worker,
    "fit-worker-killed": processes.kill_fit_worker,
    "driver-killed": processes.kill_driver,
    "terminated": processes.terminate,
    "poison-photo": processes.poison_photo,
    "poison-fit": processes.poison_fit,
    "hung-clip": processes.hung_clip,
    "full-disk": storage.full_disk,
    "refusing-store": storage.refusing_store,
    "dead-store": storage.dead_store,
    "node-replaced": nodes.replace_node,
    "node-lost": nodes.lose_node,
}
