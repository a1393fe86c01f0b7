"""The cluster files are what Ray's launcher and KubeRay take, and they keep strangers out."""

import copy
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from jobs import reconstruct

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs" / "cluster"
LAUNCHER = [ROOT / "ray_cluster.yaml", DOCS / "gcp.yaml", DOCS / "on_premise.yaml"]
KUBERNETES = sorted((DOCS / "kubernetes").glob("*.yaml"))
SCHEMA = yaml.safe_load((ROOT / "tests" / "kuberay_schema.yaml").read_text())
RAY_KINDS = {"RayCluster": "rayclusters", "RayJob": "rayjobs", "RayCronJob": "raycronjobs"}


def load(path: Path) -> dict[str, Any]:
    return yaml.load(path.read_text(), yaml.CSafeLoader)


def documents() -> list[Any]:
    return [
        pytest.param(document, id=f"{path.name}-{document['kind']}")
        for path in KUBERNETES
        for document in yaml.safe_load_all(path.read_text())
    ]


def start_commands(config: dict[str, Any]) -> Iterator[str]:
    for role in ("head", "worker"):
        yield from (line for line in config[f"{role}_start_ray_commands"] if "ray start" in line)


@pytest.mark.parametrize("path", LAUNCHER, ids=lambda path: path.name)
def test_the_launcher_takes_the_file(path: Path) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(load(path))
    validate_config(copy.deepcopy(prepared))
    assert prepared["max_workers"] >= 1
    # The launcher's own defaults bring in commands that open the dashboard and install old packages.
    assert "pip install" not in str([prepared["head_setup_commands"], prepared["worker_setup_commands"]])


@pytest.mark.parametrize("path", LAUNCHER, ids=lambda path: path.name)
def test_a_launched_cluster_is_closed(path: Path) -> None:
    config = load(path)
    head, worker = start_commands(config)
    assert "--dashboard-host=127.0.0.1" in head
    # A job that is stopped has 30 s for the shard it is at.
    assert "RAY_JOB_STOP_WAIT_TIME_S=40" in head
    for command in (head, worker):
        assert "RAY_AUTH_MODE=token" in command
        assert re.findall(r"-host\S*", command) in ([], ["-host=127.0.0.1"])
        assert "--disable-usage-stats" in command
    user = config["auth"]["ssh_user"]
    assert config["file_mounts"][f"/home/{user}/.ray/auth_token"] == "~/.ray/auth_token"
    assert config["setup_commands"][0] == "chmod 600 ~/.ray/auth_token"


@pytest.mark.parametrize("path", LAUNCHER, ids=lambda path: path.name)
def test_the_head_runs_no_work_and_workers_come_and_go(path: Path) -> None:
    config = load(path)
    head, worker = start_commands(config)
    assert "--num-cpus=0 --num-gpus=0" in head
    assert "--num-" not in worker
    for name, kind in config.get("available_node_types", {}).items():
        if name == config["head_node_type"]:
            assert kind["resources"] == {"CPU": 0, "GPU": 0}
        else:
            assert kind["min_workers"] == 0
            assert kind["resources"]["GPU"] >= 1


def test_the_aws_machines_take_no_connection_from_outside() -> None:
    config = load(ROOT / "ray_cluster.yaml")
    # Ray makes a security group with SSH open to the world where none is named.
    assert all(kind["node_config"]["SecurityGroupIds"] for kind in config["available_node_types"].values())
    assert "security_group" not in config["provider"]
    assert config["auth"]["ssh_proxy_command"].startswith("aws ssm start-session")


@pytest.mark.parametrize("path", LAUNCHER, ids=lambda path: path.name)
def test_setup_commands_use_what_is_in_the_checkout(path: Path) -> None:
    config = load(path)
    home = f"/home/{config['auth']['ssh_user']}/ganfit"
    assert config["file_mounts"][home] == "."
    scripts = re.findall(r"~/ganfit/(\S+)", " ".join(config["setup_commands"]))
    assert scripts
    assert all(os.access(ROOT / script, os.X_OK) for script in scripts)
    subprocess.run(["bash", "-n", *(ROOT / script for script in scripts)], check=True)


@pytest.mark.parametrize("document", documents())
def test_kubernetes_objects_have_known_fields_alone(document: dict[str, Any]) -> None:
    jsonschema.validate(document, {"$defs": SCHEMA["$defs"], **SCHEMA["kinds"][document["kind"]]})


@pytest.mark.parametrize(
    ("place", "field"),
    [
        ((), "sepc"),
        (("spec",), "shutdownAfterJobFinished"),
        (("spec", "rayClusterSpec"), "authOption"),
        (("spec", "rayClusterSpec", "headGroupSpec", "template", "spec"), "hostNetwork"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "template", "spec", "containers", 0), "volumeMount"),
    ],
)
def test_a_misplaced_field_is_found(place: tuple[str | int, ...], field: str) -> None:
    document = load(DOCS / "kubernetes" / "rayjob.yaml")
    target: Any = document
    for step in place:
        target = target[step]
    target[field] = {}
    with pytest.raises(jsonschema.ValidationError, match=field):
        jsonschema.validate(document, {"$defs": SCHEMA["$defs"], **SCHEMA["kinds"]["RayJob"]})


