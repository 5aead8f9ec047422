"""What a server holds, and what of that is not as wanted. Nothing here changes it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ..box.models import size_models
from ..box.problems import model_problems, size_warnings
from ..box.system import read_path
from . import api, derived, names, registry
from .outcome import Outcome, TaskFailure, change_failure
from .wanted import HOLDING

if TYPE_CHECKING:
    from .wanted import Wanted

_REGISTRY_SECONDS = 15.0


def held_models(client: api.Client) -> dict[str, api.Model]:
    """The models that the server holds, by key; raises api.ApiError."""
    held: dict[str, api.Model] = {}
    for model in client.tags():
        try:
            key = names.parse(model.name).key
        except names.InvalidName:
            # Servers newer than these rules may list names of another form; nobody can declare them, so they stay.
            key = model.name
        held[key] = model
    return held


def kept_digests(client: api.Client) -> set[str]:
    """The digests of the models that stay in memory; raises api.ApiError."""
    return {loaded.digest for loaded in client.loaded() if loaded.forever}


def look(client: api.Client, wanted: Wanted, state: str, wait_s: float, check_mode: bool) -> Outcome:
    """Ask the server what it holds; raises TaskFailure when it does not answer."""
    try:
        version = client.wait(0 if check_mode else wait_s)
        held = held_models(client)
        outcome = Outcome(version, held, held, [name.short for key, name in wanted.pulled.items() if key not in held])
        if state in HOLDING:
            see_imported(client, wanted, outcome)
            see_derived(client, wanted, outcome)
            see_resident(client, wanted, outcome)
    except api.Unreachable as error:
        if not check_mode:
            raise TaskFailure(
                f"No Ollama server answers at {error.url} after {wait_s:g} seconds: {error.reason}. "
                "Check that its container runs (docker ps) and that url is its address on this host."
            ) from error
        return Outcome(
            version="",
            before={},
            after={},
            missing=[name.short for name in wanted.pulled.values()],
            to_import=list(wanted.imported),
            uploads=[entry.digest for entry in wanted.imported.values()],
            to_make=list(wanted.derived),
            to_load=list(wanted.resident),
        )
    except api.OllamaError as error:
        raise TaskFailure(
            f"What answers at {client.url} is not a working Ollama server: HTTP status {error.status}, {error.text}. "
            "Check that url is the address of the Ollama container."
        ) from error
    return outcome


def see_imported(client: api.Client, wanted: Wanted, outcome: Outcome) -> None:
    """Note which models of files are not there or not as wanted, and which files; raises api.ApiError."""
    for key, entry in wanted.imported.items():
        if key in outcome.after:
            shown = client.show(outcome.after[key].name)
            if entry.is_as_wanted(shown):
                continue
            outcome.notes_before.append(f"{entry.name.short}: something else")
        outcome.to_import.append(key)
        if not client.has_blob(entry.digest):
            outcome.uploads.append(entry.digest)


def see_derived(client: api.Client, wanted: Wanted, outcome: Outcome) -> None:
    """Note which derived models are not there or not as wanted; raises api.ApiError."""
    bases: dict[str, api.Shown] = {}
    outcome.to_make, outcome.notes_of_derived = [], []
    for key, entry in wanted.derived.items():
        base_key = entry.base.key
        # With its base a derived model is made anew.
        if key not in outcome.after or base_key in outcome.newest or base_key in outcome.to_import:
            outcome.to_make.append(key)
            continue
        if base_key not in outcome.after:
            # Whether it still fits can be told when the base is there again.
            continue
        if base_key not in bases:
            bases[base_key] = client.show(outcome.after[base_key].name)
        shown = client.show(outcome.after[key].name)
        if not derived.is_as_wanted(entry, shown, bases[base_key]):
            outcome.to_make.append(key)
            outcome.notes_of_derived.append(derived.as_found(entry, shown, bases[base_key]))


def see_resident(client: api.Client, wanted: Wanted, outcome: Outcome) -> None:
    """Note which models are not kept in memory in the form in which they are held; raises api.ApiError."""
    kept = kept_digests(client) if wanted.resident else set()
    held = outcome.after
    changing = {*outcome.to_make, *outcome.to_import, *outcome.newest}
    outcome.to_load = [
        key for key in wanted.resident if key not in held or key in changing or held[key].digest not in kept
    ]


def see_what_follows(client: api.Client, wanted: Wanted, outcome: Outcome) -> None:
    """Note again what is to be derived and loaded, now that more is known of the bases; raises TaskFailure."""
    try:
        see_derived(client, wanted, outcome)
        see_resident(client, wanted, outcome)
    except api.ApiError as error:
        first = names.parse(next(iter(outcome.after.values())).name)
        raise change_failure("show", first, error, outcome) from error


def see_outdated(wanted: Wanted, registry_url: str, outcome: Outcome) -> None:
    """Note of which held models the registry has another version; raises TaskFailure with all that it does not tell."""
    problems = []
    for key, name in wanted.pulled.items():
        if key not in outcome.before:
            continue
        try:
            newest = registry.newest_digest(name.short, registry_url, _REGISTRY_SECONDS)
        except registry.RegistryError as error:
            problems.append(str(error))
            continue
        if newest != outcome.before[key].digest:
            outcome.newest[key] = newest
    if problems:
        raise TaskFailure(" ".join(["Whether there are newer models is not known.", *problems]), **outcome.results())


def see_room(params: dict[str, Any], wanted: Wanted, outcome: Outcome) -> None:
    """Note what is to be downloaded; raises TaskFailure when it does not fit or the registry does not know it."""
    outdated = [wanted.pulled[key].short for key in outcome.newest]
    to_pull = [*outcome.missing, *outdated]
    if not params["models_dir"] or not to_pull:
        return
    ask = partial(registry.model_layers, registry_url=params["registry"], timeout_s=_REGISTRY_SECONDS)
    sizes = size_models(to_pull, ask, read_path(params["models_dir"]), _REGISTRY_SECONDS, outdated)
    problems = model_problems(sizes)
    if problems:
        raise TaskFailure(" ".join(["Nothing was pulled.", *problems]), **outcome.results())
    outcome.download_bytes = sizes["missing_bytes"]
    outcome.warnings = size_warnings(sizes)
