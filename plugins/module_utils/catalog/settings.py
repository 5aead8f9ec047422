"""The gateway's single settings: address, port, secrets; and variables that nothing reads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ..gpu.verdict import MODES
from ..ollama.environment import CACHE_TYPES, FLASH_ATTENTION, environment_problem
from .address import TLS_MODES, address_problems, is_host, tls_mode
from .fields import (
    Field,
    Undefined,
    boolean,
    kind_of,
    networks,
    one_of,
    port,
    text,
    undefined_items,
    whole_seconds,
)
from .problems import ANYWHERE, EDIT_VAULT, VAULT_FILE, Problem, did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

MIN_SECRET_LENGTH = 32
# A quote or a blank ends a password in redis.conf early, and Redis then prints it into its log.
_SAFE_SECRET = re.compile(r"[A-Za-z0-9_-]+\Z")
_WEAK = f"is weak (under {MIN_SECRET_LENGTH} characters, or few different ones)"
# A key travels in a header of HTTP.
_UNSENDABLE = re.compile(r"[^\x21-\x7e]")
_UNSENDABLE_REASON = "holds a blank, a line break or a non-ASCII character"
_NEW_CLIENT_KEY = "Put a random key into the vault; `make client NAME=app` makes one for a new client"
# Keys that stand in public documentation: LiteLLM itself refuses to start with some of them.
PUBLISHED_SECRETS = ("sk-1234", "sk-litellm", "password", "changeme", "change-me", "super-secret-key", "your-api-key")


def _directory(value: Any) -> str | None:
    wrong = text(value)
    if wrong:
        return wrong
    return (
        None if re.match(r"/[A-Za-z0-9._/-]+\Z", value) and ".." not in value else f"{value!r} is not an absolute path"
    )


def _address(value: Any) -> str | None:
    wrong = text(value)
    if wrong:
        return wrong
    is_address = re.match(r"(\d{1,3}\.){3}\d{1,3}\Z", value) and all(int(part) <= 255 for part in value.split("."))
    return None if is_address else f"{value!r} is not an IPv4 address"


def _tls(value: Any) -> str | None:
    return None if tls_mode(value) in TLS_MODES else f"{value!r} is not one of {', '.join(TLS_MODES)}"


def _hosts(value: Any) -> str | None:
    """Accept a list of names and IPv4 addresses; the gateway is published at IPv4 addresses only."""
    if not isinstance(value, list):
        return f"is not a list but {kind_of(value)}"
    wrong = [item for item in value if not is_host(item)]
    return f"holds {wrong[0]!r}, which is neither a name nor an IPv4 address" if wrong else None


def _box_names(value: Any) -> str | None:
    """Accept a list of names of boxes."""
    if not isinstance(value, list):
        return f"is not a list but {kind_of(value)}"
    wrong = [item for item in value if not isinstance(item, str) or not item]
    return f"holds {wrong[0]!r}, which is no name of a box" if wrong else None


def _email(value: Any) -> str | None:
    is_email = isinstance(value, str) and re.match(r"([^\s@{}\"]+@[^\s@{}\"]+\.[^\s@{}\"]+)?\Z", value)
    return None if is_email else f"{value!r} is not an e-mail address"


def _file(value: Any) -> str | None:
    """Accept an absolute path, also from somebody's home, or nothing."""
    is_path = isinstance(value, str) and (value == "" or value.startswith(("/", "~/")))
    return None if is_path else f"{value!r} is not an absolute path"


def _sentry_dsn(value: Any) -> str | None:
    if value == "":
        return None
    # Not repeated: whoever has it can fill the project with reports.
    is_dsn = isinstance(value, str) and re.match(r"https?://[^\s/@:]+(:[^\s/@]*)?@[^\s/@]+(/[^\s/]+)*/\d+\Z", value)
    return None if is_dsn else "is not the address of a Sentry project"


def _drain_seconds(value: Any) -> str | None:
    """Accept a whole number of seconds; as text too, since ``-e llm_drain_seconds=60`` gives text."""
    return whole_seconds(int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value)


