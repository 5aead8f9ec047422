"""What a gateway has spent this month, which breakers are open and how its containers are.

Spend lies in Redis as one hash for each account and UTC month; its values, one for each process of LiteLLM, add up.
An open breaker is a key of LiteLLM's own (LiteLLM, litellm/router_utils/cooldown_cache.py).
What could not be learned is None, never zero.
"""

from __future__ import annotations

import ast
import json
import math
import re
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROVIDER = "provider"
CLIENT = "client"

UNKNOWN = "unknown"
NO_BUDGET = "no budget"
WITHIN_BUDGET = "within budget"
USED_UP = "used up"

# Runs on the box and costs nothing, so it has neither budget nor spend.
FREE_PROVIDER = "ollama"

# The Compose files are the gateway's own, so the shape of this line is known (module_utils/compose/definition.py).
_CONTAINER_NAME = re.compile(r"^\s+container_name: [\"']?([A-Za-z0-9_.-]+)[\"']?\s*$", re.MULTILINE)
_ERROR_LINE = "error:"


class NotUnderstood(ValueError):
    """An answer, or a file of the gateway, is not what it should be. The message says which and how."""


@dataclass(frozen=True)
class Account:
    """A provider or a client of the gateway.

    Attributes:
        kind: provider or client.
        name: its name in the catalog.
        monthly_budget_usd: what it may cost in a calendar month (UTC); None without a budget.
        limit_usd: spend at which the gateway stops asking this provider, or stops serving this client.
        fallback_at_percent: the limit as a share of a provider's budget.
    """

    kind: str
    name: str
    monthly_budget_usd: float | None = None
    limit_usd: float | None = None
    fallback_at_percent: float | None = None


@dataclass(frozen=True)
class Watched:
    """What the running gateway's policy names.

    Attributes:
        namespace: prefix of the gateway's own keys in Redis.
        accounts: providers that may cost money, then clients.
        deployments: LiteLLM's ids of everything that can answer.
    """

    namespace: str
    accounts: tuple[Account, ...]
    deployments: tuple[str, ...]


@dataclass(frozen=True)
class Breaker:
    """A backend that LiteLLM leaves out for now.

    Attributes:
        deployment: LiteLLM's id of the backend.
        since: when it was left out, RFC 3339 in UTC; None when the entry cannot be read.
        until: when it is asked again.
        seconds_left: from now until then.
        status_code: HTTP status of the failure that opened the breaker.
    """

    deployment: str
    since: str | None = None
    until: str | None = None
    seconds_left: float | None = None
    status_code: str | None = None


@dataclass(frozen=True)
class Container:
    """A container of the gateway.

    Attributes:
        name: its name on the box.
        state: Docker's word, such as running or exited; missing when there is none.
        health: healthy, unhealthy, starting, or none without a health check; None for a missing container.
        since: when it was started, RFC 3339; None for one that never ran.
        restarts: how often Docker has started it again since it was made.
    """

    name: str
    state: str
    health: str | None = None
    since: str | None = None
    restarts: int | None = None


def month_of(now: datetime) -> str:
    """Return the UTC month that spend counts for, such as ``2026-11``."""
    return now.astimezone(timezone.utc).strftime("%Y-%m")


def opens_again(now: datetime) -> str:
    """Return the moment at which all budgets start anew, RFC 3339."""
    utc = now.astimezone(timezone.utc)
    year, month = (utc.year + 1, 1) if utc.month == 12 else (utc.year, utc.month + 1)
    return _time(datetime(year, month, 1, tzinfo=timezone.utc))


