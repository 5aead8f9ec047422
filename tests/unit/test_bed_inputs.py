"""The test bed's images, pins, secrets, boxes and command line, as far as they need no Docker."""

from __future__ import annotations

import http.server
import io
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from bed import cli
from bed.boxes import Box, run_arguments
from bed.certificates import alternative_names
from bed.commands import Refused
from bed.images import Builder, Image, image_list, references, wheel_command, with_parents
from bed.layout import Layout
from bed.progress import Progress
from bed.registry import PublicImage, Registry, pinned, public_images, pushed_digest, read_pushed, variant_of
from bed.secrets_file import PROVIDER_KEYS, ensure_secrets, random_secrets
from bed.seed import seed_name
from bed.services import Service
from bed.up import PUBLIC_IMAGES, VARIANTS, Bed, choose_mode, registry_in_reach

from plugins.module_utils.catalog.images import version_of

ROOT = Path(__file__).resolve().parents[2]
DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A checkout with the real build files, and a certificate of its own."""
    shutil.copytree(ROOT / "molecule" / "images", tmp_path / "molecule" / "images")
    for path in ("tests/doubles/ollama.py", "tests/doubles/provider.py", ".bed/ca/ca.pem"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"{path}\n")
    return Layout(tmp_path)


def changed_by(layout: Layout, path: Path, text: str) -> set[str]:
    """Names of the images that get another reference when a file changes."""
    before = references(image_list(layout))
    path.write_text(text)
    after = references(image_list(layout))
    return {name for name in before if before[name] != after[name]}


class TestImages:
    def test_a_parent_stands_before_its_children(self, layout: Layout) -> None:
        images = image_list(layout)
        places = {name: place for place, name in enumerate(images)}
        assert all(places[image.parent] < places[name] for name, image in images.items() if image.parent)

    def test_every_folder_is_built_and_stands_on_its_parent(self, layout: Layout) -> None:
        images = [image for image in image_list(layout).values() if image.folder]
        assert {image.folder for image in images} == set(layout.images.iterdir())
        for image in images:
            assert image.folder is not None
            assert "\nARG BASE\nFROM ${BASE}\n" in (image.folder / "Dockerfile").read_text()

    def test_unchanged_inputs_keep_their_reference(self, layout: Layout) -> None:
        assert references(image_list(layout)) == references(image_list(layout))

    def test_an_image_changes_with_its_files_and_its_parents(self, layout: Layout) -> None:
        assert changed_by(layout, layout.images / "redis" / "Dockerfile", "ARG BASE") == {"redis"}
        assert changed_by(layout, layout.doubles / "ollama.py", "pass") == {"ollama", "ollama-rocm", "doubles"}
        assert changed_by(layout, layout.images / "python" / "Dockerfile", "ARG BASE") == {
            *("python:trixie", "litellm", "litellm-next", "litellm-broken", "ollama", "ollama-rocm", "doubles"),
        }

    def test_a_box_trusts_the_present_authority(self, layout: Layout) -> None:
        boxes = {"box-bare:trixie", "box-docker:trixie", "box-bare:bookworm"}
        assert changed_by(layout, layout.authority / "ca.pem", "another") == boxes

    def test_a_file_made_executable_is_a_change(self, layout: Layout) -> None:
        before = references(image_list(layout))["ollama"]
        (layout.images / "ollama" / "ollama").chmod(0o644)
        assert references(image_list(layout))["ollama"] != before

    def test_a_missing_input_is_named(self, layout: Layout) -> None:
        (layout.doubles / "provider.py").unlink()
        with pytest.raises(Refused, match=r"provider\.py is missing; image doubles"):
            references(image_list(layout))

    def test_only_what_an_image_stands_on_is_added(self) -> None:
        images = {
            name: Image(name, parent)
            for name, parent in {"slim:a": None, "box:a": "slim:a", "slim:b": None, "box:b": "slim:b"}.items()
        }
        assert with_parents(images, ["box:a"]) == ["slim:a", "box:a"]

    @pytest.mark.parametrize(
        ("machine", "target"), [("x86_64", "x86_64"), ("aarch64", "aarch64"), ("arm64", "aarch64")]
    )
    def test_wheels_are_for_the_images_python_and_this_processor(self, machine: str, target: str) -> None:
        command = wheel_command("uv", Path("site"), Path("requirements.txt"), machine)
        assert f"{target}-manylinux_2_40" in command
        assert "3.13" in command
        assert "--require-hashes" in command

    def test_litellm_is_the_version_that_users_run(self) -> None:
        pinned_tag = public_images((ROOT / "group_vars/all/images.yml").read_text())["litellm"].tag
        lock = (ROOT / "molecule/images/litellm/requirements.txt").read_text()
        locked = re.search(r"^litellm==(\S+)", lock, re.MULTILINE)
        assert locked is not None
        assert pinned_tag.removeprefix("v").startswith(locked.group(1))


class TestPins:
    text = """