def _replicas(value: Any) -> str | None:
    """Accept 1 to 8; as text too, since ``-e litellm_replicas=3`` gives text."""
    return None if str(value) in {str(number) for number in range(1, 9)} else f"{value!r} is not a number from 1 to 8"


# NVIDIA's UUIDs of whole cards (`nvidia-smi -L`), and addresses as the kernel or nvidia-smi writes them.
_GPU_NAME = re.compile(r"(GPU-[0-9a-f-]{36}|[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])\Z", re.IGNORECASE)


def _gpu(value: Any) -> str | None:
    return None if value in MODES else f"{value!r} is none of {', '.join(MODES)}"


def _gpu_devices(value: Any) -> str | None:
    """Accept a list of UUIDs and PCI addresses; a number would name another card after the next start."""
    if not isinstance(value, list):
        return f"is not a list but {kind_of(value)}"
    wrong = [item for item in value if not (isinstance(item, str) and _GPU_NAME.match(item))]
    return f"holds {wrong[0]!r}, which is neither the UUID of a GPU nor its PCI address" if wrong else None


def _cache_type(value: Any) -> str | None:
    return None if value in CACHE_TYPES else f"{value!r} is none of {', '.join(CACHE_TYPES)}"


def _flash_attention(value: Any) -> str | None:
    return None if str(value).lower() in FLASH_ATTENTION else f"{value!r} is none of {', '.join(FLASH_ATTENTION)}"


def _watch_minutes(value: Any) -> str | None:
    """Accept a day at most; as text too, since ``-e ollama_gpu_watch_minutes=15`` gives text."""
    is_number = str(value).isascii() and str(value).isdigit()
    return None if is_number and 1 <= int(value) <= 1440 else f"{value!r} is not a number of minutes from 1 to 1440"


