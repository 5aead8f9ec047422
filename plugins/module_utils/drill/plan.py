"""What a drill runs: a replica of its own, made from the gateway's plan, that asks stand-ins for the providers.

It shares Redis and Ollama with the gateway and nothing else: deployments, clients and the prefix of its keys are its
own, so that no breaker, limit, budget or cached answer of the gateway is touched.
"""

from __future__ import annotations

import copy
import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAMESPACE = "drill"
OLLAMA = "ollama"
BACKEND_HOST = "drill-backend"
CONTROL_PORT = 8080
FIRST_PROVIDER_PORT = 8101

# The drill's own models; their time-outs are known, and so are their prices.
CLOUD = "drill-cloud"
STANDBY = "drill-standby"
PAIR = "drill-pair"
BUDGETED = "drill-budgeted"
LOCAL = "drill-local"
# The drill's own providers. The catalog knows no names with a hyphen, so they meet no declared one.
FIRST_PROVIDER = "drill-first"
SECOND_PROVIDER = "drill-second"
BUDGET_PROVIDER = "drill-budget"
OWN_PROVIDERS = (FIRST_PROVIDER, SECOND_PROVIDER, BUDGET_PROVIDER)

TIMEOUT_SECONDS = 10.0
FIRST_TOKEN_TIMEOUT_SECONDS = 2.0
# An answer of the stand-in has 5 tokens for 10, so that three of them use up a budget.
TOKEN_PRICE_USD = 0.001
ANSWER_PRICE_USD = 0.015
BUDGET_USD = 0.04
REQUESTS_A_MINUTE = 3

ADMIN = "admin"
CLIENT = "drill"
LIMITED_CLIENT = "drill-limited"
SPENDING_CLIENT = "drill-spending"
KEY_OWNERS = (ADMIN, CLIENT, LIMITED_CLIENT, SPENDING_CLIENT)

# Beyond this a hang of a declared chain would hold the drill up.
LONGEST_HANG_SECONDS = 60.0

_ANTHROPIC = "anthropic"
# The stand-in does not speak Gemini's dialect.
_ASKED_IN_OPENAI_DIALECT = ("gemini",)
_MASTER_KEY = "LITELLM_MASTER_KEY"
_REDIS_PASSWORD = "REDIS_PASSWORD"  # noqa: S105 - the name of the variable, not its value


def drill_plan(
    config: Mapping[str, Any],
    policy: Mapping[str, Any],
    environment: Mapping[str, str],
    keys: Mapping[str, str],
    cooldown_seconds: float,
    switched_off: Sequence[str] = (),
) -> dict[str, Any]:
    """Return what the drill runs, from the gateway's own plan. The arguments stay as they are.

    Args:
        config: LiteLLM's configuration in the plan.
        policy: the gateway's policy in the plan.
        environment: variables of LiteLLM with their secrets; of these only Redis's password is used.
        keys: a random key for each of ``KEY_OWNERS``.
        cooldown_seconds: how long an open breaker of the drill stays open.
        switched_off: names of services that do not run.

    Returns:
        ``config``, ``policy`` and ``environment`` of the drill's replica, ``providers`` (TCP port of the stand-in by
        provider) and ``cases`` (what is drilled, in order).

    Raises:
        ValueError: a declared model has one of the drill's names, or breakers would forget failures before they open.
    """
    _refuse_short_cooldown(cooldown_seconds)
    _refuse_own_names(config)
    deployments = policy["deployments"]
    providers = dict.fromkeys([*OWN_PROVIDERS, *sorted(set(deployments.values()) - {OLLAMA})])
    ports = {name: FIRST_PROVIDER_PORT + position for position, name in enumerate(providers)}
    declared = [_stood_in(entry, deployments, ports) for entry in config["model_list"]]
    own = _own_entries(declared, ports)
    return {
        "config": _config(config, declared + own, cooldown_seconds),
        "policy": _policy(policy, declared, own, keys),
        "environment": _environment(environment, keys),
        "providers": ports,
        "cases": _cases(config, declared, own, switched_off),
    }