llm_images:
  litellm: {repository: ghcr.io/berriai/litellm, tag: v1.2.3, digest: ""}
  redis: {repository: docker.io/library/redis, tag: 8.2, digest: "sha256:declared"}
"""

    def test_the_path_in_the_registry_is_the_name_without_its_host(self) -> None:
        images = public_images(self.text)
        assert images["litellm"].path == "berriai/litellm"
        assert images["redis"].path == "library/redis"
        assert images["redis"].reference == "docker.io/library/redis:8.2"

    def test_pins_have_the_shape_users_write(self) -> None:
        pins = pinned(public_images(self.text), {"litellm": DIGEST})
        assert pins["llm_images"]["litellm"] == {
            "repository": "ghcr.io/berriai/litellm",
            "tag": "v1.2.3",
            "digest": DIGEST,
        }
        assert pins["llm_images"]["redis"]["digest"] == "sha256:declared"

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_a_variant_is_another_tag_that_the_security_floor_lets_pass(self, variant: str) -> None:
        declared = public_images((ROOT / "group_vars/all/images.yml").read_text())["litellm"]
        other = variant_of(replace(declared, digest=DIGEST), variant)
        assert (other.repository, other.digest) == (declared.repository, "")
        assert other.tag == f"{declared.tag}-{variant}"
        assert version_of(other.tag) == version_of(declared.tag)

    def test_every_image_that_users_run_is_built(self) -> None:
        assert set(PUBLIC_IMAGES) == set(public_images((ROOT / "group_vars/all/images.yml").read_text()))

    def test_the_digest_is_read_from_what_docker_prints(self) -> None:
        assert pushed_digest(f"latest: Pushed\nv1: digest: {DIGEST} size: 528\n") == DIGEST

    def test_a_push_without_a_digest_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="no digest"):
            pushed_digest("denied: requested access to the resource is denied")

    def test_a_seed_belongs_to_one_engine_and_these_images(self) -> None:
        images = {"redis": PublicImage("docker.io/library/redis", "8.2")}
        digests = {"redis": DIGEST}
        name = seed_name("llm-bed/box:1", images, digests)
        assert name == seed_name("llm-bed/box:1", images, digests)
        assert name != seed_name("llm-bed/box:2", images, digests)
        assert name != seed_name("llm-bed/box:1", images, {"redis": "sha256:" + "0" * 64})

    def test_one_certificate_answers_for_every_public_name(self) -> None:
        names = alternative_names().split(",")
        assert {"DNS:ghcr.io", "DNS:registry-1.docker.io", "DNS:registry.ollama.ai", "IP:127.0.0.1"} == set(names)


class TestSecrets:
    def test_they_are_random_and_long(self) -> None:
        one, two = random_secrets(), random_secrets()
        assert re.fullmatch(r"sk-[A-Za-z0-9]{48}", one["vault_litellm_master_key"])
        assert re.fullmatch(r"[A-Za-z0-9]{48}", one["vault_redis_password"])
        assert not set(one.values()) & set(two.values())

    def test_they_are_written_once_and_for_their_owner_alone(self, layout: Layout) -> None:
        ensure_secrets(layout)
        first = layout.secrets.read_text()
        ensure_secrets(layout)
        assert layout.secrets.read_text() == first
        assert layout.secrets.stat().st_mode & 0o777 == 0o600
        assert layout.provider_keys.stat().st_mode & 0o777 == 0o600

    def test_the_stand_ins_accept_the_keys_the_gateway_has(self, layout: Layout) -> None:
        ensure_secrets(layout)
        values = yaml.safe_load(layout.secrets.read_text())
        accepted = layout.provider_keys.read_text().strip().removeprefix("PROVIDER_KEYS=").split(",")
        assert accepted == [values[name] for name in PROVIDER_KEYS]

    def test_a_secret_that_is_missing_is_added_and_the_others_stay(self, layout: Layout) -> None:
        ensure_secrets(layout)
        values = yaml.safe_load(layout.secrets.read_text())
        layout.secrets.write_text(yaml.safe_dump({"vault_redis_password": "as-it-was"}))
        ensure_secrets(layout)
        after = yaml.safe_load(layout.secrets.read_text())
        assert after["vault_redis_password"] == "as-it-was"
        assert set(after) == set(values)
        assert after["vault_openai_api_key"] in layout.provider_keys.read_text()


class TestBoxes:
    box = Box("llm-default-box", "llm-bed/box-docker-trixie:1", "default", seed=None, registry=True)

    def test_it_is_labelled_and_never_fully_privileged(self) -> None:
        arguments = run_arguments(self.box)
        assert "owner=llm-gateway-bed" in arguments
        assert "scenario=default" in arguments
        assert "--privileged" not in arguments

    def test_its_network_decides_who_answers_for_the_public_names(self) -> None:
        arguments = run_arguments(self.box)
        assert arguments[arguments.index("--network") + 1] == "llm-bed"
        arguments = run_arguments(replace(self.box, registry=False))
        assert arguments[arguments.index("--network") + 1] == "llm-bed-open"

    def test_a_service_changed_in_any_way_is_made_anew(self) -> None:
        service = Service("registry", "image:1", ("--publish", "443"), {"llm-bed": ("ghcr.io",)})
        others = (
            replace(service, image="image:2"),
            replace(service, options=()),
            replace(service, aliases={"llm-bed": ()}),
        )
        assert service.fingerprint == replace(service).fingerprint
        assert len({service.fingerprint, *(other.fingerprint for other in others)}) == 4


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers with the status in its path."""

    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/")))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


