"""The module project_files, run in-process against a directory on disk, and the rules behind it."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

from plugins.module_utils.project import files as project
from plugins.module_utils.project import generations
from plugins.modules import project_files

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "planted-secret-value-1\n"
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to other users")


class Runner:
    """Runs the module as Ansible would, and keeps everything it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str], path: str) -> None:
        self.capsys = capsys
        self.path = path
        self.printed = ""

    def __call__(self, check: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {"path": self.path, **options, "_ansible_check_mode": check, "_ansible_diff": True}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            project_files.main()
        output = self.capsys.readouterr()
        self.printed += output.out + output.err
        result: dict[str, Any] = json.loads(output.out)
        return result


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Runner:
    return Runner(capsys, str(tmp_path / "box" / "redis"))


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    old = os.umask(0o022)
    yield
    os.umask(old)


def declared(**changes: Any) -> dict[str, Any]:
    options: dict[str, Any] = {
        "files": {
            "compose.yml": {"content": "services: {}\n"},
            "config/redis.conf": {"content": "port 6379\n", "mode": "0640"},
        },
        "secrets": {"secrets/users.acl": {"content": SECRET}},
    }
    options.update(changes)
    return options


def tree(root: str) -> dict[str, tuple[str, int, bytes | None]]:
    """Everything below a directory, the kept copy included: kind, mode and text."""
    found: dict[str, tuple[str, int, bytes | None]] = {}
    for directory, names, files in os.walk(root):
        for name in names + files:
            path = Path(directory, name)
            info = path.lstat()
            text = path.read_bytes() if stat.S_ISREG(info.st_mode) else None
            found[str(path.relative_to(root))] = (stat.filemode(info.st_mode)[0], stat.S_IMODE(info.st_mode), text)
    return found


def project_tree(root: str) -> dict[str, tuple[str, int, bytes | None]]:
    """Everything below a directory that belongs to the project."""
    return {name: found for name, found in tree(root).items() if name.split("/")[0] not in project.RESERVED}


def deploy(run: Runner, options: dict[str, Any]) -> None:
    """What a role does when the containers become healthy."""
    assert run(**options)["uncommitted"] is True
    run(state="committed")


def without_diff_and_call(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key != "invocation"}


def diff_of(result: dict[str, Any], name: str) -> dict[str, str]:
    return next(item for item in result["diff"] if item["after_header"].endswith(name))


def test_first_run_writes_everything_and_second_run_changes_nothing(run: Runner) -> None:
    first = run(**declared())
    second = run(**declared())

    assert (first["changed"], first["existed"]) == (True, False)
    assert first["changed_files"] == ["compose.yml", "config/redis.conf", "secrets/users.acl"]
    assert first["changed_directories"] == [".", "config", "secrets"]
    assert (second["changed"], second["changed_files"], second["diff"]) == (False, [], [])
    assert project_tree(run.path) == {
        "compose.yml": ("-", 0o644, b"services: {}\n"),
        "config": ("d", 0o755, None),
        "config/redis.conf": ("-", 0o640, b"port 6379\n"),
        "secrets": ("d", 0o755, None),
        "secrets/users.acl": ("-", 0o400, SECRET.encode()),
    }
    assert stat.S_IMODE(Path(run.path).parent.stat().st_mode) == 0o755


def test_parents_are_open_even_under_a_strict_umask(run: Runner) -> None:
    os.umask(0o077)
    run(**declared())
    assert stat.S_IMODE(Path(run.path).parent.stat().st_mode) == 0o755
    assert stat.S_IMODE(Path(run.path).stat().st_mode) == 0o755
    assert stat.S_IMODE(Path(run.path, "compose.yml").stat().st_mode) == 0o644


def change_text(root: Path) -> None:
    (root / "compose.yml").write_text("old: 1\n")


def break_mode(root: Path) -> None:
    (root / "secrets/users.acl").chmod(0o644)


def add_stray_files(root: Path) -> None:
    (root / "config/old").mkdir()
    (root / "config/old/stray.conf").write_text("stray\n")
    (root / "link").symlink_to("/etc/passwd")


def lose_a_file(root: Path) -> None:
    (root / "config/redis.conf").unlink()


def file_became_directory(root: Path) -> None:
    (root / "compose.yml").unlink()
    (root / "compose.yml").mkdir()
    (root / "compose.yml/inner").write_text("x\n")


def directory_became_link(root: Path) -> None:
    (root / "config/redis.conf").unlink()
    (root / "config").rmdir()
    (root / "config").symlink_to(root.parent)


def nothing_there(root: Path) -> None:
    for name in ("compose.yml", "config/redis.conf", "secrets/users.acl", project.MANAGED):
        (root / name).unlink()
    for name in ("config", "secrets", "."):
        (root / name).resolve().rmdir()


DAMAGES = [
    change_text,
    break_mode,
    add_stray_files,
    lose_a_file,
    file_became_directory,
    directory_became_link,
    nothing_there,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_repaired_and_check_mode_says_the_same_without_touching_the_disk(run: Runner, damage: Any) -> None:
    deploy(run, declared())
    wanted = project_tree(run.path)
    damage(Path(run.path))
    damaged = tree(str(Path(run.path).parent))

    predicted = run(check=True, **declared())
    assert tree(str(Path(run.path).parent)) == damaged
    real = run(**declared())

    assert real["changed"] is True
    assert without_diff_and_call(predicted) == without_diff_and_call(real)
    assert project_tree(run.path) == wanted
    assert run(**declared())["changed"] is False
    assert SECRET.strip() not in run.printed


def test_check_mode_on_an_untouched_box_creates_nothing(run: Runner, tmp_path: Path) -> None:
    options = declared(directories={str(tmp_path / "data/redis"): {"mode": "0700"}, "run": {"mode": "0750"}})
    predicted = run(check=True, **options)
    assert list(tmp_path.iterdir()) == []
    assert without_diff_and_call(predicted) == without_diff_and_call(run(**options))


def test_undeclared_files_are_named_and_links_not_followed(run: Runner) -> None:
    run(**declared())
    add_stray_files(Path(run.path))
    assert run(**declared())["removed_files"] == ["config/old/", "config/old/stray.conf", "link"]
    assert Path("/etc/passwd").exists()


@AS_ROOT
def test_owner_is_set_repaired_and_shown(run: Runner) -> None:
    options: dict[str, Any] = {
        "files": {"a.conf": {"content": "a\n", "owner": 999, "group": "998"}, "b.conf": {"content": "b\n"}}
    }
    run(**options)
    os.chown(Path(run.path, "a.conf"), 0, 0)
    os.chown(Path(run.path, "b.conf"), 1000, 1000)
    repaired = run(**options)

    assert repaired["changed_files"] == ["a.conf", "b.conf"]
    assert diff_of(repaired, "a.conf (attributes)") == {
        "before_header": run.path + "/a.conf (attributes)",
        "after_header": run.path + "/a.conf (attributes)",
        "before": "mode: 0644\nowner: 0\ngroup: 0\n",
        "after": "mode: 0644\nowner: 999\ngroup: 998\n",
    }
    assert (Path(run.path, "a.conf").stat().st_uid, Path(run.path, "b.conf").stat().st_uid) == (999, 0)


@AS_ROOT
def test_previous_copy_keeps_owner_and_mode_and_restore_brings_them_back(run: Runner) -> None:
    options = declared(secrets={"secrets/users.acl": {"content": SECRET, "owner": 999, "group": 999, "mode": "0440"}})
    deploy(run, options)
    run(**declared(secrets={"secrets/users.acl": {"content": "another-secret\n"}}))
    kept = Path(run.path, ".unfinished/secrets/users.acl").stat()
    assert (kept.st_uid, kept.st_gid, stat.S_IMODE(kept.st_mode)) == (999, 999, 0o440)

    run(state="restored")
    back = Path(run.path, "secrets/users.acl").stat()
    assert (back.st_uid, back.st_gid, stat.S_IMODE(back.st_mode)) == (999, 999, 0o440)
    assert run(**options)["changed"] is False


def test_restored_goes_back_to_the_state_before_the_last_change(run: Runner) -> None:
    deploy(run, declared())
    Path(run.path, "link").symlink_to("compose.yml")
    before = project_tree(run.path)
    run(files={"compose.yml": {"content": "broken\n"}, "new.yml": {"content": "new\n"}})

    predicted = run(check=True, state="restored")
    restored = run(state="restored")

    assert without_diff_and_call(predicted) == without_diff_and_call(restored)
    assert restored["changed"] is True
    assert restored["removed_files"] == ["new.yml"]
    assert restored["changed_files"] == ["compose.yml", "config/redis.conf", "link", "secrets/users.acl"]
    assert project_tree(run.path) == before
    assert stat.S_IMODE(Path(run.path, ".unfinished").stat().st_mode) == 0o700
    assert run(state="restored")["changed"] is False
    assert SECRET.strip() not in run.printed


def test_restored_without_a_copy_says_so(run: Runner) -> None:
    run(**declared())
    failed = run(state="restored")
    assert failed["failed"] is True
    assert "holds no copy of a state before this change" in failed["msg"]


def test_no_copy_is_kept_when_nothing_changes(run: Runner) -> None:
    deploy(run, declared())
    run(**declared())
    assert not Path(run.path, ".unfinished").exists()


class Killed(BaseException):
    """Stands for a run that ends in the middle."""


def kill_while_writing(run: Runner, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        moves: list[str] = []

        def second_move_never_happens(_module: Any, source: str, target: str) -> None:
            if moves:
                raise Killed
            moves.append(target)
            Path(source).replace(target)

        patch.setattr(AnsibleModule, "atomic_move", second_move_never_happens)
        arguments = {"path": run.path, **options, "_ansible_check_mode": False}
        with patch_module_args(arguments), pytest.raises(Killed):
            project_files.main()


def test_run_killed_half_way_converges_and_the_good_copy_survives(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    new = declared(files={"a.yml": {"content": "new a\n"}, "b.yml": {"content": "new b\n"}})
    deploy(run, declared())
    before = project_tree(run.path)
    kill_while_writing(run, new, monkeypatch)
    assert Path(run.path, "a.yml").exists()
    assert not Path(run.path, "b.yml").exists()

    assert run(**new)["changed_files"] == ["b.yml"]
    assert run(**new)["changed"] is False
    run(state="restored")
    assert project_tree(run.path) == before


def test_bad_files_of_a_run_killed_before_its_containers_were_healthy_are_never_taken_for_good(run: Runner) -> None:
    deploy(run, declared())
    good = project_tree(run.path)
    bad = declared(files={"compose.yml": {"content": "bad: 1\n"}})
    run(**bad)

    same = run(**bad)
    assert (same["changed"], same["uncommitted"], same["restorable"]) == (False, True, True)
    worse = run(**declared(files={"compose.yml": {"content": "bad: 2\n"}}))
    assert (worse["changed"], worse["uncommitted"], worse["restorable"]) == (True, True, True)
    restored = run(state="restored")
    assert (restored["uncommitted"], restored["restorable"]) == (True, True)
    assert project_tree(run.path) == good


def test_committed_files_are_what_the_next_change_goes_back_to(run: Runner) -> None:
    deploy(run, declared())
    second = declared(files={"compose.yml": {"content": "second: 1\n"}})
    deploy(run, second)
    good = project_tree(run.path)
    quiet = run(**second)
    assert (quiet["changed"], quiet["uncommitted"], quiet["restorable"]) == (False, False, False)
    run(**declared(files={"compose.yml": {"content": "third: 1\n"}}))
    run(state="restored")
    assert project_tree(run.path) == good


def test_restored_files_stay_uncommitted_until_they_are_committed(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(run, declared())
    good = project_tree(run.path)
    run(**declared(files={"a.yml": {"content": "a\n"}, "b.yml": {"content": "b\n"}}))
    kill_while_writing(run, {"state": "restored"}, monkeypatch)
    later = run(**declared(files={"compose.yml": {"content": "later: 1\n"}}))
    assert (later["uncommitted"], later["restorable"]) == (True, True)
    assert run(state="restored")["uncommitted"] is True
    assert project_tree(run.path) == good
    assert run(state="committed")["uncommitted"] is False
    again = run(state="restored")
    assert (again["failed"], again["uncommitted"], again["restorable"]) == (True, False, False)


def test_committing_is_no_change_and_check_mode_leaves_the_mark(run: Runner) -> None:
    run(**declared())
    before = tree(run.path)
    predicted = run(check=True, state="committed")
    assert tree(run.path) == before
    committed = run(state="committed")
    assert without_diff_and_call(predicted) == without_diff_and_call(committed)
    assert (committed["changed"], committed["uncommitted"], committed["diff"]) == (False, False, [])
    assert tree(run.path) == {name: found for name, found in before.items() if name != ".unfinished"}
    assert run(state="committed")["changed"] is False


def test_committing_where_there_is_no_project_makes_none(run: Runner) -> None:
    assert run(state="committed")["changed"] is False
    assert not Path(run.path).exists()


def test_check_mode_predicts_whether_files_will_be_uncommitted_and_restorable(run: Runner, tmp_path: Path) -> None:
    new: dict[str, Any] = {"files": {"a.yml": {"content": "a\n"}}}
    for options in (declared(), declared(), new):
        predicted = run(check=True, **options)
        assert without_diff_and_call(predicted) == without_diff_and_call(run(**options))
        assert (predicted["uncommitted"], predicted["restorable"]) == (True, False)
    run(state="committed")
    only_data = run(**new, directories={str(tmp_path / "data"): {}})
    assert (only_data["changed"], only_data["uncommitted"]) == (True, False)
    for options in (declared(), declared(), {"state": "restored"}):
        predicted = run(check=True, **options)
        assert without_diff_and_call(predicted) == without_diff_and_call(run(**options))
        assert (predicted["uncommitted"], predicted["restorable"]) == (True, True)


def test_killed_first_run_does_not_count_as_a_project_to_go_back_to(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_while_writing(run, declared(), monkeypatch)
    again = run(**declared())
    assert (again["changed"], again["existed"], again["restorable"]) == (True, False, False)
    run(state="committed")
    assert run(**declared())["existed"] is True


def test_empty_directory_is_no_project_to_go_back_to(run: Runner) -> None:
    Path(run.path).mkdir(parents=True)
    first = run(**declared())
    assert (first["existed"], first["restorable"]) == (False, False)


def test_failed_write_says_that_there_is_a_way_back(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_is_full(_module: Any, _source: str, target: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", target)

    deploy(run, declared())
    refused = run(files={"../x": {"content": ""}})
    assert (refused["failed"], refused["uncommitted"], refused["restorable"]) == (True, False, False)
    monkeypatch.setattr(AnsibleModule, "atomic_move", disk_is_full)
    failed = run(files={"new.yml": {"content": "new\n"}})
    assert failed["msg"] == f"{run.path}/new.yml: No space left on device"
    assert (failed["uncommitted"], failed["restorable"]) == (True, True)


def test_the_number_of_the_generation_goes_with_the_last_project(run: Runner) -> None:
    deploy_dir = Path(run.path).parent
    neighbour = deploy_dir / "neighbour"
    neighbour.mkdir(parents=True)
    generations.write(str(deploy_dir), generations.GENERATION, 4)
    deploy(run, declared())
    run(state="absent")
    assert generations.current(str(deploy_dir)) == 4
    neighbour.rmdir()
    deploy(run, declared())
    run(check=True, state="absent")
    assert generations.current(str(deploy_dir)) == 4
    run(state="absent")
    assert not (deploy_dir / generations.GENERATION).exists()


def test_absent_removes_the_project_and_no_data(run: Runner, tmp_path: Path) -> None:
    data = tmp_path / "data"
    deploy(run, declared(directories={str(data): {}}))
    (data / "dump.rdb").write_text("data")
    Path(run.path, "link").symlink_to(data)

    predicted = run(check=True, state="absent")
    assert Path(run.path).exists()
    removed = run(state="absent")

    assert without_diff_and_call(predicted) == without_diff_and_call(removed)
    assert (removed["changed"], removed["existed"]) == (True, True)
    assert "compose.yml" in removed["removed_files"]
    assert not Path(run.path).exists()
    assert (data / "dump.rdb").read_text() == "data"
    assert run(state="absent")["changed"] is False
    assert SECRET.strip() not in run.printed


def test_data_directory_keeps_what_a_container_made_of_it(run: Runner, tmp_path: Path) -> None:
    data = tmp_path / "data/redis"
    options = declared(directories={str(data): {}})
    assert str(data) in run(**options)["changed_directories"]
    data.chmod(0o700)
    (data / "dump.rdb").write_text("data")
    assert run(**options)["changed"] is False
    assert run(**declared(directories={str(data): {"mode": "0750"}}))["changed_directories"] == [str(data)]
    assert (data / "dump.rdb").exists()


def test_mode_of_the_project_itself_can_be_declared(run: Runner) -> None:
    run(**declared(directories={".": {"mode": "0750"}}))
    assert stat.S_IMODE(Path(run.path).stat().st_mode) == 0o750


def test_diff_shows_files_and_hides_secrets(run: Runner) -> None:
    first = run(**declared())
    changed = run(
        files={
            "compose.yml": {"content": "services: {new: 1}\n"},
            "config/redis.conf": {"content": "port 1\n", "mode": "0640"},
        },
        secrets={"secrets/users.acl": {"content": "other-planted-value\n"}},
    )
    assert diff_of(changed, "compose.yml")["before"] == "services: {}\n"
    assert diff_of(changed, "compose.yml")["after"] == "services: {new: 1}\n"
    assert diff_of(changed, "redis.conf")["before"] == "port 6379\n"
    assert diff_of(first, "users.acl")["after"] == "(secret, not shown; new)\n"
    assert diff_of(changed, "users.acl")["before"] == "(secret, not shown)\n"
    assert diff_of(changed, "users.acl")["after"] == "(secret, not shown; changed)\n"
    assert SECRET.strip() not in run.printed
    assert "other-planted-value" not in run.printed


def test_former_secrets_are_not_shown_when_removed_or_declared_as_files(run: Runner) -> None:
    run(secrets={"a.env": {"content": SECRET}, "b.env": {"content": SECRET + "b"}})
    result = run(files={"a.env": {"content": "nothing secret\n"}})
    assert diff_of(result, "a.env")["before"] == "(old content not shown)\n"
    assert diff_of(result, "b.env")["before"] == "(file, content not shown)\n"
    assert SECRET.strip() not in run.printed


def test_secret_does_not_mask_paths_numbers_or_modes(run: Runner) -> None:
    me, mine = os.geteuid(), os.getegid()
    result = run(
        files={"note.txt": {"content": f"owner {me} mode 0400 box redis\n"}},
        secrets={"users.acl": {"content": SECRET, "owner": me, "group": mine, "mode": "0400"}},
    )
    assert diff_of(result, "note.txt")["after"] == f"owner {me} mode 0400 box redis\n"
    assert "********" not in run.printed
    # Since ansible-core 2.21 a module returns what it was asked for at -vvv only.
    asked = result.get("invocation", {}).get("module_args", {}).get("secrets", {})
    assert asked.get("users.acl", {}).get("content") in {None, "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"}
    assert SECRET not in run.printed


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"files": {"../x": {"content": ""}}}, "'../x' must be a path relative to the project"),
        ({"files": {"a/../../x": {"content": ""}}}, "without '..'"),
        ({"files": {"/etc/x": {"content": ""}}}, "relative to the project"),
        ({"files": {".": {"content": ""}}}, "must name a file"),
        ({"files": {".previous/x": {"content": ""}}}, "kept for the copy"),
        ({"files": {"a": {"content": "x", "mode": 420}}}, "quoted octal string"),
        ({"files": {"a": {"content": "x", "mode": "u=rw"}}}, "quoted octal string"),
        ({"files": {"a": {"content": {"k": 1}}}}, "content must be text, not dict"),
        ({"files": {"a": {}}}, "content must be text, not missing"),
        ({"files": {"a": {"content": "x", "secret": True}}}, "declare the file under the option secrets"),
        ({"files": {"a": {"content": "x", "modus": "0644"}}}, "unknown key modus"),
        ({"files": {"a": {"content": "x", "owner": ""}}}, "owner must be a name or a number"),
        ({"files": {"a": {"content": "x", "owner": -1}}}, "owner must not be negative"),
        ({"files": {"a": {"content": "x", "owner": "no-such-user-here"}}}, "there is no user 'no-such-user-here'"),
        ({"files": {"a": {"content": "x"}, "a/b": {"content": "x"}}}, "needs it to be a directory"),
        ({"files": {"a": {"content": "x"}}, "secrets": {"a": {"content": SECRET}}}, "declared twice"),
        ({"secrets": {"a": SECRET}}, "secrets: 'a' must be a dictionary"),
        ({"secrets": {"a": {"content": SECRET, "mode": "0444"}}}, "opens a secret to everyone"),
        ({"secrets": {"a": {"content": ""}}}, "the content is empty"),
        ({"secrets": {"a": {"content": "x1y2"}}}, "too short"),
        ({"directories": {"../data": {}}}, "without '..'"),
        ({"directories": {"/var/../etc": {}}}, "without '..'"),
    ],
)
def test_bad_declaration_is_refused_before_anything_is_written(run: Runner, options: dict[str, Any], said: str) -> None:
    failed = run(**options)
    assert failed["failed"] is True
    assert said in failed["msg"]
    assert not Path(run.path).exists()
    assert SECRET.strip() not in run.printed


def test_all_mistakes_are_reported_at_once(run: Runner) -> None:
    failed = run(files={"../a": {"content": "x"}, "b": {"content": 1}}, directories={run.path + "/data": {}})
    assert len(failed["msg"].splitlines()) == 3
    assert "lies inside the project directory" in failed["msg"]


@pytest.mark.parametrize("path", ["/", "/opt", "/opt/", "relative/dir", "/opt/x/../..", "//etc"])
def test_paths_whose_pruning_could_harm_the_system_are_refused(path: str) -> None:
    with pytest.raises(project.DeclarationError):
        project.check_project_path(path)


@pytest.mark.parametrize("state", ["present", "absent"])
def test_project_path_that_is_a_link_is_refused(run: Runner, tmp_path: Path, state: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    Path(run.path).parent.mkdir()
    Path(run.path).symlink_to(tmp_path / "elsewhere")
    failed = run(state=state, **declared())
    assert "it is no directory (link)" in failed["msg"]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_owner_that_is_not_on_the_box_yet_is_only_a_warning_in_check_mode(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, text: warned.append(text))
    result = run(check=True, files={"a": {"content": "x\n", "owner": "no-such-user-here"}})
    assert result["changed"] is True
    assert warned == ["files: 'a': there is no user 'no-such-user-here' on this box"]


def test_new_secret_is_never_open_to_others_while_it_is_written(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    original = AnsibleModule.atomic_move

    def watched(self: Any, source: str, target: str) -> None:
        original(self, source, target)
        modes.append(stat.S_IMODE(Path(target).stat().st_mode))

    monkeypatch.setattr(AnsibleModule, "atomic_move", watched)
    run(secrets={"a": {"content": SECRET}})
    Path(run.path, "a").chmod(0o644)
    run(secrets={"a": {"content": SECRET + "new"}})
    assert len(modes) == 2
    assert all(mode & 0o077 == 0 for mode in modes)


def test_unwritable_place_is_reported_with_its_path(run: Runner, tmp_path: Path) -> None:
    (tmp_path / "box").write_text("a file where a directory is needed")
    failed = run(**declared())
    assert failed["failed"] is True
    assert str(tmp_path / "box") in failed["msg"]


def test_large_or_binary_text_is_not_printed() -> None:
    entry = project.Entry("file", 0o644, 0, 0, b"\xff\xfe")
    large = project.Entry("file", 0o644, 0, 0, b"x" * (project.LARGEST_DIFF_BYTES + 1))
    steps = [project.Step("remove", "a", "/p/q/a", None, entry), project.Step("remove", "b", "/p/q/b", None, large)]
    assert [item["before"] for item in project.describe_steps(steps)] == [
        "(2 bytes that are no text)\n",
        "(large file, content not shown)\n",
    ]


@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_folder_that_somebody_else_made_is_refused_and_left_alone(run: Runner, state: str) -> None:
    theirs = Path(run.path)
    theirs.mkdir(parents=True)
    (theirs / "compose.yml").write_text("services: {}\n")
    before = tree(run.path)
    result = run(state=state)
    assert "is not this gateway's, so nothing in it is touched" in result["msg"]
    assert "llm_deploy_dir" in result["msg"]
    assert tree(run.path) == before
