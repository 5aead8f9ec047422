"""The real llama.cpp server behind the gateway: it answers, nobody else reaches it, and what nothing declares goes.

The tests change what is declared, in this order; the last one leaves nothing of it.
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import on_boxes

from tests.doubles import tiny_gguf

if TYPE_CHECKING:
    from testinfra.host import Host

CODER, SPARE = "llm-gateway-llamacpp-coder", "llm-gateway-llamacpp-spare"
FILE = "/srv/models/coder.gguf"
ONE: dict[str, Any] = {"name": "coder", "path": FILE, "context": 1024, "parallel": 2}
TWO: dict[str, Any] = {"name": "spare", "path": FILE, "context": 512}
CODE: dict[str, Any] = {"name": "code", "backends": [{"provider": "llamacpp", "model": "coder"}]}
OTHER: dict[str, Any] = {"name": "other", "backends": [{"provider": "server", "model": "gpt-5.4"}]}
REMOVAL = "remove | Stop and remove the containers of llamacpp"


def containers(host: Host) -> list[str]:
    """Return every container, with what tells a new or restarted one."""
    form = "{{.Name}} {{.Id}} {{.State.StartedAt}}"
    return sorted(str(host.check_output(f"docker inspect -f '{form}' $(docker ps -aq)")).splitlines())


def inspect(host: Host, container: str) -> dict[str, Any]:
    (found,) = json.loads(host.check_output(f"docker inspect {container}"))
    return dict(found)


def address(host: Host, container: str) -> str:
    return str(inspect(host, container)["NetworkSettings"]["Networks"]["llm-gateway"]["IPAddress"])


def serves(host: Host, container: str) -> tuple[int, int]:
    """Return how many answers a server gives at the same time, and how many tokens each may have."""
    told = json.loads(host.check_output(f"curl -sSf http://{address(host, container)}:8080/props"))
    return told["total_slots"], told["default_generation_settings"]["n_ctx"]


def asked_from(host: Host, network: str, server: str) -> int:
    """Return curl's status for a question from a container in a network; 0 means that there was an answer."""
    image = shlex.quote(inspect(host, CODER)["Config"]["Image"])
    curl = f"curl -sS -m 5 -o /dev/null http://{server}:8080/health"
    return int(host.run(f"docker run --rm --network {network} --entrypoint '' {image} {curl}").rc)


def assert_answers(host: Host, model: str, backend: str) -> None:
    status, headers, answer = on_boxes.ask(host, "/v1/chat/completions", on_boxes.chat(model))
    assert status == 200, answer
    assert headers["x-litellm-model-id"] == backend
    if "llamacpp" in backend:
        assert set(answer["choices"][0]["message"]["content"].split()) <= set(tiny_gguf.WORDS.split())


def test_the_real_server_answers_through_the_gateway(host: Host) -> None:
    assert_answers(host, "code", "code/llamacpp/coder")
    assert_answers(host, "spare", "spare/llamacpp/spare")


def test_it_streams_through_the_gateway(host: Host) -> None:
    status, _, text = on_boxes.ask(host, "/v1/chat/completions", on_boxes.chat("code", stream=True))
    assert status == 200, text
    assert text.count("data: ") > 2
    assert text.rstrip().endswith("data: [DONE]")


def test_each_serves_what_it_is_declared_to(host: Host) -> None:
    assert serves(host, CODER) == (2, 1024)
    assert serves(host, SPARE) == (1, 512)


def test_the_containers_are_healthy_and_hardened(host: Host) -> None:
    on_boxes.wait_until_healthy(host, CODER, SPARE)
    for name in (CODER, SPARE):
        container = inspect(host, name)
        settings = container["HostConfig"]
        assert container["RestartCount"] == 0
        assert settings["ReadonlyRootfs"]
        assert settings["CapDrop"] == ["ALL"]
        assert not settings["CapAdd"]
        assert not settings["Devices"]
        assert settings["SecurityOpt"] == ["no-new-privileges:true"]
        assert settings["Memory"] == 16 * 1024**3
        assert settings["PidsLimit"] == 512
        assert settings["LogConfig"]["Config"]["max-size"] == "10m"
        assert container["Config"]["User"] == "74087:74087"
        assert ("@sha256:" in container["Config"]["Image"]) != on_boxes.upstream()


def test_the_file_can_only_be_read(host: Host) -> None:
    (mount,) = inspect(host, CODER)["Mounts"]
    assert (mount["Source"], mount["Destination"], mount["RW"]) == (FILE, "/models/coder.gguf", False)
    assert host.run(f"docker exec -u 0 {CODER} sh -c 'echo >> /models/coder.gguf'").rc != 0