def _refuse_short_cooldown(seconds: float) -> None:
    # LiteLLM counts failures for as long as a breaker stays open: three hangs must fit in.
    shortest = 4 * FIRST_TOKEN_TIMEOUT_SECONDS
    if seconds < shortest:
        raise ValueError(
            f"drill_cooldown_seconds is {seconds:g}: write {shortest:g} or more, or three hangs of "
            f"{FIRST_TOKEN_TIMEOUT_SECONDS:g} s are forgotten before they open a breaker"
        )


def _refuse_own_names(config: Mapping[str, Any]) -> None:
    taken = {entry["model_name"] for entry in config["model_list"]} & {CLOUD, STANDBY, PAIR, BUDGETED, LOCAL}
    if taken:
        raise ValueError(f"llm_models: the drill needs the names {', '.join(sorted(taken))}. Rename these models")


def _stood_in(entry: Mapping[str, Any], deployments: Mapping[str, str], ports: Mapping[str, int]) -> dict[str, Any]:
    """Return a deployment under a name of the drill; one of a remote provider leads to the stand-in."""
    changed = copy.deepcopy(dict(entry))
    identifier = changed["model_info"]["id"]
    changed["model_info"]["id"] = f"{NAMESPACE}/{identifier}"
    changed["model_info"]["drill_provider"] = provider = deployments[identifier]
    params = changed["litellm_params"]
    # A backend's own limits would stop the drill, not what it looks for.
    params.pop("rpm", None)
    params.pop("tpm", None)
    if provider != OLLAMA:
        prefix, _, name = params["model"].partition("/")
        if prefix in _ASKED_IN_OPENAI_DIALECT:
            params["model"] = f"openai/{name}"
        params["api_base"] = _address(ports[provider], prefix)
        params["api_key"] = NAMESPACE
    return changed


def _address(port: int, dialect: str = "openai") -> str:
    # LiteLLM adds /v1 itself to an address of Anthropic's.
    return f"http://{BACKEND_HOST}:{port}" + ("" if dialect == _ANTHROPIC else "/v1")


def _own_entries(declared: Sequence[Mapping[str, Any]], ports: Mapping[str, int]) -> list[dict[str, Any]]:
    entries = [
        _own_entry(CLOUD, FIRST_PROVIDER, ports),
        _own_entry(STANDBY, SECOND_PROVIDER, ports),
        _own_entry(PAIR, FIRST_PROVIDER, ports),
        _own_entry(PAIR, SECOND_PROVIDER, ports),
        _own_entry(BUDGETED, BUDGET_PROVIDER, ports),
    ]
    local = next((entry for entry in declared if _provider(entry) == OLLAMA and not _is_embedding(entry)), None)
    if local is not None:
        entry = copy.deepcopy(dict(local))
        entry["model_name"] = LOCAL
        entry["model_info"]["id"] = f"{NAMESPACE}/{LOCAL}/{OLLAMA}"
        entries.append(entry)
    return entries


def _own_entry(model: str, provider: str, ports: Mapping[str, int]) -> dict[str, Any]:
    return {
        "model_name": model,
        "litellm_params": {
            "model": "openai/drill",
            "api_base": _address(ports[provider]),
            "api_key": NAMESPACE,
            "timeout": TIMEOUT_SECONDS,
            "stream_timeout": FIRST_TOKEN_TIMEOUT_SECONDS,
            "input_cost_per_token": TOKEN_PRICE_USD,
            "output_cost_per_token": TOKEN_PRICE_USD,
        },
        "model_info": {"id": deployment_id(model, provider), "drill_provider": provider},
    }


def deployment_id(model: str, provider: str) -> str:
    """Return LiteLLM's id of one of the drill's own deployments."""
    return f"{NAMESPACE}/{model}/{provider}"


def _provider(entry: Mapping[str, Any]) -> str:
    return str(entry["model_info"]["drill_provider"])


