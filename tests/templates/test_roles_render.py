"""What each service role puts on a box renders from its real defaults, with no host."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from plugins.filter.catalog import plain
from plugins.module_utils.catalog.instances import Instance
from plugins.module_utils.catalog.plan import make_plan
from plugins.module_utils.gpu.container import gpu_container
from roles.ollama.files import gpu_watch
from tests.unit.catalog_samples import declaration
from tests.unit.gpu_hosts import by_cdi, look

ROOT = Path(__file__).parents[2]
SECRET = "s3cret-'quoted' $(id) `id` \"x\" \\ end"


def trusted(value: Any) -> Any:
    """Mark the text of our own files as templates, as Ansible does when it loads them."""
    if isinstance(value, Mapping):
        return {key: trusted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [trusted(item) for item in value]
    return trust_as_template(value) if isinstance(value, str) else value


def render(role: str, expression: str, **variables: Any) -> Any:
    """Evaluate an expression with the defaults and private variables of a role, as its tasks would."""
    folder = ROOT / "roles" / role
    known: dict[str, Any] = {}
    for part in ("defaults", "vars"):
        known.update(trusted(yaml.safe_load((folder / part / "main.yml").read_text())))
    known.update(variables, ansible_search_path=[str(folder)])
    loader = DataLoader()
    loader.set_basedir(str(folder))
    return Templar(loader, known).template(trust_as_template(f"{{{{ {expression} }}}}"))


def compose(role: str, **variables: Any) -> dict[str, Any]:
    """Return the Compose file that a role comes to."""
    files = "{}" if role == "llamacpp" else f"__{role}_files"
    secrets = "{}" if role in ("ollama", "llamacpp", "ingress") else f"__{role}_secrets"
    arguments = f"'llm-gateway-{role}', 'llm-gateway', {files}, {secrets}"
    expression = f"__{role}_containers | homelab.llm_gateway.compose_definition({arguments})"
    return dict(plain(render(role, expression, **variables)))


PLAN = make_plan(declaration())
REDIS = {"redis_image": PLAN["images"]["redis"], "redis_password": "redis-password-of-the-test"}
OLLAMA = {"ollama_image": PLAN["images"]["ollama"]}
LLAMACPP = {
    "llamacpp_image": PLAN["images"]["llamacpp"],
    "llamacpp_instances": [
        Instance("coder", "/srv/models/coder.gguf").for_the_role(),
        Instance("vectors", "/srv/models/vectors.gguf", embeddings=True).for_the_role(),
    ],
}
LITELLM = {
    "litellm_image": PLAN["images"]["litellm"],
    "litellm_config": PLAN["litellm_config"],
    "litellm_policy": PLAN["gateway_policy"],
    "litellm_environment": {**PLAN["litellm_environment"], "PROVIDER_X_API_KEY": SECRET},
}
INGRESS = {"ingress_image": PLAN["images"]["caddy"]}
ROLES = {"redis": REDIS, "ollama": OLLAMA, "llamacpp": LLAMACPP, "litellm": LITELLM, "ingress": INGRESS}
# The published program carries this capability and does not start where nobody may have it.
CAPABILITIES = {"ingress": ["NET_BIND_SERVICE"]}


@pytest.mark.parametrize("role", ROLES)
def test_every_container_is_hardened_and_bounded(role: str) -> None:
    services = compose(role, **ROLES[role])["services"]
    assert services
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["user"].split(":")[0] not in ("0", "root", "")
        assert service["mem_limit"]
        assert service["pids_limit"]
        assert service["logging"]["options"]["max-size"]
        assert "privileged" not in service
        assert service.get("cap_add", []) == CAPABILITIES.get(role, [])
        assert not [volume for volume in service.get("volumes", []) if "docker.sock" in volume]


def test_only_the_ingress_is_published_and_only_where_the_inventory_says() -> None:
    published = {
        role: [service.get("ports", []) for service in compose(role, **ROLES[role])["services"].values()]
        for role in ROLES
    }
    assert published == {
        "redis": [[]],
        "ollama": [[]],
        "llamacpp": [[], []],
        "litellm": [[], []],
        "ingress": [["127.0.0.1:4000:8443"]],
    }
    elsewhere = compose("ingress", **INGRESS, ingress_bind_address="10.0.0.5", ingress_port=8001)
    assert elsewhere["services"]["ingress"]["ports"] == ["10.0.0.5:8001:8443"]


def test_there_are_as_many_replicas_as_wanted_and_all_alike() -> None:
    services = compose("litellm", **LITELLM, litellm_replicas=3)["services"]
    assert list(services) == ["litellm-1", "litellm-2", "litellm-3"]
    first, *others = [{**service, "container_name": ""} for service in services.values()]
    assert others == [first, first]


@pytest.mark.parametrize(
    ("host", "options", "variables"),
    [
        ("no GPU", {}, {}),
        ("NVIDIA, ready", by_cdi("nvidia.com/gpu=all"), {}),
        ("AMD, built for ROCm", {"devices": ["/dev/kfd", "/dev/dri/renderD128"]}, {}),
        ("AMD, part of a processor", {"devices": ["/dev/dri/renderD128"]}, {"OLLAMA_IGPU_ENABLE": "1"}),
    ],
)
def test_ollama_gets_the_gpus_and_stays_as_hardened(
    tmp_path: Path, host: str, options: dict[str, Any], variables: dict[str, str]
) -> None:
    plain_service = compose("ollama", **OLLAMA)["services"]["ollama"]
    found = gpu_container(look(host, tmp_path))
    service = compose("ollama", **OLLAMA, ollama_gpu=found)["services"]["ollama"]
    assert service["environment"] == {**plain_service["environment"], **variables}
    # The numbers are those of whoever owns the nodes here.
    assert ("group_add" in service) == (found["mode"] in ("rocm", "vulkan"))
    varied = ("environment", "group_add")
    assert {key: value for key, value in service.items() if key not in varied} == {
        **{key: value for key, value in plain_service.items() if key not in varied},
        **options,
    }


def test_the_users_variables_of_ollama_come_on_top_and_as_text() -> None:
    service = compose("ollama", **OLLAMA, ollama_kv_cache_type="q8_0", ollama_environment={"OLLAMA_MAX_QUEUE": 64})[
        "services"
    ]["ollama"]
    environment = service["environment"]
    assert {
        name: environment[name] for name in sorted(environment) if name.startswith("OLLAMA_") or name == "HOME"
    } == {
        "HOME": "/ollama",
        "OLLAMA_CONTEXT_LENGTH": "8192",
        "OLLAMA_FLASH_ATTENTION": "1",
        "OLLAMA_HOST": "0.0.0.0:11434",
        "OLLAMA_KEEP_ALIVE": "30m",
        "OLLAMA_KV_CACHE_TYPE": "q8_0",
        "OLLAMA_MAX_LOADED_MODELS": "2",
        "OLLAMA_MAX_QUEUE": "64",
        "OLLAMA_NO_CLOUD": "1",
        "OLLAMA_NUM_PARALLEL": "1",
    }


def watch_files(**variables: Any) -> dict[str, str]:
    """Return the texts of the watch over the GPU by the names of their files, as the role writes them."""
    names = render("ollama", "__ollama_files.keys() | list", **OLLAMA, **variables)
    return {name: str(render("ollama", f"__ollama_files['{name}'].content", **OLLAMA, **variables)) for name in names}


def settings(text: str) -> dict[str, str]:
    """Return the settings of a unit file, of which none comes twice."""
    lines = [line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#")]
    found = {name: value for name, _, value in lines}
    assert len(lines) == len(found)
    return found


NVIDIA = {"ollama_gpu": {"mode": "nvidia", "options": {}, "environment": {}}}
WATCH_UNIT = "llm-gateway-ollama-gpu-watch"


@pytest.mark.parametrize("variables", [{}, {**NVIDIA, "ollama_gpu_watch": False}, {**NVIDIA, "ollama_gpu_watch": "no"}])
def test_a_box_without_a_gpu_or_without_the_watch_gets_no_file_of_it(variables: dict[str, Any]) -> None:
    assert watch_files(**variables) == {}


@pytest.mark.parametrize("mode", ["nvidia", "rocm", "vulkan"])
def test_a_box_with_a_gpu_gets_the_watch(mode: str) -> None:
    found = watch_files(ollama_gpu={**NVIDIA["ollama_gpu"], "mode": mode})
    assert list(found) == ["gpu_watch.py", f"{WATCH_UNIT}.service", f"{WATCH_UNIT}.timer"]
    assert found["gpu_watch.py"] == (ROOT / "roles/ollama/files/gpu_watch.py").read_text()


def test_the_watch_recreates_no_container_when_it_comes_or_changes() -> None:
    watched, unwatched = (compose("ollama", **OLLAMA, **NVIDIA, ollama_gpu_watch=watch) for watch in (True, False))
    assert watched == unwatched


def test_the_watch_may_do_little_but_ask_docker_and_remembers_in_a_folder_of_its_own() -> None:
    run = settings(watch_files(**NVIDIA, ollama_deploy_dir="/srv/gateway")[f"{WATCH_UNIT}.service"])
    assert run["ConditionPathExists"] == "/srv/gateway/ollama/gpu_watch.py"
    assert run["ExecStart"] == "/usr/bin/python3 -I /srv/gateway/ollama/gpu_watch.py"
    assert run["Type"] == "oneshot"
    for name in ("NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectKernelTunables", "RestrictNamespaces"):
        assert run[name] == "yes"
    assert (run["ProtectSystem"], run["ProtectHome"]) == ("strict", "read-only")
    assert (run["CapabilityBoundingSet"], run["RestrictAddressFamilies"]) == ("", "AF_UNIX")
    # All else is read-only to it, so this is where it remembers; a timer's service ends in between.
    assert f"/run/{run['RuntimeDirectory']}" == str(gpu_watch.STATE)
    assert run["RuntimeDirectoryPreserve"] == "yes"
    longest = 2 * (3 * gpu_watch.DOCKER_SECONDS + gpu_watch.CHECK_SECONDS) + gpu_watch.RECREATE_SECONDS
    assert run["TimeoutStartSec"] == "15min"
    assert longest < 15 * 60


def test_the_watch_looks_as_often_as_is_wanted_also_after_it_failed() -> None:
    timer = settings(watch_files(**NVIDIA, ollama_gpu_watch_minutes=7)[f"{WATCH_UNIT}.timer"])
    assert (timer["OnActiveSec"], timer["OnUnitInactiveSec"]) == ("7min", "7min")
    assert timer["WantedBy"] == "timers.target"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
def test_systemd_understands_the_units_of_the_watch(tmp_path: Path) -> None:
    found = watch_files(**NVIDIA)
    paths = [tmp_path / name for name in found if name.startswith(WATCH_UNIT)]
    for path in paths:
        path.write_text(found[path.name])
    ran = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True, check=False)
    assert WATCH_UNIT not in ran.stdout + ran.stderr
    assert ran.returncode == 0, ran.stderr


def test_each_server_of_llama_cpp_has_the_name_by_which_litellm_asks_it() -> None:
    services = compose("llamacpp", **LLAMACPP)["services"]
    assert {name: service["container_name"] for name, service in services.items()} == {
        "llamacpp-coder": "llm-gateway-llamacpp-coder",
        "llamacpp-vectors": "llm-gateway-llamacpp-vectors",
    }
    assert services["llamacpp-coder"]["networks"] == ["llm-gateway"]
    assert services["llamacpp-coder"]["image"] == PLAN["images"]["llamacpp"]


def test_without_an_instance_the_role_removes_its_project() -> None:
    tasks = yaml.safe_load((ROOT / "roles/llamacpp/tasks/main.yml").read_text())
    state = tasks[0]["vars"]["compose_service_state"].strip("{ }")
    assert render("llamacpp", state, **LLAMACPP) == "present"
    assert render("llamacpp", state, **{**LLAMACPP, "llamacpp_instances": []}) == "absent"
    assert render("llamacpp", state, **LLAMACPP, llamacpp_enabled=False) == "absent"


def caddyfile(**variables: Any) -> list[str]:
    """Return the lines of the ingress's configuration, without what sets them in."""
    text = str(render("ingress", "__ingress_files['config/Caddyfile'].content", **INGRESS, **variables))
    return [line.strip() for line in text.splitlines()]


