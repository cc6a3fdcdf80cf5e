"""deploy/ for Kubernetes: what is rendered is what stands there, Kubernetes' own schemas take it, its parts fit each
other, nothing in it may do more than it must, and what it starts and asks is the real command.

These tests read deploy/rendered, so they need no kustomize. One compares it with what kustomize makes."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]  # it has no stubs
import openai
import pytest
import yaml

from proxy.settings import load
from proxy.simulator.client import Simulator
from tests import kustomize
from tests.kustomize import OVERLAYS, RENDERED, NotToBeHadError
from tests.redis_server import free_port, redis_server
from tests.tollhouse import PATIENCE, ROOT, Tollhouse, environ_of, surroundings

Manifest = dict[str, Any]
OLDEST, NEWEST = "1.30", "1.37"  # docs/kubernetes.md names the oldest
SCHEMAS = Path(__file__).parent / "schemas"
PORT = "8990"  # of the sidecar
FOLDERS = ("/run/secrets/tollhouse", "/etc/tollhouse", "/var/lib/tollhouse")


def texts(overlay: str) -> str:
    return (RENDERED / f"{overlay}.yaml").read_text(encoding="utf-8")


def manifests(text: str) -> list[Manifest]:
    return list(yaml.safe_load_all(text))


def everything() -> Iterator[tuple[str, Manifest]]:
    """Each with its name."""
    for overlay in OVERLAYS:
        for manifest in manifests(texts(overlay)):
            yield f"{overlay} {manifest['kind']} {manifest['metadata']['name']}", manifest


ALL = dict(everything())
PODS = {name: manifest["spec"]["template"] for name, manifest in ALL.items() if "template" in manifest.get("spec", {})}
CONTAINERS = {
    f"{name} {container['name']}": (pod["spec"], container)
    for name, pod in PODS.items()
    for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
}


def of_kind(overlay: str, kind: str) -> list[Manifest]:
    return [found for name, found in ALL.items() if name.startswith(f"{overlay} {kind} ")]


def one(overlay: str, kind: str, name: str = "") -> Manifest:
    (found,) = (each for each in of_kind(overlay, kind) if each["metadata"]["name"].startswith(name))
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_rendered_is_not_behind(overlay):
    assert texts(overlay).startswith(kustomize.head()), "deploy/ was changed: run `make manifests`"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kustomize_renders_the_same(overlay):
    try:
        fresh = kustomize.rendered(overlay)
    except NotToBeHadError as error:
        if "CI" in os.environ:
            raise
        pytest.skip(str(error))
    assert manifests(fresh) == manifests(texts(overlay))


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", [name for name in ALL if " ServiceMonitor " not in name])
def test_kubernetes_takes_it(name, version):
    kubernetes_validate.validate(ALL[name], version, strict=True)


def test_the_prometheus_operator_takes_the_monitor():
    schema = json.loads((SCHEMAS / "servicemonitor.json").read_text(encoding="utf-8"))
    jsonschema.validate(one("standalone", "ServiceMonitor"), schema)


def test_a_word_that_is_no_field_is_refused_by_both():
    """So that the two tests above say something."""
    schema = json.loads((SCHEMAS / "servicemonitor.json").read_text(encoding="utf-8"))
    monitor = one("standalone", "ServiceMonitor")
    endpoint = {**monitor["spec"]["endpoints"][0], "intervall": "1s"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**monitor, "spec": {**monitor["spec"], "endpoints": [endpoint]}}, schema)
    service = one("standalone", "Service", "tollhouse-redis")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**service, "spec": {**service["spec"], "port": 1}}, NEWEST, strict=True)


def test_the_base_has_all_that_the_issue_asks_for():
    ours = {name.split()[1] for name in ALL if name.startswith("standalone") and not name.split()[2].endswith("redis")}
    assert ours >= {
        "Deployment",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
    }


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_may_do_no_more_than_it_must(name):
    """Pod Security Standards, "restricted", and a root file system that nobody writes to."""
    pod, container = CONTAINERS[name]
    own, common = container["securityContext"], pod.get("securityContext", {})
    assert own["allowPrivilegeEscalation"] is False
    assert own["readOnlyRootFilesystem"] is True
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert {**common, **own}["runAsNonRoot"] is True
    assert {**common, **own}["runAsUser"] >= 999
    assert {**common, **own}["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert not any(word in pod for word in ("hostNetwork", "hostPID", "hostIPC"))
    assert not any("hostPath" in volume for volume in pod["volumes"] if container["name"] != "shop")


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_asks_for_cpu_and_memory_and_is_not_throttled(name):
    resources = CONTAINERS[name][1]["resources"]
    assert set(resources["requests"]) == {"cpu", "memory"}
    assert set(resources["limits"]) == {"memory"}


@pytest.mark.parametrize("name", CONTAINERS)
def test_whatever_is_named_is_there(name):
    pod, container = CONTAINERS[name]
    overlay = name.split()[0]
    claims = ALL[" ".join(name.split()[:3])]["spec"].get("volumeClaimTemplates", [])
    volumes = {volume["name"] for volume in pod["volumes"]} | {claim["metadata"]["name"] for claim in claims}
    assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
    maps = {found["metadata"]["name"] for found in of_kind(overlay, "ConfigMap")}
    named = {source["configMapRef"]["name"] for source in container.get("envFrom", [])}
    named |= {volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume}
    assert named <= maps
    ports = {port["name"] for port in container.get("ports", [])}
    probes = [container[probe] for probe in container if probe.endswith("Probe")]
    asked = {probe[how]["port"] for probe in probes for how in ("httpGet", "tcpSocket") if how in probe}
    assert asked <= ports


def selectors(manifest: Manifest) -> Iterator[Mapping[str, str]]:
    """The labels of pods that a manifest means."""
    spec = manifest.get("spec", {})
    if manifest["kind"] == "Service":
        yield spec["selector"]
    elif manifest["kind"] == "NetworkPolicy":
        yield spec["podSelector"]["matchLabels"]
    elif manifest["kind"] in {"Deployment", "StatefulSet", "PodDisruptionBudget"}:
        yield spec["selector"]["matchLabels"]
    for spread in spec.get("template", {}).get("spec", {}).get("topologySpreadConstraints", []):
        yield spread["labelSelector"]["matchLabels"]


@pytest.mark.parametrize("name", [name for name, manifest in ALL.items() if list(selectors(manifest))])
def test_a_selector_means_one_kind_of_pod(name):
    for selector in selectors(ALL[name]):
        labels = [pod["metadata"]["labels"] for other, pod in PODS.items() if other.split()[0] == name.split()[0]]
        assert sum(selector.items() <= each.items() for each in labels) == 1


def test_prometheus_finds_the_service_and_the_key():
    monitor, service = one("standalone", "ServiceMonitor"), ALL["standalone Service tollhouse"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["authorization"]["credentials"]["name"] == "tollhouse"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_who_uses_the_redis_may_reach_it(overlay):
    (rule,) = one(overlay, "NetworkPolicy", "tollhouse-redis")["spec"]["ingress"]
    wanted = rule["from"][0]["podSelector"]["matchLabels"]
    users = [pod for name, pod in PODS.items() if name.startswith(overlay) and "StatefulSet" not in name]
    assert all(wanted.items() <= pod["metadata"]["labels"].items() for pod in users)


def test_our_egress_reaches_the_redis_and_no_private_network():
    rules = ALL["standalone NetworkPolicy tollhouse"]
    egress = {rule["ports"][0]["port"]: rule["to"] for rule in rules["spec"]["egress"]}
    redis = PODS["standalone StatefulSet tollhouse-redis"]["metadata"]["labels"]
    assert egress[6379][0]["podSelector"]["matchLabels"].items() <= redis.items()
    blocks = {to["ipBlock"]["cidr"]: to["ipBlock"]["except"] for to in egress[443]}
    assert "169.254.0.0/16" in blocks["0.0.0.0/0"]  # the metadata services of clouds
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"} <= set(blocks["0.0.0.0/0"])


def test_what_is_in_flight_has_the_time_that_it_was_promised():
    pod = PODS["standalone Deployment tollhouse"]["spec"]
    pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = float(one("standalone", "ConfigMap", "tollhouse-environment")["data"]["TOLLHOUSE_DRAIN_SECONDS"])
    assert pod["terminationGracePeriodSeconds"] >= pause + drain + 10
    readiness = pod["containers"][0]["readinessProbe"]
    assert pause >= readiness["periodSeconds"] * readiness["failureThreshold"]


def test_no_secret_stands_in_a_manifest():
    """Each variable of a key names a file of the Secret, which is made by hand."""
    assert not [name for name in ALL if " Secret " in name]
    for name, manifest in ALL.items():
        for variable, value in manifest.get("data", {}).items():
            if re.search("KEY|SECRET|URL", variable):
                assert variable.endswith("_FILE"), f"{name}: {variable}"
                assert value.startswith("/run/secrets/tollhouse/"), f"{name}: {variable}"


def folder_of(text: str, here: Path) -> str:
    """A rendered manifest that speaks of folders below `here` instead of those of a container."""
    for folder in FOLDERS:
        (here / folder[1:]).mkdir(parents=True, exist_ok=True)
        text = text.replace(folder, str(here / folder[1:]))
    return text


def environ_in(found: list[Manifest], container: Manifest) -> dict[str, str]:
    """The variables that Kubernetes would set."""
    maps = {each["metadata"]["name"]: each["data"] for each in found if each["kind"] == "ConfigMap"}
    environ: dict[str, str] = {}
    for source in container.get("envFrom", []):
        environ |= maps[source["configMapRef"]["name"]]
    return environ | {row["name"]: row["value"] for row in container.get("env", [])}


def mounted(found: list[Manifest], here: Path, secrets: Mapping[str, str]) -> None:
    """The files that Kubernetes would mount."""
    for each in found:
        if each["kind"] == "ConfigMap" and "tollhouse.yaml" in each["data"]:
            (here / "etc/tollhouse/tollhouse.yaml").write_text(each["data"]["tollhouse.yaml"], encoding="utf-8")
    for name, value in secrets.items():
        (here / "run/secrets/tollhouse" / name).write_text(f"{value}\n", encoding="utf-8")


def test_the_settings_of_the_standalone_overlay_are_valid(tmp_path):
    """Read as they will be, with a Secret that holds what docs/kubernetes.md says."""
    text = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    made = re.findall(r"--from-(?:file|literal)=([\w-]+)=", text)
    found = manifests(folder_of(texts("standalone"), tmp_path))
    mounted(found, tmp_path, dict.fromkeys(made, "a-key") | {"redis-url": "redis://tollhouse:p@tollhouse-redis:6379/0"})
    (container,) = next(each for each in found if each["kind"] == "Deployment")["spec"]["template"]["spec"][
        "containers"
    ]
    words = container["args"]
    assert words[:1] == ["serve"]
    settings = load(environ_in(found, container), host=words[words.index("--host") + 1])
    assert {provider.name for provider in settings.providers} == {"openai", "anthropic", "gemini"}
    assert settings.redis_url is not None
    assert settings.admin_key is not None
    assert settings.client_keys
    assert {budget.name for budget in settings.budgets}


@pytest.fixture
def pod(tmp_path: Path, simulator: Simulator) -> Iterator[tuple[list[Manifest], dict[str, str]]]:
    """The sidecar example as it was rendered, on another port and in folders of this machine, with a real Redis; and
    the environment of its sidecar. The vendor is simulated."""
    text = folder_of(texts("sidecar-example"), tmp_path).replace(PORT, str(free_port()))
    found = manifests(text)
    with redis_server() as redis:
        mounted(found, tmp_path, {"openai-api-key": "sk-openai-canary", "redis-url": redis.url})
        environ = environ_in(found, sidecar_in(found)) | {"TOLLHOUSE_DATA_DIR": f"{tmp_path}/var/lib/tollhouse"}
        yield found, environ | {"OPENAI_BASE_URL": environ_of(simulator)["OPENAI_BASE_URL"]}


def sidecar_in(found: list[Manifest]) -> Manifest:
    (container,) = (
        each
        for manifest in found
        if manifest["kind"] == "Deployment"
        for each in manifest["spec"]["template"]["spec"]["initContainers"]
    )
    assert container["restartPolicy"] == "Always"
    return dict(container)


def asked(probe: Manifest, environ: Mapping[str, str]) -> int:
    """The exit code of a probe, run as it is written: `tollhouse` is this checkout's."""
    command, *words = probe["exec"]["command"]
    assert command == "tollhouse"
    done = subprocess.run(
        [sys.executable, "-m", "proxy", *words],
        cwd=ROOT,
        env=surroundings(environ),
        capture_output=True,
        timeout=PATIENCE,
    )
    return done.returncode