def _is_embedding(entry: Mapping[str, Any]) -> bool:
    return bool(entry["model_info"].get("mode") == "embedding")


def _config(config: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], cooldown_seconds: float) -> dict[str, Any]:
    changed = copy.deepcopy(dict(config))
    changed["model_list"] = [_without_notes(entry) for entry in entries]
    router = changed["router_settings"]
    router["cooldown_time"] = cooldown_seconds
    router.pop("optional_pre_call_checks", None)
    names = {entry["model_name"] for entry in entries}
    chains = [{name: [STANDBY]} for name in (CLOUD, PAIR, BUDGETED, LOCAL) if name in names]
    router["fallbacks"] = [*router.get("fallbacks", []), *chains]
    settings = changed["litellm_settings"]
    # The failures are made, so nobody is to be told of them.
    settings.pop("failure_callback", None)
    cache = settings["cache_params"]
    cache["namespace"] = NAMESPACE
    # An answer from the cache would hide a fault.
    cache["supported_call_types"] = []
    cache.pop("ttl", None)
    return changed


def _without_notes(entry: Mapping[str, Any]) -> dict[str, Any]:
    info = {key: value for key, value in entry["model_info"].items() if key != "drill_provider"}
    return {**copy.deepcopy(dict(entry)), "model_info": info}


def _policy(
    policy: Mapping[str, Any],
    declared: Sequence[Mapping[str, Any]],
    own: Sequence[Mapping[str, Any]],
    keys: Mapping[str, str],
) -> dict[str, Any]:
    own_names = list(dict.fromkeys(entry["model_name"] for entry in own))
    models = {name: {**model, "cache_ttl": None} for name, model in policy["models"].items()}
    for name in own_names:
        models[name] = {"mode": "chat", "cache_ttl": None, "fallbacks": [] if name == STANDBY else [STANDBY]}
    return {
        **copy.deepcopy(dict(policy)),
        "namespace": NAMESPACE,
        "models": models,
        "providers": {BUDGET_PROVIDER: {"monthly_budget_usd": BUDGET_USD, "fallback_at_percent": 100}},
        "deployments": {entry["model_info"]["id"]: _provider(entry) for entry in [*declared, *own]},
        "clients": {
            CLIENT: _client(keys[CLIENT], list(models)),
            LIMITED_CLIENT: _client(keys[LIMITED_CLIENT], [CLOUD], rpm=REQUESTS_A_MINUTE),
            SPENDING_CLIENT: _client(keys[SPENDING_CLIENT], [CLOUD], monthly_budget_usd=BUDGET_USD),
        },
    }


def _client(key: str, models: list[str], **limits: float) -> dict[str, Any]:
    return {
        "key_hashes": [hashlib.sha256(key.encode()).hexdigest()],
        "models": models,
        "default_model": None,
        "fallback_model": None,
        "fallback_on": None,
        "rpm": None,
        "tpm": None,
        "max_parallel_requests": None,
        "monthly_budget_usd": None,
        **limits,
    }


def _environment(environment: Mapping[str, str], keys: Mapping[str, str]) -> dict[str, str]:
    # The gateway's start script asks for every one of these names; no provider's key goes along.
    dummies = dict.fromkeys(environment, NAMESPACE)
    return {**dummies, _MASTER_KEY: keys[ADMIN], _REDIS_PASSWORD: environment[_REDIS_PASSWORD]}