def test_the_ingress_knows_every_replica_and_no_other() -> None:
    assert "reverse_proxy litellm-1:4000 litellm-2:4000 {" in caddyfile()
    assert "reverse_proxy litellm-1:4000 litellm-2:4000 litellm-3:4000 {" in caddyfile(ingress_replicas=3)


def test_metrics_are_closed_until_a_network_is_named() -> None:
    assert not [line for line in caddyfile() if "metrics" in line]
    lines = caddyfile(ingress_monitoring_networks=["10.9.0.0/24", "10.8.0.7/32"])
    assert [line for line in lines if line.startswith("path /metrics")] == [
        "path /metrics/litellm-1",
        "path /metrics/litellm-2",
    ]
    assert lines.count("remote_ip 10.9.0.0/24 10.8.0.7/32") == 2


def test_the_ingress_lets_only_the_clients_routes_through() -> None:
    (rule,) = [line for line in caddyfile() if line.startswith("@client ")]
    asked, listed = [re.findall(r'"(/[^"]+)"', part) for part in rule.split(" && ")]
    assert asked == [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/messages",
        "/v1/responses",
        "/chat/completions",
        "/embeddings",
        "/health/liveliness",
    ]
    assert listed == ["/v1/models", "/v1/models/*", "/models", "/models/*"]


