"""Eight clients ask all the time while models, keys and versions change; every answer is whole and the right one.

The tests build on each other, in this order.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime

import on_boxes
import pytest
import yaml
from as_clients import ask_as, key_of, question
from load import OK, STREAM, Figures, Result, table
from on_boxes import REPLICAS
from testinfra.host import Host
from under_load import Gateway, Load, containers, image_of, losses, start_seconds

AT_LEAST = 2000
ADDED = {"name": "added", "backends": [{"provider": "ollama", "model": "qwen2.5:0.5b"}]}
LITELLM = "/opt/llm-gateway/litellm"
# No catalog leads to a configuration that LiteLLM refuses, so the test hands over the role's files themselves.
OWN_FILES = ("questions.json", "config/config.yaml", "config/start.sh")
REFUSED_HOOK = "gateway.hooks.absent"


@pytest.fixture(scope="module")
def load(clients: Load) -> Load:
    """Let the clients ask from the first test on."""
    clients.start("nothing changes")
    clients.wait_for_phase()
    return clients


@pytest.fixture(autouse=True)
def _nothing_is_lost(load: Load) -> Iterator[None]:
    """Name the test in which an answer was lost."""
    before = len(load.results())
    yield
    since = load.results()[before:]
    assert not Figures.of(since).lost, losses(since)


def images(host: Host) -> set[str]:
    """Return the digests of the images that the replicas run."""
    found = host.check_output(f"docker inspect -f '{{{{.Config.Image}}}}' {' '.join(REPLICAS)}").split()
    return {name.partition("@")[2] for name in found}


def status_with(host: Host, key: str) -> int:
    """Return the status of a question about the models with a key."""
    return on_boxes.ask(host, "/v1/models", headers=(f"Authorization: Bearer {key}",))[0]


def keys_used(host: Host) -> dict[str, int]:
    """Return how often each of the provider's keys was used; 1 is the first one, 2 the next one."""
    counters = json.loads(host.check_output("curl -sSf http://providers.test:8080/_double/counters"))
    return {"1": 0, "2": 0, **counters["keys"]}


def test_while_nothing_changes_every_answer_is_right(load: Load) -> None:
    load.wait_for(100, seconds=60)


def test_a_model_that_is_added_answers(host: Host, load: Load, gateway: Gateway) -> None:
    assert ask_as(host, "short-2", question("added")).status >= 400
    load.change("a model is added")
    done = gateway.change("models", switch_added_models=[ADDED])
    assert done.rc == 0, done.output
    answer = ask_as(host, "short-2", question("added"))
    assert (answer.status, answer.model) == (200, "added"), answer.text
    load.change("the added model is asked", short_3={"model": "added", "answered_by": ["qwen2.5:0.5b"]})
    load.wait_for_phase()


def test_another_backend_takes_over_a_model(load: Load, gateway: Gateway) -> None:
    load.change_model("a model gets another backend", "switching", "model-a", "model-b")
    done = gateway.change("models", switch_backend="model-b")
    load.change_model("the other backend answers", "switching", "model-b")
    assert done.rc == 0, done.output
    load.wait_for_phase()

    answers = [result for result in load.results() if result.model == "switching" and result.outcome == OK]
    ends_of_old = [ended(result) for result in answers if result.kind == STREAM and result.answered_by == "model-a"]
    starts_of_new = [result.started for result in answers if result.answered_by == "model-b"]
    assert max(ends_of_old) > min(starts_of_new), "no stream went on while the new replicas answered"


def ended(result: Result) -> float:
    """Return when an answer was complete, in seconds since 1970."""
    return result.started + result.seconds


def test_keys_are_rotated(host: Host, load: Load, gateway: Gateway) -> None:
    planted = on_boxes.secrets()
    load.change("keys are rotated")
    done = gateway.change(
        "site",
        llm_master_key="{{ vault_litellm_master_next_key }}",
        switch_provider_key="{{ vault_openai_api_next_key }}",
        switch_client_keys=["{{ vault_client_short_1_key }}", "{{ vault_client_short_1_next_key }}"],
    )
    assert done.rc == 0, done.output
    assert status_with(host, planted["vault_litellm_master_key"]) == 401
    assert status_with(host, planted["vault_litellm_master_next_key"]) == 200
    before = keys_used(host)
    load.change("a client has two keys", short_1={"key": key_of("short-1-next")})
    load.wait_for_phase()
    after = keys_used(host)
    assert after["1"] == before["1"]
    assert after["2"] > before["2"]


