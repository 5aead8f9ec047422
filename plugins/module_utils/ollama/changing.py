"""What a task about models does on a server: pull, import, derive, load and remove."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from . import api, derived, disk, names
from .outcome import OTHER_HINT, Outcome, TaskFailure, Work, change_failure
from .seeing import held_models, kept_digests

if TYPE_CHECKING:
    from .wanted import Wanted


def pull_missing(client: api.Client, wanted: dict[str, names.Name], work: Work, outcome: Outcome) -> None:
    """Pull what is not held, or in an older version; raises TaskFailure at the first model that fails."""
    for key, name in wanted.items():
        if key in outcome.after and key not in outcome.newest:
            continue
        started = time.monotonic()
        try:
            client.pull(name.short, work.silence_s, work.begin("pulling", name))
            outcome.after = held_models(client)
        except api.ApiError as error:
            raise change_failure("pull", name, error, outcome) from error
        if key not in outcome.after:
            raise TaskFailure(
                f"Ollama reported that it pulled {name.short}, but does not list it. {OTHER_HINT}", **outcome.results()
            )
        model = outcome.after[key]
        if key in outcome.newest and model.digest == outcome.before[key].digest:
            raise TaskFailure(
                f"Ollama pulled {name.short} again and still holds {model.digest[:12]}, not {outcome.newest[key][:12]} "
                "as the registry. Check that both ask the same registry.",
                **outcome.results(),
            )
        outcome.pulled.append(
            {
                "name": name.short,
                "bytes": model.size,
                "seconds": round(time.monotonic() - started, 1),
                "digest": model.digest,
            }
        )


def import_files(client: api.Client, wanted: Wanted, work: Work, outcome: Outcome) -> None:
    """Upload the files and make their models; raises TaskFailure at the first that fails."""
    for key in outcome.to_import:
        entry = wanted.imported[key]
        source: dict[str, Any] = {"files": {entry.file_name: f"sha256:{entry.digest}"}, "license": entry.mark}
        if entry.quantize:
            source["quantize"] = entry.quantize
        try:
            if entry.digest in outcome.uploads and not client.has_blob(entry.digest):
                client.upload(entry.digest, entry.path, work.silence_s, work.begin("uploading", entry.name))
            told = work.begin("making", entry.name)
            client.create(entry.name.short, source, dict(entry.parameters), entry.texts, work.silence_s, told)
            outcome.after = held_models(client)
            made = outcome.after.get(key)
            as_wanted = made is not None and entry.is_as_wanted(client.show(made.name))
        except OSError as error:
            raise TaskFailure(f"{entry.path} cannot be read: {error.strerror}.", **outcome.results()) from error
        except api.ApiError as error:
            raise change_failure("make", entry.name, error, outcome) from error
        if not as_wanted:
            raise TaskFailure(
                f"Ollama reported that it made {entry.name.short} from {entry.path}, but it is not what was asked for. "
                f"Check that Ollama knows {', '.join([*entry.parameters, *entry.texts]) or 'the file'}.",
                **outcome.results(),
            )
        outcome.imported.append(entry.name.short)


def make_derived(client: api.Client, wanted: Wanted, work: Work, outcome: Outcome) -> None:
    """Make the derived models that are not there or not as wanted; raises TaskFailure at the first that fails."""
    for key in outcome.to_make:
        entry = wanted.derived[key]
        work.begin("making", entry.name)
        try:
            source = {"from": entry.base.short}
            client.create(entry.name.short, source, dict(entry.parameters), entry.texts, work.silence_s)
            outcome.after = held_models(client)
            made = outcome.after.get(key)
            as_wanted = made is not None and derived.is_as_wanted(
                entry, client.show(made.name), client.show(entry.base.short)
            )
        except api.ApiError as error:
            raise change_failure("make", entry.name, error, outcome) from error
        if not as_wanted:
            raise TaskFailure(
                f"Ollama reported that it made {entry.name.short} from {entry.base.short}, but it is not what was "
                f"asked for. Check that Ollama knows {', '.join([*entry.parameters, *entry.texts])}.",
                **outcome.results(),
            )
        outcome.made.append(entry.name.short)


def load_resident(client: api.Client, wanted: Wanted, work: Work, outcome: Outcome) -> None:
    """Load what is to stay in memory; raises TaskFailure at the first that fails, or when not all of them stay."""
    for key in outcome.to_load:
        name = wanted.resident[key]
        work.begin("loading", name)
        try:
            client.keep_loaded(name.short, work.silence_s)
        except api.ApiError as error:
            raise change_failure("load", name, error, outcome) from error
        outcome.loaded.append(name.short)
    if not outcome.to_load:
        return
    try:
        kept = kept_digests(client)
    except api.ApiError as error:
        raise change_failure("load", wanted.resident[outcome.to_load[-1]], error, outcome) from error
    left = [name.short for key, name in wanted.resident.items() if outcome.after[key].digest not in kept]
    if left:
        raise TaskFailure(
            f"Ollama does not keep all {len(wanted.resident)} resident models in memory: {', '.join(left)} had to go. "
            "Raise ollama_max_loaded_models or the memory of Ollama, or declare fewer models with resident: true.",
            **outcome.results(),
        )


def to_remove(state: str, wanted: Wanted, outcome: Outcome) -> dict[str, str]:
    """The names by key of what is held and shall go."""
    held = outcome.before
    if state == "absent":
        return {key: name.short for key, name in wanted.pulled.items() if key in held}
    # A name of a form that cannot be declared is not for this module to judge.
    return {
        key: model.name
        for key, model in held.items()
        if key not in wanted.pulled and key not in wanted.derived and key not in wanted.imported and key != model.name
    }


def count_freed(client: api.Client, removed: dict[str, str], outcome: Outcome) -> None:
    """Note how much disk the removal frees; raises TaskFailure when the server does not tell."""
    held = outcome.before
    kept = [model for key, model in held.items() if key not in removed]

    def weights(model: api.Model) -> tuple[str, ...]:
        return client.show(model.name).weights

    try:
        outcome.freed_bytes = disk.freed_bytes([held[key] for key in removed], kept, weights)
    except api.ApiError as error:
        first = names.parse(next(iter(removed.values())))
        raise change_failure("show", first, error, outcome) from error


def remove_held(client: api.Client, removed: dict[str, str], outcome: Outcome) -> None:
    """Remove what is held, from memory first; raises TaskFailure at the first model that fails."""
    for key, name in removed.items():
        held = outcome.before[key].name
        try:
            if any(loaded.name == held for loaded in client.loaded()):
                client.unload(held)
            client.delete(held)
            outcome.removed.append(name)
            outcome.after = held_models(client)
        except api.ApiError as error:
            raise change_failure("remove", names.parse(name), error, outcome) from error