def test_only_the_gateways_network_reaches_it(host: Host) -> None:
    for name in (CODER, SPARE):
        container = inspect(host, name)
        assert not container["HostConfig"]["PortBindings"]
        assert list(container["NetworkSettings"]["Networks"]) == ["llm-gateway"]
    assert host.run("curl -sS -m 5 http://127.0.0.1:8080/health").rc != 0
    assert asked_from(host, "llm-gateway", "llamacpp-coder") == 0
    assert asked_from(host, "bridge", address(host, CODER)) != 0


def test_nothing_changes_and_nothing_restarts(host: Host) -> None:
    before = containers(host)
    run = on_boxes.play("site", "--diff")
    assert (run.rc, run.recap("changed")) == (0, 0), run.output
    assert containers(host) == before


def test_a_file_that_is_not_there_or_closed_stops_the_run_before_anything_changes(host: Host) -> None:
    before = containers(host)
    host.check_output(f"install -m 0600 {FILE} /srv/models/closed.gguf")
    wrong = [{**ONE, "path": "/srv/models/none.gguf"}, {**TWO, "path": "/srv/models/closed.gguf"}]
    for playbook in ("site", "models"):
        run = on_boxes.play(playbook, llm_llamacpp=wrong)
        said = " ".join(run.output.split())
        assert run.rc != 0
        assert "The box has no file /srv/models/none.gguf. Copy it there, or correct llm_llamacpp[coder].path" in said
        assert "/srv/models/closed.gguf (llm_llamacpp[spare].path) cannot be read by 74087" in said
    assert containers(host) == before


def test_a_file_that_is_no_model_leaves_the_old_one_answering(host: Host) -> None:
    host.check_output("echo nothing > /srv/models/nothing.gguf")
    wrong = [{**ONE, "path": "/srv/models/nothing.gguf"}, TWO]
    run = on_boxes.play("site", llm_llamacpp=wrong, llamacpp_load_timeout=20)
    assert run.rc != 0
    said = " ".join(run.output.split())
    assert "llamacpp is not in place" in said
    assert "The files and containers from before this run are back." in said
    assert_answers(host, "code", "code/llamacpp/coder")
    assert_answers(host, "spare", "spare/llamacpp/spare")


def test_the_short_way_changes_an_instance_and_going_back_undoes_it(host: Host) -> None:
    before = containers(host)
    run = on_boxes.play("models", llm_llamacpp=[{**ONE, "context": 512}, TWO])
    assert run.rc == 0, run.output
    assert serves(host, CODER) == (2, 512)
    others = [line for line in before if CODER not in line]
    assert [line for line in containers(host) if CODER not in line] == others
    run = on_boxes.play("rollback")
    assert run.rc == 0, run.output
    assert serves(host, CODER) == (2, 1024)
    assert_answers(host, "code", "code/llamacpp/coder")


def test_while_one_is_away_the_fallback_answers(host: Host) -> None:
    host.check_output(f"docker stop -t 5 {SPARE}")
    try:
        assert_answers(host, "spare", "other/server/gpt-5.4")
    finally:
        host.check_output(f"docker start {SPARE}")
    on_boxes.wait_until_healthy(host, SPARE)


def test_one_that_is_declared_no_more_goes_and_the_other_runs_on(host: Host) -> None:
    before = containers(host)
    run = on_boxes.play("site", llm_llamacpp=[ONE], llm_models=[CODE, OTHER])
    assert run.rc == 0, run.output
    after = containers(host)
    assert not [line for line in after if SPARE in line]
    assert [line for line in after if CODER in line] == [line for line in before if CODER in line]
    assert_answers(host, "code", "code/llamacpp/coder")


def test_an_emptied_list_is_shown_in_check_mode_and_removes_nothing_there(host: Host) -> None:
    before = containers(host)
    run = on_boxes.play("site", "--check", "--diff", llm_llamacpp=[], llm_models=[OTHER])
    assert run.rc == 0, run.output
    assert "changed:" in run.output.split(REMOVAL, 1)[1].split("TASK [", 1)[0]
    assert containers(host) == before


def test_an_emptied_list_removes_all_but_the_file_once_the_gateway_was_verified(host: Host) -> None:
    run = on_boxes.play("site", llm_llamacpp=[], llm_models=[OTHER])
    assert run.rc == 0, run.output
    assert run.output.index("Keep this state as the one to go back to") < run.output.index(REMOVAL)
    assert "llamacpp" not in host.check_output("docker ps -a --format '{{.Names}}'")
    assert not host.file("/opt/llm-gateway/llamacpp").exists
    assert host.file(FILE).exists
    assert_answers(host, "other", "other/server/gpt-5.4")


def test_after_that_nothing_of_it_is_even_looked_at() -> None:
    run = on_boxes.play("site", llm_llamacpp=[], llm_models=[OTHER])
    assert (run.rc, run.recap("changed")) == (0, 0), run.output
    assert REMOVAL not in run.output