def test_the_sidecar_is_started_asked_and_used_as_its_manifest_says(pod):
    found, environ = pod
    container = sidecar_in(found)
    verb, *words = container["args"]
    assert asked(container["startupProbe"], environ) == 1  # nobody is there yet
    with Tollhouse.start(environ, *words, verb=verb) as house:
        deadline = time.monotonic() + PATIENCE
        while asked(container["startupProbe"], environ):
            assert time.monotonic() < deadline, house.stderr
        assert asked(container["livenessProbe"], environ) == 0
        said = house.wait_log("listening")
        assert said["store"].startswith("Redis")
        assert "127.0.0.1" in said["url"]
        program = next(each for each in found if each["kind"] == "Deployment")["spec"]["template"]["spec"][
            "containers"
        ][0]
        its = environ_in(found, program)
        with openai.OpenAI(base_url=its["OPENAI_BASE_URL"], api_key=its["OPENAI_API_KEY"], max_retries=0) as client:
            answer = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hello"}])
        assert answer.choices[0].message.content
        assert house.stop() == 0
    assert asked(container["livenessProbe"], environ) == 1


def test_the_guide_names_overlays_that_there_are():
    text = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    named = {word for line in re.findall(r"kubectl apply -k (\S+)", text) for word in shlex.split(line)}
    assert named
    assert all((ROOT / folder / "kustomization.yaml").exists() for folder in named)