class TestMode:
    @pytest.mark.parametrize(("status", "expected"), [(200, True), (401, True), (403, False), (502, False)])
    def test_a_registry_that_asks_for_a_login_is_in_reach(self, server: str, status: int, expected: bool) -> None:
        assert registry_in_reach(f"{server}/{status}") is expected

    def test_nobody_there_is_out_of_reach(self) -> None:
        assert registry_in_reach("http://127.0.0.1:1/v2/", timeout_s=1) is False

    @pytest.mark.parametrize(
        ("in_reach", "mode", "said"), [(True, "upstream", "published"), (False, "test", "stand-in")]
    )
    def test_auto_says_which_images_it_uses(self, in_reach: bool, mode: str, said: str) -> None:
        out = io.StringIO()
        assert choose_mode("auto", Progress(out), lambda: in_reach) == mode
        assert said in out.getvalue()

    def test_an_unknown_mode_is_refused_with_the_known_ones(self) -> None:
        with pytest.raises(Refused, match="IMAGES=latest is unknown; write one of: test, upstream, auto"):
            choose_mode("latest", Progress())

    def test_the_environment_chooses_the_images(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("IMAGES", "upstream")
        assert cli.parser().parse_args(["up"]).images == "upstream"
        monkeypatch.setenv("IMAGES", "")
        assert cli.parser().parse_args(["up"]).images == "test"


class TestCommandLine:
    def test_seed_and_registry_follow_the_box_unless_told(self) -> None:
        parse = cli.parser().parse_args
        given = parse(["box", "create", "llm-x", "--scenario", "x"])
        assert (given.image, given.seed, given.registry) == ("box-docker:trixie", None, None)
        given = parse(["box", "create", "llm-x", "--scenario", "x", "--no-seed", "--no-registry"])
        assert (given.seed, given.registry) == (False, False)

    def test_an_unknown_image_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as caught:
            cli.parser().parse_args(["box", "create", "llm-x", "--scenario", "x", "--image", "box:sid"])
        assert caught.value.code == 2
        assert "box-bare:bookworm" in capsys.readouterr().err


class TestUpstream:
    def test_only_boxes_and_stand_ins_are_made_and_the_declared_images_stay(
        self, layout: Layout, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        built: list[str] = []
        started: list[str] = []

        def build(_: Builder, name: str) -> None:
            built.append(name)

        def start(service: Service) -> bool:
            started.append(service.name)
            return True

        (layout.tls).mkdir(parents=True)
        (layout.tls / "server.pem").write_text("certificate")
        ensure_secrets(layout)
        monkeypatch.setattr("bed.images.present", set)
        monkeypatch.setattr("bed.images.remove_outdated", lambda _: 0)
        monkeypatch.setattr(Builder, "build", build)
        monkeypatch.setattr("bed.up.ensure_service", start)
        images = image_list(layout)
        declared = public_images(TestPins.text)
        Bed(layout, Progress(io.StringIO()), images, references(images), declared).make("upstream")
        assert set(built) == {
            *("slim:trixie", "slim:bookworm", "python:trixie", "doubles", "llamacpp"),
            *("box-bare:trixie", "box-docker:trixie", "box-bare:bookworm"),
        }
        assert started == ["llm-bed-doubles"]
        assert public_images(layout.pins.read_text()) == declared


class TestServing:
    def test_variants_are_pushed_beside_the_image_and_have_pins_of_their_own(
        self, layout: Layout, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pushes: list[tuple[str, str]] = []
        held: dict[str, str] = {}

        def push(_: Registry, local: str, image: PublicImage) -> str:
            pushes.append((local.partition(":")[0], image.reference))
            held[image.reference] = f"sha256:{len(held):064}"
            return held[image.reference]

        layout.tls.mkdir(parents=True)
        (layout.tls / "server.pem").write_text("certificate")
        ensure_secrets(layout)
        monkeypatch.setattr("bed.images.remove_outdated", lambda _: 0)
        monkeypatch.setattr("bed.up.ensure_service", lambda _: False)
        monkeypatch.setattr("bed.up.ensure_volume", void)
        monkeypatch.setattr("bed.seed.is_ready", lambda *_: True)
        monkeypatch.setattr(Registry, "digest_of", lambda _, image: held.get(image.reference))
        monkeypatch.setattr(Registry, "push", push)
        images = image_list(layout)
        built = set(references(images).values())
        monkeypatch.setattr("bed.images.present", lambda: built)
        declared = public_images((ROOT / "group_vars/all/images.yml").read_text())
        tag = declared["litellm"].reference

        def make() -> None:
            Bed(layout, Progress(io.StringIO()), images, references(images), declared).make("test")

        make()
        assert set(pushes) > {("llm-bed/litellm", tag), ("llm-bed/litellm-next", f"{tag}-next")}
        plain = yaml.safe_load(layout.pins.read_text())["llm_images"]
        for variant in ("next", "broken"):
            pins = yaml.safe_load(layout.pins_of(variant).read_text())["llm_images"]
            assert pins.pop("litellm")["digest"] == held[f"{tag}-{variant}"]
            assert pins == {name: image for name, image in plain.items() if name != "litellm"}
        assert set(read_pushed(layout)) == {*PUBLIC_IMAGES, "litellm-next", "litellm-broken", "ollama-rocm"}
        pushed_once = len(pushes)
        make()
        assert len(pushes) == pushed_once == 8


def void(*_: object) -> None:
    """Does nothing."""
