"""Derived models, files, newer versions, what stays in memory, removal of others: the module against the stand-in."""

from __future__ import annotations

import dataclasses
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.testing import patch_module_args

from plugins.module_utils.ollama import api, derived, disk, gguf, names, registry
from plugins.modules import ollama_model
from tests.doubles import ollama
from tests.unit.ollama_by_ansible import by_ansible

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BASE = "qwen3.5:2b"
LONG = {"name": "qwen3.5:2b-ctx16384", "from": BASE, "parameters": {"num_ctx": 16384}}


class Box:
    """A running stand-in and the module that is sent to it."""

    def __init__(self, server: ollama.OllamaServer, capsys: pytest.CaptureFixture[str]) -> None:
        self.machine = server.machine
        self.client = api.Client(f"http://127.0.0.1:{server.server_port}")
        self._capsys = capsys

    def run(self, *held: str, check: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {"names": list(held), "url": self.client.url, "wait": 0, "_ansible_check_mode": check, **options}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            ollama_model.main()
        results: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return results

    def asked(self, path: str) -> int:
        count: int = self.machine.report()["requests"].get(path, 0)
        return count

    def in_memory(self) -> dict[str, bool]:
        return {loaded.name: loaded.forever for loaded in self.client.loaded()}


@pytest.fixture
def box(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Box]:
    settings = ollama.Settings(home=tmp_path, models=tmp_path / "models", pull=0.0, chunk=0.0, max_loaded_models=2)
    server = ollama.OllamaServer(("127.0.0.1", 0), settings)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    capsys.readouterr()
    yield Box(server, capsys)
    server.stop()
    thread.join()
    server.server_close()


def test_a_derived_model_is_made_once_from_the_pulled_base(box: Box) -> None:
    results = box.run(BASE, derived=[LONG])
    assert (results["changed"], results["derived"]) == (True, ["qwen3.5:2b-ctx16384"])
    assert [entry["name"] for entry in results["pulled"]] == [BASE]
    assert results["diff"]["after"].splitlines() == [
        BASE,
        "qwen3.5:2b-ctx16384",
        "qwen3.5:2b-ctx16384: qwen3.5:2b with num_ctx 16384",
    ]
    shown = box.client.show("qwen3.5:2b-ctx16384")
    assert shown.parameters["num_ctx"] == ["16384"]
    assert shown.weights == box.client.show(BASE).weights
    again = box.run(BASE, derived=[LONG])
    assert (again["changed"], again["derived"]) == (False, [])
    assert again["diff"]["before"] == again["diff"]["after"]
    assert box.asked("POST /api/create") == 1


def test_a_derived_model_has_texts_of_its_own(box: Box) -> None:
    polite = {"name": "polite", "from": BASE, "system": "Be polite.", "template": "{{ .System }}: {{ .Prompt }}"}
    made = box.run(BASE, derived=[polite])
    assert made["derived"] == ["polite:latest"]
    assert f'{BASE} with system "Be polite.", template "{{{{ .System }}}}: {{{{ .Prompt }}}}"' in made["diff"]["after"]
    shown, base = box.client.show("polite:latest"), box.client.show(BASE)
    assert (shown.system, shown.template) == (polite["system"], polite["template"])
    assert (shown.weights, shown.parameters) == (base.weights, base.parameters)
    assert box.run(BASE, derived=[polite])["changed"] is False
    # Without a template of its own it has the base's again.
    del polite["template"]
    assert box.run(BASE, derived=[polite])["derived"] == ["polite:latest"]
    assert box.client.show("polite:latest").template == base.template
    refused = box.run(BASE, derived=[polite, {**polite, "system": "Be rude."}])
    assert "polite:latest is asked for twice and differently" in refused["msg"]


@pytest.mark.parametrize(
    ("changes", "before"),
    [
        ({"parameters": {"num_ctx": 4096}}, "qwen3.5:2b with num_ctx 4096"),
        ({"parameters": {"num_ctx": 16384, "temperature": 0.1}}, "qwen3.5:2b with num_ctx 16384, temperature 0.1"),
        ({"from": "qwen3:8b", "parameters": {"num_ctx": 16384}}, "other files with num_ctx 16384"),
        (
            {"parameters": {"num_ctx": 16384}, "system": "Be rude."},
            'qwen3.5:2b with num_ctx 16384, system "Be rude."',
        ),
    ],
)
def test_a_model_of_that_name_that_is_something_else_is_made_again(
    box: Box, changes: dict[str, Any], before: str
) -> None:
    box.run(BASE, "qwen3:8b")
    list(box.machine.create({"model": LONG["name"], "from": BASE, **changes}))
    seen = box.run(BASE, derived=[LONG], check=True)
    assert seen["changed"] is True
    assert f"{LONG['name']}: {before}\n" in seen["diff"]["before"]
    assert box.asked("POST /api/create") == 0
    assert box.run(BASE, derived=[LONG])["derived"] == [LONG["name"]]
    assert box.run(BASE, derived=[LONG])["changed"] is False


def test_check_mode_on_an_empty_server_tells_everything_and_does_nothing(box: Box) -> None:
    results = box.run(BASE, derived=[LONG], resident=[LONG["name"]], check=True)
    assert results["changed"] is True
    assert (results["missing"], results["derived"], results["loaded"]) == ([BASE], [LONG["name"]], [LONG["name"]])
    assert results["diff"]["after"].splitlines() == [
        BASE,
        LONG["name"],
        f"{LONG['name']}: qwen3.5:2b with num_ctx 16384",
        f"{LONG['name']}: stays in memory",
    ]
    assert box.client.tags() == []


def test_a_resident_model_is_loaded_once_and_for_ever(box: Box) -> None:
    results = box.run(BASE, "nomic-embed-text", resident=[BASE, "nomic-embed-text"])
    assert results["loaded"] == [BASE, "nomic-embed-text:latest"]
    assert box.in_memory() == {BASE: True, "nomic-embed-text:latest": True}
    again = box.run(BASE, "nomic-embed-text", resident=[BASE, "nomic-embed-text"])
    assert (again["changed"], again["loaded"]) == (False, [])


def test_a_model_that_is_in_memory_for_some_minutes_is_not_resident_yet(box: Box) -> None:
    box.run(BASE)
    with box.machine.in_memory(box.machine.resolve(BASE), {}):
        pass
    assert box.in_memory() == {BASE: False}
    assert box.run(BASE, resident=[BASE], check=True)["loaded"] == [BASE]
    assert box.run(BASE, resident=[BASE])["changed"] is True
    assert box.in_memory() == {BASE: True}


def test_a_derived_model_that_was_made_again_is_loaded_again(box: Box) -> None:
    box.run(BASE, derived=[LONG], resident=[LONG["name"]])
    other = {**LONG, "parameters": {"num_ctx": 2048}}
    results = box.run(BASE, derived=[other], resident=[LONG["name"]])
    assert (results["derived"], results["loaded"]) == ([LONG["name"]], [LONG["name"]])
    assert [loaded.context_length for loaded in box.machine.loaded()] == [2048]


def test_more_resident_models_than_ollama_holds_are_a_failure_and_not_a_change_at_each_run(box: Box) -> None:
    three = [BASE, "qwen3:8b", "llama3.2:1b"]
    results = box.run(*three, resident=three)
    assert results["failed"] is True
    assert "does not keep all 3 resident models in memory: qwen3.5:2b had to go" in results["msg"]
    assert "ollama_max_loaded_models" in results["msg"]


def test_all_others_are_named_with_what_they_take_and_then_removed(box: Box) -> None:
    box.run(BASE, "qwen3:8b", "llama3.2:1b", derived=[LONG], resident=["qwen3:8b"])
    seen = box.run(BASE, state="only", check=True)
    assert sorted(seen["removed"]) == ["llama3.2:1b", LONG["name"], "qwen3:8b"]
    # The derived model shares the files of its base, which stays.
    assert seen["freed_bytes"] == pytest.approx(6.5e9, abs=1e6)
    assert len(box.client.tags()) == 4
    done = box.run("Qwen3.5:2B", state="only")
    assert (done["changed"], sorted(done["removed"])) == (True, sorted(seen["removed"]))
    assert [model.name for model in box.client.tags()] == [BASE]
    assert box.in_memory() == {}
    assert box.run(BASE, state="only")["changed"] is False


def test_a_derived_model_that_is_asked_for_stays(box: Box) -> None:
    box.run(BASE, derived=[LONG])
    assert box.run(BASE, derived=[LONG], state="only")["removed"] == []


def test_a_model_is_taken_out_of_memory_before_it_is_removed(box: Box) -> None:
    # Ollama itself forgets the files and goes on running the model.
    box.run(BASE, "nomic-embed-text", "qwen3:8b", resident=[BASE, "nomic-embed-text"])
    loads = (box.asked("POST /api/generate"), box.asked("POST /api/embed"))
    box.run(BASE, "nomic-embed-text", "qwen3:8b", state="absent")
    assert (box.asked("POST /api/generate"), box.asked("POST /api/embed")) == (loads[0] + 1, loads[1] + 1)
    assert (box.client.tags(), box.in_memory()) == ([], {})


@pytest.mark.parametrize(
    ("entries", "held", "problem"),
    [
        ([{**LONG, "name": BASE}], [], "cannot be pulled and derived"),
        ([LONG], [LONG["name"]], "cannot be pulled and derived"),
        ([LONG, {**LONG, "parameters": {"num_ctx": 1}}], [], "asked for twice and differently"),
        ([{**LONG, "from": "no such"}], [], "'no such' is not a model name"),
    ],
)
def test_what_contradicts_itself_is_refused_before_anything_is_done(
    box: Box, entries: list[dict[str, Any]], held: list[str], problem: str
) -> None:
    results = box.run(*held, derived=entries)
    assert results["failed"] is True
    assert problem in results["msg"]
    assert box.asked("GET /api/tags") == 0


def test_a_base_that_nobody_has_is_a_failure_with_ollamas_words(box: Box) -> None:
    results = box.run(derived=[{"name": "mine", "from": "nope", "parameters": {"num_ctx": 4096}}])
    assert results["failed"] is True
    assert "could not make mine:latest: pull model manifest: file does not exist." in results["msg"]


SHOWN = api.Shown(("/blobs/sha256-1",), "t", "s", {"temperature": ["0.7"], "stop": ['"<a>"', '"<b>"']}, embeds=False)


@pytest.mark.parametrize(
    ("asked", "said", "same"),
    [
        (8192, "8192", True),
        (1000000, "1e+06", True),
        (8192, "4096", False),
        (0.5, "0.5", True),
        (True, "true", True),
        ("a", '"a"', True),
        (8192, "", False),
    ],
)
def test_a_parameter_is_compared_by_its_value(asked: Any, said: str, same: bool) -> None:
    wanted = derived.Derived(names.parse("d"), names.parse("b"), {"num_ctx": asked})
    parameters = {**SHOWN.parameters, **({"num_ctx": [said]} if said else {})}
    found = api.Shown(SHOWN.weights, "t", "s", parameters, embeds=False)
    assert derived.is_as_wanted(wanted, found, SHOWN) is same


def test_a_list_of_values_replaces_the_bases() -> None:
    wanted = derived.Derived(names.parse("d"), names.parse("b"), {"stop": ["<c>", "<d>"]})
    found = api.Shown(SHOWN.weights, "t", "s", {"temperature": ["0.7"], "stop": ['"<c>"', '"<d>"']}, embeds=False)
    assert derived.is_as_wanted(wanted, found, SHOWN)
    assert not derived.is_as_wanted(wanted, SHOWN, SHOWN)


def test_files_that_two_removed_models_share_are_counted_once() -> None:
    removed = [api.Model("a:1", "1", 5000), api.Model("a:1-ctx9", "2", 5020), api.Model("b:1", "3", 700)]
    files = {"a:1": ("x",), "a:1-ctx9": ("x",), "b:1": ("y",)}
    assert disk.freed_bytes(removed, [], lambda model: files[model.name]) == 5720


def publish_another(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let the registry have another version of a model under its name."""
    monkeypatch.setitem(ollama.LIBRARY, name, dataclasses.replace(ollama.LIBRARY[name], quantization="Q3_K_M"))


def test_a_newer_version_is_pulled_once_and_what_derives_from_it_is_made_again(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"state": "latest", "registry": box.client.url, "derived": [LONG]}
    old = {model["name"]: model["digest"] for model in box.run(BASE, **options)["models"]}
    assert box.run(BASE, **options)["changed"] is False
    publish_another(monkeypatch, BASE)
    assert box.run(BASE, **{**options, "state": "present"})["changed"] is False

    would = box.run(BASE, check=True, **options)
    assert (would["changed"], would["outdated"], would["missing"]) == (True, [BASE], [])
    assert f"{BASE}: {old[BASE][:12]}" in would["diff"]["before"]
    assert box.asked("POST /api/pull") == 1

    done = box.run(BASE, **options)
    (pulled,) = done["pulled"]
    assert (pulled["name"], done["outdated"], done["derived"]) == (BASE, [BASE], [LONG["name"]])
    assert pulled["digest"] != old[BASE]
    assert f"{BASE}: {pulled['digest'][:12]}" in done["diff"]["after"]
    assert {model["name"]: model["digest"] for model in done["models"]}.keys() == old.keys()
    assert box.run(BASE, **options)["changed"] is False


def test_what_the_registry_does_not_tell_is_refused_all_at_once(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.run(BASE, "all-minilm")
    for name in (BASE, "all-minilm:latest"):
        monkeypatch.delitem(ollama.LIBRARY, name)
    refused = box.run(BASE, "all-minilm", state="latest", registry=box.client.url)
    assert refused["failed"]
    assert f"has no model {BASE}." in refused["msg"]
    assert "has no model all-minilm:latest." in refused["msg"]
    assert box.asked("POST /api/pull") == 2


def test_a_pull_that_brings_the_old_version_is_told(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.run(BASE)
    monkeypatch.setattr(registry, "newest_digest", lambda *_: "f" * 64)
    refused = box.run(BASE, state="latest")
    assert "still holds" in refused["msg"]
    assert "not ffffffffffff as the registry" in refused["msg"]


@pytest.fixture(name="file")
def gguf_file(tmp_path: Path) -> Path:
    path = tmp_path / "house-style.gguf"
    path.write_bytes(b"GGUF" + b"\0" * 3_000_000)
    return path


def of_file(file: Path, **own: Any) -> dict[str, Any]:
    return {"name": "house-style", "path": str(file), "remote_src": True, **own}


def test_a_model_of_a_file_is_made_once(box: Box, file: Path) -> None:
    wanted = of_file(file, parameters={"num_ctx": 4096}, system="Be brief.")
    would = box.run(check=True, gguf=[wanted])
    assert (would["changed"], would["imported"], box.client.tags()) == (True, ["house-style:latest"], [])
    results = box.run(gguf=[wanted])
    assert (results["changed"], results["imported"], results["uploads"]) == (
        True,
        ["house-style:latest"],
        [gguf.file_digest(str(file))],
    )
    assert "house-style:latest: file " in results["diff"]["after"]
    shown = box.client.show("house-style")
    assert (shown.parameters, shown.system) == ({"num_ctx": ["4096"]}, "Be brief.")
    again = box.run(gguf=[wanted])
    assert (again["changed"], again["uploads"]) == (False, [])
    assert again["diff"]["before"] == again["diff"]["after"]
    assert box.asked("POST /api/create") == 1


@pytest.mark.parametrize(
    "change", [{"parameters": {"num_ctx": 2048}}, {"system": "Be polite."}, {"template": "{{ .Prompt }}"}]
)
def test_a_model_of_a_file_that_is_something_else_is_made_again_without_an_upload(
    box: Box, file: Path, change: dict[str, Any]
) -> None:
    box.run(gguf=[of_file(file)])
    results = box.run(gguf=[of_file(file, **change)])
    assert (results["imported"], results["uploads"]) == (["house-style:latest"], [])
    assert box.run(gguf=[of_file(file, **change)])["changed"] is False


def test_another_file_makes_another_model(box: Box, file: Path) -> None:
    box.run(gguf=[of_file(file)])
    file.write_bytes(file.read_bytes() + b"more")
    assert box.run(gguf=[of_file(file)])["uploads"] == [gguf.file_digest(str(file))]


def test_a_file_is_quantized_when_that_is_asked_for(box: Box, file: Path) -> None:
    small = of_file(file, quantize="q4_K_M")
    assert box.run(gguf=[small])["imported"] == ["house-style:latest"]
    assert box.client.show("house-style").license.startswith("Made by the LLM gateway of file sha256:")
    assert box.run(gguf=[small])["changed"] is False
    assert box.run(gguf=[of_file(file, quantize="q8_0")])["imported"] == ["house-style:latest"]


def test_a_model_of_that_name_that_was_not_made_of_the_file_is_made_anew(box: Box, file: Path) -> None:
    wanted = {**of_file(file), "name": "qwen3:8b", "quantize": "q4_K_M"}
    box.run("qwen3:8b")
    assert box.run(gguf=[wanted])["imported"] == ["qwen3:8b"]
    assert box.run(gguf=[wanted])["changed"] is False


def test_what_is_no_longer_asked_for_goes(box: Box, file: Path) -> None:
    box.run(gguf=[of_file(file, parameters={"num_ctx": 4096}, system="Be brief.")])
    assert box.run(gguf=[of_file(file)])["imported"] == ["house-style:latest"]
    shown = box.client.show("house-style")
    assert (shown.parameters, shown.system) == ({}, "")


def test_check_mode_tells_what_follows_from_another_file(box: Box, file: Path) -> None:
    long = {"name": "long", "from": "house-style", "parameters": {"num_ctx": 8192}}
    wanted: dict[str, Any] = {"derived": [long], "resident": ["long"]}
    box.run(gguf=[of_file(file)], **wanted)
    changed = [of_file(file, system="Be brief.")]
    would = box.run(check=True, gguf=changed, **wanted)
    did = box.run(gguf=changed, **wanted)
    told = ("imported", "derived", "loaded", "changed", "diff")
    assert {key: would[key] for key in told} == {key: did[key] for key in told}
    assert (did["derived"], did["loaded"]) == (["long:latest"], ["long:latest"])


def test_with_its_sum_a_file_that_is_there_is_not_read(box: Box, file: Path) -> None:
    wanted = of_file(file, sha256=gguf.file_digest(str(file)).upper())
    box.run(gguf=[wanted])
    file.unlink()
    assert box.run(gguf=[wanted])["changed"] is False


def test_a_file_that_is_not_the_one_of_the_sum_is_refused_by_ollama(box: Box, file: Path) -> None:
    results = box.run(gguf=[of_file(file, sha256="1" * 64)])
    assert results["failed"]
    assert "could not make house-style:latest: digest mismatch" in results["msg"]
    assert box.client.tags() == []


def test_a_file_that_is_no_gguf_is_refused_by_ollama(box: Box, file: Path) -> None:
    file.write_bytes(b"PK" + b"\0" * 100)
    assert "could not make house-style:latest: unsupported content type" in box.run(gguf=[of_file(file)])["msg"]


def test_a_model_of_a_file_can_be_a_base_stay_in_memory_and_stay_on_the_box(box: Box, file: Path) -> None:
    long = {"name": "long", "from": "house-style", "parameters": {"num_ctx": 8192}}
    results = box.run(gguf=[of_file(file)], derived=[long], resident=["house-style"])
    assert (results["derived"], results["loaded"]) == (["long:latest"], ["house-style:latest"])
    assert box.run(gguf=[of_file(file)], state="only")["removed"] == ["long:latest"]


@pytest.mark.parametrize(
    ("entries", "held", "message"),
    [
        (
            [{"path": "/nowhere/a.gguf"}, {"path": "/nowhere/b.gguf"}],
            (),
            "/nowhere/b.gguf cannot be read: No such file",
        ),
        ([{"sha256": "short"}], (), "'short' is not a sum of"),
        ([{}], ("house-style",), "house-style:latest cannot be made in two ways"),
        ([{}, {"quantize": "q8_0"}], (), "house-style:latest is asked for twice and differently"),
    ],
)
def test_mistakes_about_files_are_told_before_anything_is_done(
    box: Box, file: Path, entries: list[dict[str, Any]], held: tuple[str, ...], message: str
) -> None:
    results = box.run(*held, gguf=[of_file(file, **entry) for entry in entries])
    assert results["failed"]
    assert message in results["msg"]
    assert box.asked("POST /api/create") == 0


def test_files_that_change_or_go_meanwhile_are_told(box: Box, file: Path) -> None:
    wanted = of_file(file, sha256=gguf.file_digest(str(file)))
    file.unlink()
    assert "house-style.gguf cannot be read: No such file" in box.run(gguf=[wanted])["msg"]


def test_a_file_of_this_machine_is_brought_to_the_box_once_and_not_left_there(
    box: Box, file: Path, tmp_path: Path
) -> None:
    wanted = {"name": "house-style", "path": str(file)}
    first = by_ansible(tmp_path, url=box.client.url, gguf=[wanted])
    assert first.returncode == 0, first.stdout + first.stderr
    assert f"copying {file} to the box, 0.0 GB" in first.stdout
    assert "localhost | CHANGED =>" in first.stdout
    second = by_ansible(tmp_path, url=box.client.url, gguf=[wanted])
    assert "localhost | SUCCESS =>" in second.stdout, second.stdout
    assert "copying" not in second.stdout
    assert [model.name for model in box.client.tags()] == ["house-style:latest"]
    assert list((tmp_path / "remote").glob("*/*.gguf")) == []


def test_a_file_that_this_machine_lacks_is_told(box: Box, tmp_path: Path) -> None:
    done = by_ansible(tmp_path, url=box.client.url, gguf=[{"name": "house-style", "path": "no-such.gguf"}])
    assert done.returncode == 2
    assert "no-such.gguf" in done.stdout


@pytest.mark.parametrize("entries", ["house-style.gguf", [{"name": "house-style"}]])
def test_entries_of_another_form_are_told_by_the_module(box: Box, tmp_path: Path, entries: Any) -> None:
    done = by_ansible(tmp_path, url=box.client.url, gguf=entries)
    assert done.returncode == 2
    assert "gguf" in done.stdout