def test_the_ingress_logs_neither_headers_nor_queries() -> None:
    lines = caddyfile()
    for line in (
        "request>headers delete",
        "resp_headers delete",
        "request>tls delete",
        'request>uri regexp "[?].*" ""',
    ):
        assert line in lines
    # One place for all logs, so that no other one writes what this one leaves out; the sites only name it.
    assert [line for line in lines if line.startswith(("log", "output"))] == ["log {", "output stdout", "log", "log"]


def test_who_asks_the_replicas_counts_as_many_as_there_are() -> None:
    """They stand in three roles' defaults; a playbook of its own cannot see those of another one's roles."""
    counts = {
        role: yaml.safe_load((ROOT / "roles" / role / "defaults/main.yml").read_text())[f"{role}_replicas"]
        for role in ("litellm", "ingress", "verify")
    }
    assert set(counts.values()) == {counts["litellm"]}
    verify = (ROOT / "playbooks/verify.yml").read_text()
    assert f"litellm_replicas | default({counts['litellm']})" in verify


@pytest.mark.parametrize("role", ROLES)
def test_no_secret_stands_in_a_compose_file(role: str) -> None:
    text = yaml.safe_dump(compose(role, **ROLES[role]))
    secrets = [REDIS["redis_password"], *LITELLM["litellm_environment"].values()]
    assert not [secret for secret in secrets if str(secret) in text]