def _time(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_policy(text: str) -> Watched:
    """Return what to look for, from the policy file that the running replicas read.

    Raises:
        NotUnderstood: it is no policy.
    """
    try:
        policy = json.loads(text)
        budgets = policy["providers"]
        names = dict.fromkeys([*budgets, *sorted(set(policy["deployments"].values()) - {FREE_PROVIDER})])
        providers = [_provider(name, budgets.get(name)) for name in names]
        clients = [_client(name, given) for name, given in policy["clients"].items()]
        return Watched(policy["namespace"], (*providers, *clients), tuple(policy["deployments"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotUnderstood(f"it is not a policy of this gateway ({type(error).__name__}: {error})") from error


def _provider(name: str, budget: Mapping[str, Any] | None) -> Account:
    if budget is None:
        return Account(PROVIDER, name)
    monthly, percent = float(budget["monthly_budget_usd"]), float(budget["fallback_at_percent"])
    return Account(PROVIDER, name, monthly, monthly * percent / 100, percent)


def _client(name: str, given: Mapping[str, Any]) -> Account:
    monthly = given.get("monthly_budget_usd")
    return Account(CLIENT, name) if monthly is None else Account(CLIENT, name, float(monthly), float(monthly))


def redis_questions(watched: Watched, now: datetime) -> list[str]:
    """Return the commands for redis-cli, one a line; each has exactly one line of answer in its JSON form."""
    spend = [_spend_key(watched, account, now) for account in watched.accounts]
    return [f"HVALS {_quoted(key)}" for key in spend] + [
        f"GET {_quoted(key)}" for deployment in watched.deployments for key in _breaker_keys(watched, deployment)
    ]


def _spend_key(watched: Watched, account: Account, now: datetime) -> str:
    return f"{watched.namespace}:spend:{account.kind}:{account.name}:{month_of(now)}"


def _breaker_keys(watched: Watched, deployment: str) -> tuple[str, str]:
    # LiteLLM's router prefixes its keys only where its own cache settings name a namespace.
    key = f"deployment:{deployment}:cooldown"
    return key, f"{watched.namespace}:{key}"


def _quoted(text: str) -> str:
    """Return text as redis-cli reads it from a line; other than plain characters in hex."""
    plain = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\' else f"\\x{byte:02x}" for byte in text.encode()
    )
    return f'"{plain}"'


def redis_answers(output: str, questions: Sequence[str]) -> list[Any]:
    """Return the answers that ``redis-cli --json`` printed.

    Raises:
        NotUnderstood: Redis refused a question, or the answers are not one a question.
    """
    lines = output.splitlines()
    refused = next((line for line in lines if line.startswith(_ERROR_LINE)), None)
    if refused is not None:
        reason = refused[len(_ERROR_LINE) :].strip(' "')
        raise NotUnderstood(f"Redis refuses: {reason}")
    if len(lines) != len(questions):
        raise NotUnderstood(f"Redis gave {len(lines)} answers to {len(questions)} questions")
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise NotUnderstood(f"Redis gave an answer that is no JSON ({error})") from error


def spend_report(watched: Watched, answers: Sequence[Any] | None) -> dict[str, list[dict[str, Any]]]:
    """Return what each provider and client has spent and has left; without answers all of it is unknown.

    Raises:
        NotUnderstood: Redis holds something else than numbers for an account.
    """
    found: dict[str, list[dict[str, Any]]] = {PROVIDER: [], CLIENT: []}
    for position, account in enumerate(watched.accounts):
        spent = None if answers is None else _sum(account, answers[position])
        found[account.kind].append(_account_report(account, spent))
    return {"providers": found[PROVIDER], "clients": found[CLIENT]}


def _sum(account: Account, values: Any) -> float:
    try:
        total = math.fsum(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise NotUnderstood(f"Redis holds no numbers as spend of {account.kind} {account.name}") from error
    if not math.isfinite(total):
        raise NotUnderstood(f"Redis holds no finite numbers as spend of {account.kind} {account.name}")
    return total


def _account_report(account: Account, spent: float | None) -> dict[str, Any]:
    budget, limit = account.monthly_budget_usd, account.limit_usd
    if budget is None or limit is None:
        state = NO_BUDGET
    elif spent is None:
        state = UNKNOWN
    else:
        state = USED_UP if spent >= limit else WITHIN_BUDGET
    return {
        "name": account.name,
        "spent_usd": spent,
        "monthly_budget_usd": budget,
        "left_usd": None if spent is None or budget is None else max(budget - spent, 0.0),
        "limit_usd": limit,
        "fallback_at_percent": account.fallback_at_percent,
        "state": state,
    }


def breaker_report(watched: Watched, answers: Sequence[Any], now: datetime) -> list[dict[str, Any]]:
    """Return the breakers that are open now, from the answers that follow those about spend."""
    entries = answers[len(watched.accounts) :]
    found = []
    for position, deployment in enumerate(watched.deployments):
        entry = next((entry for entry in entries[2 * position : 2 * position + 2] if entry is not None), None)
        breaker = None if entry is None else _breaker(deployment, entry, now)
        if breaker is not None:
            found.append(asdict(breaker))
    return found


def _breaker(deployment: str, entry: Any, now: datetime) -> Breaker | None:
    """Return an open breaker, or None for one whose time is over.

    LiteLLM stores Python's text of a dictionary, or JSON, and reads either. The message of the failure is left out:
    a provider may have put a part of a key into it.
    """
    try:
        stored = _parsed(entry)
        since, seconds = float(stored["timestamp"]), float(stored["cooldown_time"])
        opened, ends = (datetime.fromtimestamp(moment, tz=timezone.utc) for moment in (since, since + seconds))
        left = (ends - now).total_seconds()
        status = re.sub(r"[^A-Za-z0-9_-]", "", str(stored.get("status_code", "")))[:20]
    except (ValueError, SyntaxError, KeyError, TypeError, OverflowError, OSError, AttributeError):
        return Breaker(deployment)
    if left <= 0:
        return None
    return Breaker(deployment, _time(opened), _time(ends), round(left, 1), status or None)


def _parsed(entry: str) -> Any:
    try:
        return json.loads(entry)
    except ValueError:
        return ast.literal_eval(entry)


def container_names(compose_file: str) -> list[str]:
    """Return the containers that a Compose file of the gateway makes."""
    return _CONTAINER_NAME.findall(compose_file)


def container_report(inspected: Sequence[Mapping[str, Any]], expected: Sequence[str]) -> list[dict[str, Any]]:
    """Return how the expected containers are.

    Args:
        inspected: what ``docker inspect`` printed about those that are there.
        expected: names of all that should be there.
    """
    there = {item["Name"].lstrip("/"): _container(item) for item in inspected}
    return [asdict(there.get(name) or Container(name, "missing")) for name in dict.fromkeys(expected)]


def _container(item: Mapping[str, Any]) -> Container:
    state = item["State"]
    # Docker writes the year 1 for a container that never ran.
    started = "" if state.get("StartedAt", "").startswith("0001-") else state.get("StartedAt", "")
    return Container(
        name=item["Name"].lstrip("/"),
        state=state["Status"],
        health=(state.get("Health") or {}).get("Status", "none"),
        since=re.sub(r"\.\d+Z$", "Z", started) or None,
        restarts=item.get("RestartCount"),
    )