def cache_problems(declared: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong with a cache that needs what is switched off."""
    cache, flash = (declared.get(name, DEFAULTS[name]) for name in ("ollama_kv_cache_type", "ollama_flash_attention"))
    if cache not in CACHE_TYPES or cache == "f16" or str(flash).lower() != "false":
        return []
    instead = "Write ollama_flash_attention: auto, or ollama_kv_cache_type: f16"
    return [Problem("ollama_flash_attention", f"is false, and ollama_kv_cache_type: {cache} needs it", instead)]


SETTINGS = {
    "llm_bind_address": Field(
        _address,
        "llm_bind_address: 127.0.0.1 for this machine alone, or the box's own address in your network",
        required=True,
    ),
    "llm_port": Field(port, "llm_port: 4000", required=True),
    "llm_tls": Field(_tls, "llm_tls: internal, acme, files or off"),
    "llm_hosts": Field(_hosts, "llm_hosts: [llm.home.arpa, 192.168.1.10], without https:// and without a port"),
    "llm_tls_email": Field(_email, 'llm_tls_email: you@your-domain.org, or "" for no messages'),
    "llm_tls_certificate": Field(_file, "llm_tls_certificate: ~/tls/fullchain.pem, on this machine"),
    "llm_tls_key": Field(_file, "llm_tls_key: ~/tls/key.pem, on this machine"),
    "llm_tls_ca": Field(_file, 'llm_tls_ca: ~/tls/ca.pem, on this machine, or "" for one that every system trusts'),
    "llm_retry_in_flight": Field(boolean, "llm_retry_in_flight: false"),
    "llm_allow_overcommit": Field(boolean, "llm_allow_overcommit: false"),
    "llm_drain_seconds": Field(_drain_seconds, "llm_drain_seconds: 120"),
    "llm_master_key": Field(text, 'llm_master_key: "{{ vault_litellm_master_key }}"', required=True),
    "llm_redis_password": Field(text, 'llm_redis_password: "{{ vault_redis_password }}"', required=True),
    "llm_deploy_dir": Field(_directory, "llm_deploy_dir: /opt/llm-gateway", required=True),
    "llm_data_dir": Field(_directory, "llm_data_dir: /var/lib/llm-gateway", required=True),
    "llm_models_dir": Field(_directory, "llm_models_dir: /var/lib/llm-gateway/ollama", required=True),
    "llm_network": Field(text, "llm_network: llm-gateway", required=True),
    "llm_outside_from": Field(_box_names, "llm_outside_from: [other-box], or [] for the control machine alone"),
    "llm_verify_paid": Field(boolean, "llm_verify_paid: false", required=True),
    "llm_secure_logging": Field(boolean, "llm_secure_logging: true", required=True),
    "llm_budget_unavailable": Field(
        one_of("open", "closed"), "llm_budget_unavailable: open, or closed to answer nobody whose budget is unknown"
    ),
    "llm_sentry_dsn": Field(_sentry_dsn, 'llm_sentry_dsn: "https://KEY@HOST/NUMBER", or "" for no Sentry'),
    "llm_monitoring_networks": Field(networks, "llm_monitoring_networks: [10.0.0.0/24], or [] for nobody"),
    "llm_gpu": Field(_gpu, f"llm_gpu: {', '.join(MODES[:-1])} or {MODES[-1]}"),
    "llm_gpu_devices": Field(
        _gpu_devices,
        "llm_gpu_devices: [GPU-5f8b8f2a-…] as `nvidia-smi -L` prints it, or a PCI address such as 0000:03:00.0",
    ),
    # A role's own, but known only after other roles have changed the box.
    "litellm_replicas": Field(_replicas, "litellm_replicas: 2"),
    "ollama_environment": Field(environment_problem, 'ollama_environment: {OLLAMA_MAX_QUEUE: "64"}, or {} for none'),
    "ollama_flash_attention": Field(_flash_attention, "ollama_flash_attention: auto"),
    "ollama_gpu_watch_minutes": Field(_watch_minutes, "ollama_gpu_watch_minutes: 5"),
    "ollama_kv_cache_type": Field(_cache_type, "ollama_kv_cache_type: f16, or q8_0 for half the memory"),
}
# What holds where a user's files do not name the variable at all, as those written for an earlier version.
DEFAULTS: dict[str, Any] = {
    "llm_allow_overcommit": False,
    "llm_budget_unavailable": "open",
    "llm_clients": [],
    "llm_default_fallbacks": [],
    "llm_drain_seconds": 120,
    "llm_gpu": "auto",
    "llm_gpu_devices": [],
    "llm_hosts": [],
    "llm_llamacpp": [],
    "llm_monitoring_networks": [],
    "llm_outside_from": [],
    "llm_retry_in_flight": False,
    "llm_sentry_dsn": "",
    "llm_tls": "internal",
    "llm_tls_ca": "",
    "llm_tls_certificate": "",
    "llm_tls_email": "",
    "llm_tls_key": "",
    "litellm_replicas": 2,
    "ollama_environment": {},
    "ollama_flash_attention": "auto",
    "ollama_gpu_watch_minutes": 5,
    "ollama_kv_cache_type": "f16",
}
CATALOG_VARIABLES = (
    "llm_providers",
    "llm_llamacpp",
    "llm_models",
    "llm_default_fallbacks",
    "llm_clients",
    "llm_images",
)
# Read by playbooks/drill.yml alone.
DRILL_VARIABLES = ("llm_drill_confirm", "llm_drill_limits")
SERVICES = ("redis", "ollama", "llamacpp", "litellm", "ingress", "drill")
SECRETS = {"llm_master_key": "vault_litellm_master_key", "llm_redis_password": "vault_redis_password"}


@dataclass(frozen=True)
class Role:
    """What a role takes: its name, which is the prefix of its variables, and the variables it declares."""

    name: str
    variables: tuple[str, ...]


def or_default(name: str, value: Any) -> Any:
    """Return the default of a variable that is set nowhere; one that names a missing variable stays a mistake."""
    return DEFAULTS.get(name, value) if value == Undefined(name) else value


def setting_problems(declared: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong with the single settings; ``declared`` holds them by variable name."""
    if all(declared.get(name) == Undefined(name) for name in SETTINGS if name not in {"llm_bind_address", *DEFAULTS}):
        what = "nothing of it is known here, because the inventory stands outside the folder inventory/"
        return [Problem("llm_port", what, "Link it beside your inventory: ln -s PATH/TO/group_vars group_vars")]
    problems: list[Problem] = []
    for name, field in SETTINGS.items():
        value = declared.get(name, DEFAULTS.get(name))
        if isinstance(value, Undefined):
            problems.append(
                value.problem(name) if value.name != name else Problem(name, "is not set", f"Write {field.example}")
            )
        elif undefined_items(value, name):
            problems += undefined_items(value, name)
        elif value is None:
            problems.append(Problem(name, "is not set", f"Write {field.example}"))
        elif name in SECRETS and value == "":
            problems.append(
                Problem(
                    SECRETS[name],
                    "is empty",
                    f"Put a random value there: {EDIT_VAULT}",
                    file=VAULT_FILE,
                )
            )
        else:
            wrong = field.check(value)
            if wrong:
                problems.append(Problem(name, wrong, f"Write {field.example}"))
    return problems


def reach_problems(declared: Mapping[str, Any], box: str, box_address: str) -> list[Problem]:
    """Return what does not go together in the settings that say how clients reach the gateway.

    Args:
        declared: the single settings by variable name; with a mistake in one of them nothing is said of the rest.
        box: name of the box in the inventory.
        box_address: where Ansible reaches the box, or empty.
    """
    names = (
        "llm_bind_address",
        "llm_port",
        "llm_tls",
        "llm_hosts",
        "llm_tls_email",
        "llm_tls_certificate",
        "llm_tls_key",
        "llm_tls_ca",
    )
    settings = {name: declared.get(name, DEFAULTS.get(name)) for name in names}
    if any(isinstance(value, Undefined) or SETTINGS[name].check(value) for name, value in settings.items()):
        return []
    return address_problems(settings, box, box_address)


def outside_problems(declared: Mapping[str, Any], boxes: Collection[str]) -> list[Problem]:
    """Return machines from which to look that the inventory does not hold; ``boxes`` are those that it does."""
    names = declared.get("llm_outside_from", DEFAULTS["llm_outside_from"])
    if isinstance(names, Undefined) or SETTINGS["llm_outside_from"].check(names):
        return []
    # It always looks from there.
    known = {*boxes, "localhost"}
    return [
        Problem(f"llm_outside_from[{index}]", f"{name!r} is no host of the inventory", did_you_mean(name, boxes))
        for index, name in enumerate(names)
        if name not in known
    ]


def folder_problems(declared: Mapping[str, Any]) -> list[Problem]:
    """Return folders for data that lie in, around or on a service's own folder, which a run sweeps clean."""
    paths = {name: str(declared.get(name)) for name in ("llm_deploy_dir", "llm_data_dir", "llm_models_dir")}
    if any(_directory(path) for path in paths.values()):
        return []
    swept = [PurePosixPath(paths["llm_deploy_dir"]) / service for service in SERVICES]
    data = PurePosixPath(paths["llm_data_dir"])
    kept = {
        "llm_data_dir": (data / "redis", data / "ingress"),
        "llm_models_dir": (PurePosixPath(paths["llm_models_dir"]),),
    }
    problems = []
    for name, folders in kept.items():
        pairs = [(folder, own) for folder in folders for own in swept]
        clash = next((pair for pair in pairs if _overlap(*pair)), None)
        if clash is not None:
            what = f"{clash[0]} and {clash[1]}, whose other files are removed, would get in each other's way"
            problems.append(Problem(name, what, "Name a folder apart from llm_deploy_dir"))
    return problems


def _overlap(one: PurePosixPath, other: PurePosixPath) -> bool:
    return one == other or one in other.parents or other in one.parents


def secret_problems(
    secrets: Mapping[str, Any], api_keys: Mapping[str, str], client_keys: Mapping[str, str]
) -> list[Problem]:
    """Return weak, published and repeated secrets. No message ever holds a secret.

    Args:
        secrets: the gateway's own secrets by the variable that holds them.
        api_keys: the providers' keys by their path in the catalog.
        client_keys: the clients' keys by their path in the catalog.
    """
    problems: list[Problem] = []
    own = {name: value for name, value in secrets.items() if isinstance(value, str) and value}
    for name, value in own.items():
        vault = SECRETS.get(name, name)
        if value.lower() in PUBLISHED_SECRETS:
            problems.append(
                Problem(
                    vault,
                    "is a key from public documentation",
                    f"Put a random value there: {EDIT_VAULT}",
                    file=VAULT_FILE,
                )
            )
        elif _is_weak(value):
            problems.append(
                Problem(
                    vault,
                    _WEAK,
                    "Use a random one",
                    file=VAULT_FILE,
                ),
            )
        elif not _SAFE_SECRET.match(value):
            problems.append(
                Problem(vault, "holds more than letters, digits, - and _", "Use a random one of those", file=VAULT_FILE)
            )
    problems += _key_problems(api_keys, client_keys)
    gateway = {SECRETS.get(name, name): value for name, value in own.items()}
    return problems + _repeated({**gateway, **api_keys, **client_keys})


def _key_problems(api_keys: Mapping[str, str], client_keys: Mapping[str, str]) -> list[Problem]:
    problems = []
    for path, value in api_keys.items():
        if value.lower() in PUBLISHED_SECRETS:
            problems.append(Problem(path, "is a placeholder, not a key", "Put the provider's key into the vault"))
        elif _UNSENDABLE.search(value):
            problems.append(Problem(path, _UNSENDABLE_REASON, "Paste the key again"))
    for path, value in client_keys.items():
        if value.lower() in PUBLISHED_SECRETS:
            problems.append(Problem(path, "is a key from public documentation", _NEW_CLIENT_KEY))
        elif _is_weak(value):
            problems.append(Problem(path, _WEAK, _NEW_CLIENT_KEY))
        elif _UNSENDABLE.search(value):
            problems.append(Problem(path, _UNSENDABLE_REASON, _NEW_CLIENT_KEY))
    return problems


def _is_weak(secret: str) -> bool:
    return len(secret) < MIN_SECRET_LENGTH or len(set(secret)) < MIN_SECRET_LENGTH // 4


def _repeated(secrets: Mapping[str, str]) -> list[Problem]:
    first_with: dict[str, str] = {}
    problems = []
    for path, value in secrets.items():
        if value in first_with:
            file = VAULT_FILE if path in SECRETS.values() else ""
            problems.append(Problem(path, f"is the same secret as {first_with[value]}", "Give each its own", file=file))
        first_with.setdefault(value, path)
    return problems


def unknown_variables(
    names: Iterable[str], roles: Iterable[Role], set_by_playbooks: Mapping[str, str]
) -> list[Problem]:
    """Return variables that carry the prefix of the gateway or of a role, but that nothing reads.

    Args:
        names: every variable name the host has.
        roles: the roles with the variables they declare.
        set_by_playbooks: role variables that the playbooks set, whatever the user writes, with what they set them to.
    """
    own = (*SETTINGS, *CATALOG_VARIABLES, *DRILL_VARIABLES)
    known = {"llm": {name for name in own if name.startswith("llm_")}}
    known.update({role.name: set(role.variables) for role in roles})
    problems = []
    for name in sorted(names):
        prefix = max((prefix for prefix in known if name.startswith(f"{prefix}_")), key=len, default=None)
        if prefix is None:
            continue
        if name in set_by_playbooks:
            instead = f"Remove it; the playbooks set it from {set_by_playbooks[name]}"
            problems.append(Problem(name, "has no effect here", instead, file=ANYWHERE))
        elif name not in known[prefix]:
            owner = "the gateway" if prefix == "llm" else f"role {prefix}"
            meant = nearest(name, known[prefix])
            if meant in set_by_playbooks:
                instead = f"Did you mean {meant!r}? The playbooks set it from {set_by_playbooks[meant]}: set that"
            else:
                instead = did_you_mean(name, known[prefix] - set(set_by_playbooks))
            what = f"{owner} has no variable of this name"
            problems.append(Problem(name, what, instead, file=ANYWHERE))
    return problems