@pytest.mark.parametrize("role", ["redis", "litellm"])
def test_a_changed_secret_or_file_recreates_the_container(role: str) -> None:
    changes: dict[str, dict[str, Any]] = {
        "redis": {"redis_password": "another-password"},
        "litellm": {"litellm_environment": {**LITELLM["litellm_environment"], "PROVIDER_X_API_KEY": "another"}},
    }
    before = compose(role, **ROLES[role])["services"]
    after = compose(role, **{**ROLES[role], **changes[role]})["services"]
    assert [service["labels"] for service in before.values()] != [service["labels"] for service in after.values()]
    assert compose(role, **ROLES[role])["services"] == before


def test_health_checks_use_what_the_images_have() -> None:
    for role, variables in ROLES.items():
        for service in compose(role, **variables)["services"].values():
            command = " ".join(service["healthcheck"]["test"])
            # llama.cpp's image has curl, for its own check.
            assert "curl" not in command or role == "llamacpp"
            # BusyBox is in Caddy's published image, which stands on Alpine.
            assert "wget" not in command.replace("busybox wget", "")
            assert role == "ingress" or "busybox" not in command


def test_the_config_of_litellm_is_the_planned_one() -> None:
    text = render("litellm", "__litellm_files['config/config.yaml'].content", **LITELLM)
    assert yaml.safe_load(text) == PLAN["litellm_config"]


def test_the_config_of_redis_never_throws_out_a_key_without_expiry() -> None:
    lines = render("redis", "__redis_files['config/redis.conf'].content", **REDIS).splitlines()
    assert "maxmemory-policy volatile-lru" in lines
    assert "appendonly yes" in lines
    assert "maxmemory 256mb" in lines
    assert not [line for line in lines if "requirepass" in line]


def test_a_shell_reads_every_secret_back_as_it_was(tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    environment.write_text(render("litellm", "__litellm_secrets['secrets/environment'].content", **LITELLM))
    script = f'set -ea; . {environment}; set +a; printf %s "$PROVIDER_X_API_KEY"'
    ran = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == SECRET


def test_litellm_does_not_start_without_one_of_its_keys(tmp_path: Path) -> None:
    start = str(render("litellm", "__litellm_files['config/start.sh'].content", **LITELLM))
    environment = tmp_path / "environment"
    script = start.replace("/run/litellm-secrets/environment", str(environment)).replace(
        "exec litellm", "echo started litellm"
    )
    complete = {**LITELLM["litellm_environment"], "PROVIDER_X_API_KEY": "x"}
    for missing in (None, *complete):
        environment.write_text("".join(f"{name}='x'\n" for name in complete if name != missing))
        ran = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=False)
        assert (ran.returncode == 0) == (missing is None), ran.stderr
        assert missing is None or missing in ran.stderr
