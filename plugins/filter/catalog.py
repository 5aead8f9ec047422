"""Filters over the catalog: what is wrong with it, and the plan it comes to."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleFilterError
from ansible.template import accept_args_markers, accept_lazy_markers
from jinja2 import Undefined as JinjaUndefined

from ..module_utils.catalog import changes, plan, prices, settings
from ..module_utils.catalog.fields import Undefined

# The roles beside this plugin, in a checkout as in an installed collection.
ROLES_DIR = Path(__file__).resolve().parents[2] / "roles"
PLAYBOOKS_DIR = ROLES_DIR.parent / "playbooks"
PRICES_FILE = ROLES_DIR.parent / "plugins/module_utils/catalog/prices.json"

_GATEWAY_VARIABLE = re.compile(r"\b(?:llm|preflight|docker|redis|ollama|llamacpp|litellm|ingress)_[a-z_]+")
# What a user edits for each part of the plan.
_PLAN_SOURCES = {
    "address": "llm_tls and llm_hosts",
    "gateway_policy": "llm_clients",
    "images": "llm_images",
    "images_to_hold": "llm_images",
    "litellm_config": "llm_models",
    "litellm_environment": "llm_providers",
    "llamacpp_files": "llm_llamacpp",
    "llamacpp_instances": "llm_llamacpp",
    "ollama_derived_models": "llm_models",
    "ollama_gguf_models": "llm_models",
    "ollama_models": "llm_models",
    "ollama_resident_models": "llm_models",
    "ollama_served_models": "llm_models",
    "ports": "llm_port",
    "questions": "llm_models",
}
_PLAN_PART = re.compile(r"__llm_plan\.([a-z_]+)")
_NAME_IN_MESSAGE = re.compile(r"'([A-Za-z_][A-Za-z0-9_]*)' is undefined")


def plain(value: Any) -> Any:
    """Return a value as plain data; a template that names a missing variable becomes ``Undefined`` with that name."""
    if isinstance(value, JinjaUndefined):
        message = getattr(value, "_undefined_message", None) or str(value)
        match = _NAME_IN_MESSAGE.search(str(message))
        return Undefined(match[1] if match else str(message))
    if isinstance(value, Mapping):
        return {plain(key): plain(value[key]) for key in value}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def declaration(declared: Any) -> plan.Declaration:
    """Build the typed declaration from the mapping that ``playbooks/tasks/plan.yml`` puts together."""
    given = plain(declared)
    return plan.Declaration(
        settings={name: settings.or_default(name, value) for name, value in given["settings"].items()},
        providers=given["providers"],
        llamacpp=settings.or_default("llm_llamacpp", given.get("llamacpp", [])),
        models=given["models"],
        default_fallbacks=settings.or_default("llm_default_fallbacks", given["default_fallbacks"]),
        clients=settings.or_default("llm_clients", given["clients"]),
        images=given["images"],
        gateway_box=given["gateway_box"],
        gateway_box_address=given.get("gateway_box_address", ""),
        gateway_boxes=tuple(given["gateway_boxes"]),
        inventory_boxes=tuple(given.get("inventory_boxes", given["gateway_boxes"])),
        unset=tuple(name for name, value in given["settings"].items() if value == Undefined(name)),
        ollama_boxes=tuple(given["ollama_boxes"]),
        ollama_address=given["ollama_address"],
        redis_host=given["redis_host"],
        switched_off=tuple(name for name, enabled in given["enabled"].items() if not enabled),
        variable_names=tuple(given["variable_names"]),
        roles=roles_of(ROLES_DIR),
        set_by_playbooks=handed_over(*(PLAYBOOKS_DIR / f"{name}.yml" for name in ("site", "verify", "drill"))),
        known_prices=known_prices(PRICES_FILE),
    )


def known_prices(path: Path) -> prices.KnownPrices:
    """Read the names of the models of which LiteLLM knows a price; ``scripts/prices.py`` writes that file."""
    models: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))["models"]
    return {kind: frozenset(names) for kind, names in models.items()}


def roles_of(folder: Path) -> tuple[settings.Role, ...]:
    """Return the roles of a folder with the variables they declare in ``meta/argument_specs.yml``.

    Raises:
        AnsibleFilterError: there is no role in that folder.
    """
    roles = []
    for path in sorted(folder.glob("*/meta/argument_specs.yml")):
        entry_points = yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].values()
        names = tuple(name for entry in entry_points for name in entry.get("options", {}))
        roles.append(settings.Role(path.parts[-3], names))
    if not roles:
        raise AnsibleFilterError(f"no role with meta/argument_specs.yml in {folder}")
    return tuple(roles)


def handed_over(*playbooks: Path) -> dict[str, str]:
    """Return the role variables that playbooks hand over, with the variables they take them from.

    A user's own value for one of them would be ignored without a word.
    """
    found: dict[str, str] = {}
    for path in playbooks:
        for play in yaml.safe_load(path.read_text(encoding="utf-8")):
            for part in [*play.get("roles", []), *play.get("tasks", [])]:
                for name, value in part.get("vars", {}).items():
                    parts = [_PLAN_SOURCES[part] for part in _PLAN_PART.findall(str(value)) if part in _PLAN_SOURCES]
                    rest = _PLAN_PART.sub("", str(value)).replace("__llm_gpu", "llm_gpu")
                    sources = dict.fromkeys([*parts, *_GATEWAY_VARIABLE.findall(rest)])
                    found[name] = " and ".join(sources) or "nothing else"
    return found


@accept_lazy_markers
@accept_args_markers
def catalog_problems(declared: Any) -> list[str]:
    """Return every mistake in the declaration, one line each."""
    return [str(problem) for problem in plan.check(declaration(declared))]


@accept_lazy_markers
@accept_args_markers
def catalog_plan(declared: Any) -> dict[str, Any]:
    """Return the plan of a declaration without mistakes.

    Raises:
        AnsibleFilterError: the declaration has mistakes.
    """
    try:
        return plan.make_plan(declaration(declared))
    except plan.RefusedDeclaration as refused:
        raise AnsibleFilterError(str(refused)) from refused


def catalog_changes(questions: Any, deployed: str, models: Any, ask_paid: bool) -> dict[str, Any]:
    """Return what the planned questions change against those of the box, in lines and names."""
    return changes.catalog_changes(plain(questions), deployed, plain(models) or None, ask_paid=ask_paid)


class FilterModule:
    """The filters of this file, for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"catalog_problems": catalog_problems, "catalog_plan": catalog_plan, "catalog_changes": catalog_changes}
