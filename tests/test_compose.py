"""compose.yaml: its schema takes it, what it mounts is there, and the parts fit each other and the real server."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from proxy.settings import load
from tests.promtool import NotToBeHadError, promtool
from tests.tollhouse import PATIENCE, ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
SCRAPING = ROOT / "deploy" / "compose" / "prometheus.yaml"
# It names its draft by http, which jsonschema does not know as that draft's name.
VALIDATOR = jsonschema.Draft201909Validator(
    json.loads((Path(__file__).parent / "schemas" / "compose.json").read_text(encoding="utf-8"))
)


def test_the_compose_specification_takes_it():
    VALIDATOR.validate(COMPOSE)


def test_a_word_that_is_no_part_of_it_is_refused():
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate({"services": {"redis": {"image": "redis", "comand": "x"}}})


def test_it_has_what_it_says():
    assert set(SERVICES) == {"tollhouse", "redis", "prometheus", "grafana"}


@pytest.mark.parametrize("name", SERVICES)
def test_whatever_a_service_names_is_there(name):
    service = SERVICES[name]
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"], volume
    assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
    assert set(service.get("networks", [])) <= set(COMPOSE["networks"])
    assert set(service.get("depends_on", [])) <= set(SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_listens_beyond_loopback(name):
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


def test_the_redis_without_a_password_is_where_nobody_else_is():
    assert SERVICES["redis"]["networks"] == ["inside"]
    assert COMPOSE["networks"]["inside"]["internal"] is True
    words = SERVICES["redis"]["command"]
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"


def test_the_secrets_are_not_in_the_history():
    kept = (ROOT / "deploy" / "compose" / ".gitignore").read_text(encoding="utf-8").split()
    for secret in COMPOSE["secrets"].values():
        assert Path(secret["file"]).parent.name + "/" in kept


def test_the_settings_are_valid(tmp_path):
    """With a key of one vendor; the others are empty, which is unset."""
    environ = {}
    for name, value in SERVICES["tollhouse"]["environment"].items():
        environ[name] = re.sub(r"\$\{(\w+):-\}", lambda found: "a-key" if found[1] == "OPENAI_API_KEY" else "", value)
        if name.endswith("_FILE"):
            assert Path(value).name in SERVICES["tollhouse"]["secrets"]
            environ[name] = str(tmp_path / "key")
    (tmp_path / "key").write_text("k3y\n", encoding="utf-8")
    settings = load(environ, host="0.0.0.0")
    assert [provider.name for provider in settings.providers] == ["openai"]
    assert settings.redis_url is not None


def test_prometheus_asks_our_port_with_the_key_that_it_is_given():
    (job,) = yaml.safe_load(SCRAPING.read_text(encoding="utf-8"))["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["tollhouse:8080"]}]
    assert Path(job["authorization"]["credentials_file"]).name in SERVICES["prometheus"]["secrets"]


def test_prometheus_takes_its_configuration(tmp_path):
    try:
        tool = promtool()
    except NotToBeHadError as error:
        if "CI" in os.environ:
            raise
        pytest.skip(str(error))
    text = SCRAPING.read_text(encoding="utf-8").replace("/run/secrets", str(tmp_path))
    (tmp_path / "admin-key").write_text("k3y", encoding="utf-8")
    (tmp_path / "prometheus.yaml").write_text(text, encoding="utf-8")
    shutil.copy(ROOT / "deploy" / "prometheus" / "alerts.yaml", tmp_path)
    done = subprocess.run(
        [tool, "check", "config", str(tmp_path / "prometheus.yaml")], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_grafana_finds_the_dashboard_and_where_its_numbers_are():
    mounted = {volume.split(":")[1]: ROOT / volume.split(":")[0] for volume in SERVICES["grafana"]["volumes"]}
    (source,) = yaml.safe_load(mounted["/etc/grafana/provisioning/datasources/tollhouse.yaml"].read_bytes())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load(mounted["/etc/grafana/provisioning/dashboards/tollhouse.yaml"].read_bytes())[
        "providers"
    ]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home in mounted
    assert Path(home).parent == Path(provider["options"]["path"])