@pytest.mark.parametrize("document", [each for each in documents() if each.values[0]["kind"] in RAY_KINDS])
def test_kuberay_takes_the_object(document: dict[str, Any]) -> None:
    folder = os.environ.get("KUBERAY_CRDS")
    if not folder:
        pytest.skip("needs KubeRay's CRDs: set KUBERAY_CRDS to ray-operator/config/crd/bases of a clone of KubeRay")
    definition = load(Path(folder) / f"ray.io_{RAY_KINDS[document['kind']]}.yaml")
    served = next(
        each for each in definition["spec"]["versions"] if each["name"] == document["apiVersion"].split("/")[1]
    )
    jsonschema.validate(document, closed(served["schema"]["openAPIV3Schema"]))


def closed(schema: Any) -> Any:
    """The CRD's schema, refusing the unknown fields that an API server would drop without a word."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    properties = schema.get("properties")
    if isinstance(properties, dict) and properties and not schema.get("x-kubernetes-preserve-unknown-fields"):
        # metadata is left open in every CRD.
        found.setdefault("additionalProperties", False)
    return found


def clusters() -> Iterator[dict[str, Any]]:
    for document in (each.values[0] for each in documents()):
        spec: Any = document.get("spec")
        if document["kind"] == "RayCluster":
            yield spec
        elif document["kind"] == "RayJob":
            yield spec["rayClusterSpec"]
        elif document["kind"] == "RayCronJob":
            yield spec["jobTemplate"]["rayClusterSpec"]


def test_all_kubernetes_files_describe_one_cluster_and_one_job() -> None:
    first, *others = clusters()
    assert len(others) == 2
    assert all(other == first for other in others)
    assert first["rayVersion"] == version("ray")
    job, cron = load(DOCS / "kubernetes" / "rayjob.yaml"), load(DOCS / "kubernetes" / "raycronjob.yaml")
    assert cron["spec"]["jobTemplate"] == job["spec"]


def test_the_nightly_account_may_start_and_watch_that_one_job() -> None:
    found = {each.values[0]["kind"]: each.values[0] for each in documents() if each.id.startswith("cronjob.yaml")}
    job = load(DOCS / "kubernetes" / "rayjob.yaml")["metadata"]["name"]
    pod = found["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == found["ServiceAccount"]["metadata"]["name"]
    assert found["RoleBinding"]["subjects"][0]["name"] == pod["serviceAccountName"]
    assert found["RoleBinding"]["roleRef"]["name"] == found["Role"]["metadata"]["name"]
    verbs = {verb for rule in found["Role"]["rules"] for verb in rule["verbs"]}
    commands = [container["command"][1] for container in (*pod["initContainers"], *pod["containers"])]
    assert commands == ["delete", "create", "wait", "wait"]
    assert verbs == {"create", "get", "list", "watch", "delete"}
    assert all(rule.get("resourceNames") == [job] for rule in found["Role"]["rules"] if rule["verbs"] != ["create"])
    named = [container["command"] for container in (*pod["initContainers"], *pod["containers"])]
    assert [job in " ".join(command).replace("/", " ").split() for command in named] == [True, False, True, True]


def test_the_wall_around_the_pods_covers_all_of_them() -> None:
    policy = next(each.values[0] for each in documents() if each.values[0]["kind"] == "NetworkPolicy")
    labels = policy["spec"]["podSelector"]["matchLabels"]
    for cluster in clusters():
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            assert group["template"]["metadata"]["labels"] == labels
    job = load(DOCS / "kubernetes" / "rayjob.yaml")["spec"]
    assert job["submitterPodTemplate"]["metadata"]["labels"] == labels


def test_the_image_has_what_the_kubernetes_files_expect() -> None:
    text = (DOCS / "Dockerfile").read_text()
    assert re.search(r"^USER ubuntu$", text, re.MULTILINE)
    for name in re.findall(r"^COPY (?!--)(.+) \S+$", text, re.MULTILINE):
        assert all((ROOT / part).exists() for part in name.split())


def commands() -> Iterator[str]:
    """The jobs that the files and their description run."""
    yield load(DOCS / "kubernetes" / "rayjob.yaml")["spec"]["entrypoint"]
    text = (ROOT / "docs" / "cluster.md").read_text().replace("\\\n", " ")
    yield from re.findall(r"python -m jobs\.reconstruct --input .*", text)


def test_the_jobs_have_the_options_they_are_given() -> None:
    found = [shlex.split(command) for command in commands()]
    assert len(found) == 3
    for python, flag, module, *options in found:
        assert (python, flag, module) == ("python", "-m", "jobs.reconstruct")
        parsed = reconstruct.main.parser().parse_args(options)
        assert parsed.num_gpus == 8
        assert parsed.node_timeout_s == 1800