def test_the_first_key_of_a_client_goes_once_it_uses_the_second(host: Host, load: Load, gateway: Gateway) -> None:
    load.change("the client's first key goes")
    done = gateway.change("site", switch_client_keys=["{{ vault_client_short_1_next_key }}"])
    assert done.rc == 0, done.output
    assert status_with(host, key_of("short-1")) == 401
    assert status_with(host, key_of("short-1-next")) == 200


def test_another_version_of_litellm(host: Host, load: Load, gateway: Gateway) -> None:
    others = [line for line in containers(host) if "litellm" not in line]
    load.change("another version of LiteLLM")
    done = gateway.change("site", variant="next")
    assert done.rc == 0, done.output
    assert images(host) == {image_of("next", "litellm")}
    assert [line for line in containers(host) if "litellm" not in line] == others


def test_a_version_that_does_not_start_changes_nothing(host: Host, load: Load, gateway: Gateway) -> None:
    before = containers(host)
    load.change("a version that does not start")
    failed = gateway.change("site", variant="broken")
    assert failed.rc != 0
    assert "cannot import name 'run_server'" in failed.output
    assert containers(host) == before


def refused_files(host: Host) -> dict[str, dict[str, str]]:
    """Return the files of the role litellm as on the box, the configuration with a hook that does not exist."""
    files = {path: host.check_output(f"cat {LITELLM}/{path}") + "\n" for path in OWN_FILES}
    config = yaml.safe_load(files["config/config.yaml"])
    config["litellm_settings"]["callbacks"] = [REFUSED_HOOK]
    files["config/config.yaml"] = yaml.safe_dump(config)
    return {path: {"content": content} for path, content in files.items()}


def test_a_configuration_that_litellm_refuses_changes_nothing(host: Host, load: Load, gateway: Gateway) -> None:
    before = containers(host)
    load.change("a configuration that LiteLLM refuses")
    failed = gateway.change("models", __litellm_own_files=refused_files(host))
    assert failed.rc != 0
    assert "has no attribute 'absent'" in failed.output
    assert containers(host) == before
    assert REFUSED_HOOK not in host.check_output(f"cat {LITELLM}/config/config.yaml")


def test_after_them_there_is_nothing_to_mend(host: Host, load: Load, gateway: Gateway) -> None:
    before = containers(host)
    load.change("nothing to mend")
    done = gateway.change("site")
    assert (done.rc, done.recap("changed")) == (0, 0), done.output
    assert containers(host) == before


def test_the_state_before_the_last_change_comes_back(host: Host, load: Load, gateway: Gateway) -> None:
    load.change("back to the version before")
    done = on_boxes.play("rollback", **gateway.variables)
    assert done.rc == 0, done.output
    gateway.variant = None
    assert images(host) == {image_of(None, "litellm")}
    load.change("the version before answers")
    load.wait_for_phase()


def test_of_all_answers_none_failed_was_cut_or_was_wrong(load: Load, figures: list[str]) -> None:
    load.wait_for(AT_LEAST, seconds=240)
    results = load.stop()
    figures.append(table(results) + "\n")
    assert len(results) >= AT_LEAST
    assert not Figures.of(results).lost, losses(results)


def test_both_replicas_start_at_the_same_time(host: Host, gateway: Gateway, figures: list[str]) -> None:
    """One after the other, a switch would wait for a whole start more; `scripts/bench` judges how long it takes."""
    begin = time.monotonic()
    done = gateway.change("models", switch_backend="model-a")
    seconds = time.monotonic() - begin
    assert done.rc == 0, done.output
    starts = [start_seconds(host, replica) for replica in REPLICAS]
    figures.append(
        f"Model switched to another backend, whole run, without load: {seconds:.1f} s;"
        f" LiteLLM's own start-up in it, two replicas at once: {max(starts):.1f} s;"
        f" {seconds / max(starts):.2f} times.\n"
    )
    started_at = on_boxes.started_at(host)
    began = [datetime.fromisoformat(started_at[replica]) for replica in REPLICAS]
    assert (max(began) - min(began)).total_seconds() < min(starts) / 2
