"""From the declaration to the plan: what each role is to do, or every reason why not."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ..gpu.verdict import ROCM, RUNS_ON
from ..llamacpp.containers import image_for
from .address import address_plan, address_warnings, published_ports
from .budgets import budget_problems, budget_warnings
from .chains import fallbacks_of
from .clients import client_problems, read_clients
from .declaration import EMBEDDING, Catalog, Model, read_catalog
from .images import SERVICE_OF_IMAGE, read_images
from .instances import LIST, LLAMACPP, Instance, read_instances
from .litellm_config import REDIS_PORT, deployments, environment, litellm_config
from .ollama_models import (
    models_to_derive,
    models_to_import,
    models_to_keep_loaded,
    models_to_pull,
    models_to_serve,
)
from .policy import gateway_policy
from .prices import KnownPrices
from .problems import Problem
from .references import reference_problems, reference_warnings
from .settings import (
    SECRETS,
    Role,
    cache_problems,
    folder_problems,
    outside_problems,
    reach_problems,
    secret_problems,
    setting_problems,
    unknown_variables,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


# Files of the version before know nothing of it, and its clients ask http://.
_MOVED_TO_HTTPS = (
    "llm_tls is not set: the gateway is at https now, and clients must be told to trust its certificate. See "
    "docs/tls.md; write llm_tls: internal into group_vars/all/gateway.yml when they do"
)


class RefusedDeclaration(ValueError):
    """The declaration has mistakes; the message lists all of them."""

    def __init__(self, problems: list[Problem]) -> None:
        """Keep the problems and make the message from them."""
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(frozen=True)
class Declaration:
    """Everything a user declared that concerns one gateway.

    Attributes:
        settings: single settings by variable name.
        providers: ``llm_providers`` as written.
        llamacpp: ``llm_llamacpp`` as written.
        models: ``llm_models`` as written.
        default_fallbacks: ``llm_default_fallbacks`` as written.
        clients: ``llm_clients`` as written.
        images: ``llm_images`` as written.
        gateway_box: the box this plan is for.
        gateway_boxes: all boxes with a gateway; each asks its own Ollama.
        inventory_boxes: all hosts of the inventory.
        ollama_boxes: the boxes that run Ollama.
        ollama_address: where LiteLLM reaches the Ollama of its own box (``http://host:port``).
        redis_host: name under which LiteLLM reaches Redis.
        gateway_box_address: where Ansible reaches that box, or empty where only its name says so.
        unset: names of the single settings that no file of the user's sets.
        switched_off: names of the services that are not to run.
        variable_names: every variable the host has, to find misspelt ones.
        roles: the roles with the variables they declare.
        set_by_playbooks: role variables that the playbooks set themselves, with what they set them to.
        known_prices: the models of which LiteLLM knows a price.
    """

    settings: Mapping[str, Any]
    providers: Any
    models: Any
    default_fallbacks: Any
    clients: Any
    images: Any
    gateway_box: str
    gateway_boxes: tuple[str, ...]
    ollama_boxes: tuple[str, ...]
    ollama_address: str
    redis_host: str
    llamacpp: Any = field(default_factory=list)
    gateway_box_address: str = ""
    inventory_boxes: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()
    switched_off: tuple[str, ...] = ()
    variable_names: tuple[str, ...] = ()
    roles: tuple[Role, ...] = ()
    set_by_playbooks: Mapping[str, str] = field(default_factory=dict)
    known_prices: KnownPrices = field(default_factory=dict)

    @property
    def reachable_ollama(self) -> dict[str, str]:
        """Address of Ollama by box, for the boxes this gateway reaches: its own, unless only Ollama is off."""
        if "litellm" in self.switched_off:
            # Nobody will ask, so a box that is being cleared needs no Ollama.
            return {self.gateway_box: self.ollama_address}
        if "ollama" in self.switched_off:
            return {}
        return {box: self.ollama_address for box in self.ollama_boxes if box == self.gateway_box}


def check(declaration: Declaration) -> list[Problem]:
    """Return every mistake in a declaration; an empty list means that a plan can be made."""
    instances, instance_problems = read_instances(declaration.llamacpp)
    catalog, problems = read_catalog(
        declaration.providers, declaration.models, declaration.default_fallbacks, instances
    )
    clients, client_reading_problems = read_clients(declaration.clients)
    _, image_problems = read_images(declaration.images, _needed_images(declaration, instances))
    api_keys = {
        f"llm_providers.{provider.name}.api_key": provider.api_key
        for provider in catalog.providers.values()
        if provider.api_key
    }
    return [
        *setting_problems(declaration.settings),
        *cache_problems(declaration.settings),
        *reach_problems(declaration.settings, declaration.gateway_box, declaration.gateway_box_address),
        *outside_problems(declaration.settings, declaration.inventory_boxes),
        *folder_problems(declaration.settings),
        *secret_problems(
            {name: declaration.settings.get(name) for name in SECRETS},
            api_keys,
            {path: key for client in clients for path, key in client.keys.items()},
        ),
        *instance_problems,
        *problems,
        *reference_problems(catalog, declaration.reachable_ollama),
        *_asked_though_off(declaration, catalog),
        *client_reading_problems,
        *client_problems(clients, catalog),
        *budget_problems(catalog, clients, declaration.known_prices),
        *_stray_boxes(declaration),
        *image_problems,
        *unknown_variables(declaration.variable_names, declaration.roles, declaration.set_by_playbooks),
    ]


def make_plan(declaration: Declaration) -> dict[str, Any]:
    """Return the plan: each role's slice as plain data.

    Raises:
        RefusedDeclaration: the declaration has mistakes.
    """
    problems = check(declaration)
    if problems:
        raise RefusedDeclaration(problems)
    instances, _ = read_instances(declaration.llamacpp)
    catalog, _ = read_catalog(declaration.providers, declaration.models, declaration.default_fallbacks, instances)
    clients, _ = read_clients(declaration.clients)
    images, _ = read_images(declaration.images, _needed_images(declaration, instances))
    settings = declaration.settings
    return {
        "images": images,
        "images_to_hold": {
            mode: _images_to_hold(images, mode, [*declaration.switched_off, *([] if instances else [LLAMACPP])])
            for mode in RUNS_ON
        },
        "ports": [] if "ingress" in declaration.switched_off else published_ports(settings),
        "address": address_plan(settings, declaration.gateway_box, declaration.gateway_box_address),
        **_ollama_models(catalog, "ollama" not in declaration.switched_off),
        "llamacpp_instances": [instance.for_the_role() for instance in instances.values()],
        "llamacpp_files": [
            instance.wanted_file() for instance in instances.values() if LLAMACPP not in declaration.switched_off
        ],
        "litellm_config": litellm_config(
            catalog,
            declaration.reachable_ollama,
            declaration.redis_host,
            report_to_sentry=bool(settings["llm_sentry_dsn"]),
        ),
        "litellm_environment": environment(
            catalog, settings["llm_master_key"], settings["llm_redis_password"], settings["llm_sentry_dsn"]
        ),
        "gateway_policy": gateway_policy(
            catalog,
            clients,
            declaration.reachable_ollama,
            declaration.redis_host,
            REDIS_PORT,
            settings["llm_budget_unavailable"],
        ),
        "questions": [_question(model, catalog, declaration.reachable_ollama) for model in catalog.models],
        "switched_off": list(declaration.switched_off),
        "warnings": [
            *([_MOVED_TO_HTTPS] if "llm_tls" in declaration.unset else []),
            *address_warnings(settings),
            *reference_warnings(catalog),
            *budget_warnings(catalog, clients),
        ],
    }


def _images_to_hold(images: Mapping[str, str], mode: str, switched_off: Collection[str]) -> list[str]:
    """Return the images of what runs on a box where models run in a mode of the verdict about its GPUs."""
    held = {name: image for name, image in images.items() if name != "ollama_rocm"}
    if mode == ROCM:
        held["ollama"] = images["ollama_rocm"]
    # Its role refuses an image that does not fit the GPUs.
    with suppress(ValueError):
        held |= {LLAMACPP: image_for(held[LLAMACPP], mode)} if LLAMACPP in held else {}
    return [image for name, image in held.items() if SERVICE_OF_IMAGE.get(name, name) not in switched_off]


def _stray_boxes(declaration: Declaration) -> list[Problem]:
    """Report boxes whose Ollama no client could reach: Ollama is never published, so only its own box asks it."""
    return [
        Problem(
            f"group ollama: {box}",
            "no gateway runs on it, and another box's gateway cannot reach its Ollama",
            "Put it into group gateway too, or take it out of group ollama",
            file="the inventory",
        )
        for box in declaration.ollama_boxes
        if box not in declaration.gateway_boxes
    ]


def _needed_images(declaration: Declaration, instances: Mapping[str, Instance]) -> list[str]:
    return [LLAMACPP] if instances and LLAMACPP not in declaration.switched_off else []


def _asked_though_off(declaration: Declaration, catalog: Catalog) -> list[Problem]:
    """Report models that ask llama.cpp where it is switched off and LiteLLM is not."""
    provider = catalog.providers.get(LLAMACPP)
    is_off = LLAMACPP in declaration.switched_off and "litellm" not in declaration.switched_off
    if not is_off or provider is None or not provider.instances:
        return []
    return [
        Problem(
            f"llm_models[{model.name}].backends[{index}].provider",
            f"llama.cpp is switched off, and with it every instance of {LIST}",
            "Leave llamacpp_enabled true, or take this backend out",
        )
        for model in catalog.models
        for index, backend in enumerate(model.backends)
        if backend.provider == LLAMACPP
    ]


def _ollama_models(catalog: Catalog, enabled: bool) -> dict[str, list[Any]]:
    """Return what Ollama pulls, derives from that, keeps in memory, and all that it serves; nothing where it is off."""
    return {
        "ollama_models": models_to_pull(catalog) if enabled else [],
        "ollama_gguf_models": models_to_import(catalog) if enabled else [],
        "ollama_derived_models": models_to_derive(catalog) if enabled else [],
        "ollama_resident_models": models_to_keep_loaded(catalog) if enabled else [],
        "ollama_served_models": models_to_serve(catalog) if enabled else [],
    }


def _question(model: Model, catalog: Catalog, ollama_boxes: Mapping[str, str]) -> dict[str, Any]:
    """Return what the check of the running gateway must know about a model."""
    found = deployments(model, catalog.providers, ollama_boxes)
    return {
        "name": model.name,
        "mode": EMBEDDING if model.mode == EMBEDDING else "chat",
        # With several backends any of them may be picked, so one paid backend makes the question cost money.
        "paid": any(deployment.paid for deployment in found),
        "timeout": model.timeout,
        "first_token_timeout": model.first_token_timeout,
        "context": model.context,
        "tools": model.tools,
        "resident": model.resident,
        "fallbacks": list(fallbacks_of(model, catalog)),
        "backends": [
            {key: value for key, value in asdict(deployment).items() if key in ("id", "description")}
            for deployment in found
        ],
    }