def _cases(
    config: Mapping[str, Any],
    declared: Sequence[Mapping[str, Any]],
    own: Sequence[Mapping[str, Any]],
    switched_off: Sequence[str],
) -> list[dict[str, Any]]:
    has_local = any(entry["model_name"] == LOCAL for entry in own)
    chains = _chains(config, declared)
    cases = [
        {"name": "refused", "title": "a provider refuses connections"},
        {"name": "error_500", "title": "a provider answers 500"},
        {"name": "error_429", "title": "a provider answers 429"},
        {"name": "hang", "title": "a provider hangs"},
        {"name": "cut", "title": "a provider cuts a stream"},
        *[case for chain in chains for case in _chain_cases(chain)],
    ]
    if has_local and OLLAMA not in switched_off:
        local = next(entry for entry in own if entry["model_name"] == LOCAL)
        cases.append(
            {
                "name": "ollama_stopped",
                "title": "Ollama stops",
                "wait_seconds": _timeout(local),
                "chain": _led_by_ollama(config, declared),
            }
        )
    if "redis" not in switched_off:
        cases += [
            {"name": "redis_stopped", "title": "Redis stops"},
            {"name": "redis_hung", "title": "Redis hangs"},
            {"name": "provider_budget", "title": "the budget of a provider runs out"},
            {"name": "client_budget", "title": "the budget of a client runs out"},
            {"name": "client_limit", "title": "a client goes over its limit"},
            {"name": "load", "title": "steady load, one backend dead, Redis restarted"},
        ]
    cases.append({"name": "streams", "title": "10 clients read streams"})
    return cases


def _fallbacks(config: Mapping[str, Any]) -> dict[str, list[str]]:
    return {
        name: list(targets)
        for entry in config["router_settings"].get("fallbacks", [])
        for name, targets in entry.items()
    }


def _by_model(declared: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for entry in declared:
        if not _is_embedding(entry):
            found.setdefault(entry["model_name"], []).append(entry)
    return found


def _chains(config: Mapping[str, Any], declared: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the declared chat models that fall back from remote providers, with what a hang of those costs."""
    models = _by_model(declared)
    fallbacks = _fallbacks(config)
    chains = []
    for name in fallbacks:
        entries = models.get(name, [])
        failing = sorted({_provider(entry) for entry in entries} - {OLLAMA})
        if not failing:
            continue
        hang = _first_token_timeout(entries)
        answering = []
        for target in _asked_in_turn(name, fallbacks):
            others = models.get(target, [])
            if {_provider(entry) for entry in others} - set(failing):
                answering.append(target)
            elif not answering:
                hang += _first_token_timeout(others)
        wait = max((_timeout(entry) for entry in models.get(next(iter(answering), ""), [])), default=0.0)
        chains.append(
            {"model": name, "providers": failing, "answering": answering, "hang_seconds": hang, "wait_seconds": wait}
        )
    return chains


def _asked_in_turn(model: str, fallbacks: Mapping[str, Sequence[str]]) -> list[str]:
    """Return who is asked when a model fails; the fallbacks of a fallback come before the next one."""
    order: list[str] = []
    waiting = list(fallbacks.get(model, ()))
    while waiting:
        target = waiting.pop(0)
        if target != model and target not in order:
            order.append(target)
            waiting = [*fallbacks.get(target, ()), *waiting]
    return order


def _timeout(entry: Mapping[str, Any]) -> float:
    return float(entry["litellm_params"]["timeout"])


def _first_token_timeout(entries: Sequence[Mapping[str, Any]]) -> float:
    return max((float(entry["litellm_params"]["stream_timeout"]) for entry in entries), default=0.0)


def _chain_cases(chain: Mapping[str, Any]) -> list[dict[str, Any]]:
    failing = ", ".join(chain["providers"])
    verb = "refuses" if len(chain["providers"]) == 1 else "refuse"
    cases = [{"name": "chain_refused", "title": f"model {chain['model']}: {failing} {verb}", **chain}]
    if chain["hang_seconds"] <= LONGEST_HANG_SECONDS:
        verb = "hangs" if len(chain["providers"]) == 1 else "hang"
        cases.append({"name": "chain_hang", "title": f"model {chain['model']}: {failing} {verb}", **chain})
    return cases


def _led_by_ollama(config: Mapping[str, Any], declared: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the declared models that only Ollama answers and for which somebody else takes over."""
    models = _by_model(declared)
    return [
        name
        for name, targets in _fallbacks(config).items()
        if {_provider(entry) for entry in models.get(name, [])} == {OLLAMA}
        and any({_provider(entry) for entry in models.get(target, [])} - {OLLAMA} for target in targets)
    ]
