"""Plan and apply the directory of one Compose project.

A declaration (files, secrets, directories) and a snapshot of the disk go in; a list of steps comes out. Check mode
reports the steps, a real run also applies them, so both report the same. Nothing here prints the text of a secret.
"""

from __future__ import annotations

import grp
import os
import posixpath
import pwd
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Callable

from . import generations

# The state before the last change that was committed; in it, the generation in which it was replaced.
PREVIOUS = ".previous"
REPLACED_IN = ".replaced-in"
# The state before a change that nobody committed yet; empty when there was none.
UNFINISHED = ".unfinished"
UNFINISHED_STAGING = ".unfinished.new"
# Tells a folder that this module made from one that was there before and belongs to somebody else.
MANAGED = ".managed"
RESERVED = frozenset({PREVIOUS, REPLACED_IN, UNFINISHED, UNFINISHED_STAGING, MANAGED})

SHORTEST_SECRET = 8
LARGEST_DIFF_BYTES = 64 * 1024
UNKNOWN_ID = -2
DIRECTORY_MODE = 0o755

Move = Callable[[str, str], Any]

_MODE = re.compile(r"^[0-7]{3,4}$")
_ATTRIBUTES = ("mode", "owner", "group")


class DeclarationError(ValueError):
    """The declaration cannot be used; ``problems`` holds one readable sentence for each mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ProjectError(RuntimeError):
    """The disk is in a state in which the declaration cannot be put in place."""


@dataclass(frozen=True)
class Wanted:
    """One thing that has to be on disk.

    ``mode``, ``uid`` and ``gid`` of None mean "leave as it is". ``content`` is set for files, ``target`` for links.
    """

    kind: str
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    content: bytes = b""
    target: str = ""
    secret: bool = False


@dataclass(frozen=True)
class Entry:
    """One thing that is on disk. ``kind``: file, directory, link or other. ``content`` is None if it was not read."""

    kind: str
    mode: int
    uid: int
    gid: int
    content: bytes | None = None
    target: str = ""

    @property
    def world_readable(self) -> bool:
        """Whether everyone on the box may read it, so that its text is no secret."""
        return bool(self.mode & stat.S_IROTH)


@dataclass(frozen=True)
class Declaration:
    """What a task declares. ``inside`` is keyed by path relative to the project, ``outside`` by absolute path."""

    inside: dict[str, Wanted]
    outside: dict[str, Wanted]
    unknown_owners: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """One change. ``action``: create, content, attributes or remove; ``path`` is absolute."""

    action: str
    name: str
    path: str
    wanted: Wanted | None
    current: Entry | None

    @property
    def kind(self) -> str:
        """Kind of the thing that is there once the step is done, or that was there before a removal."""
        if self.wanted is not None:
            return self.wanted.kind
        return self.current.kind if self.current is not None else "other"


def check_project_path(path: str) -> str:
    """Return ``path`` without a trailing slash.

    Raises DeclarationError for a path whose undeclared files may belong to the system.
    """
    clean = posixpath.normpath(path)
    if not path.startswith("/") or ".." in path.split("/"):
        problem = f"path: '{path}' must be an absolute path without '..', such as /opt/llm-gateway/redis"
        raise DeclarationError([problem])
    if len(clean.strip("/").split("/")) < 2:
        problem = (
            f"path: '{path}' is too close to the root: undeclared files in it would be removed; "
            "use a directory of its own, such as /opt/llm-gateway/redis"
        )
        raise DeclarationError([problem])
    return clean


def printable_leaves(secrets: Any) -> set[str]:
    """Return the modes, owners and groups of the option ``secrets``, less any that is also the text of a secret.

    Ansible masks every value below an option with ``no_log`` wherever it occurs in the output (ansible-core,
    module_utils/common/parameters.py), so an owner ``root`` would turn ``/root`` into ``/********`` and an owner 0
    would blank out every number 0. These values may be shown.
    """
    attributes: set[str] = set()
    texts: set[str] = set()
    for value in secrets.values() if isinstance(secrets, Mapping) else []:
        if not isinstance(value, Mapping):
            texts.add(str(value))
            continue
        for key, leaf in value.items():
            (attributes if key in _ATTRIBUTES and isinstance(leaf, (str, int)) else texts).add(str(leaf))
    return attributes - texts


def declare(
    path: str,
    files: Mapping[str, Any],
    secrets: Mapping[str, Any],
    directories: Mapping[str, Any],
) -> Declaration:
    """Turn the module's options into a Declaration.

    Parents of declared files, and the project's directory itself, are declared too: 0755 and the running user, unless
    ``directories`` says otherwise.

    Raises:
        DeclarationError: with every mistake at once; no message holds the text of a file.
    """
    reader = _OptionReader(path)
    for name, value in directories.items():
        reader.directory(str(name), value)
    for name, value in files.items():
        reader.file("files", str(name), value, secret=False)
    for name, value in secrets.items():
        reader.file("secrets", str(name), value, secret=True)
    reader.parents()
    if reader.problems:
        raise DeclarationError(reader.problems)
    return Declaration(reader.inside, reader.outside, tuple(reader.unknown))


class _OptionReader:
    """Reads the options one entry at a time and collects what is declared and what is wrong."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.problems: list[str] = []
        self.unknown: list[str] = []
        self.inside: dict[str, Wanted] = {}
        self.outside: dict[str, Wanted] = {}

    def directory(self, name: str, value: Any) -> None:
        """Read one entry of ``directories``."""
        where = f"directories: '{name}'"
        entry = self._entry({} if value is None else value, where, _ATTRIBUTES)
        absolute = name.startswith("/")
        clean = self._outside_name(name, where) if absolute else self._relative_name(name, where, allow_root=True)
        if entry is None or clean is None:
            return
        mode = None if absolute and "mode" not in entry else self._mode(entry.get("mode", "0755"), where)
        uid, gid = self._owners(entry, where, absolute)
        (self.outside if absolute else self.inside)[clean] = Wanted("directory", mode, uid, gid)

    def file(self, option: str, name: str, value: Any, *, secret: bool) -> None:
        """Read one entry of ``files`` or ``secrets``."""
        where = f"{option}: '{name}'"
        entry = self._entry(value, where, ("content", *_ATTRIBUTES))
        clean = self._relative_name(name, where)
        if entry is None or clean is None:
            return
        if clean in self.inside:
            self.problems.append(f"{where} is declared twice; keep one of files, secrets, directories")
            return
        mode = self._mode(entry.get("mode", "0400" if secret else "0644"), where)
        if secret and mode & 0o007:
            self.problems.append(f"{where}: mode {mode:04o} opens a secret to everyone; use 0400 or 0440")
        uid, gid = self._owners(entry, where, absolute=False)
        content = self._content(entry.get("content"), where, secret)
        self.inside[clean] = Wanted("file", mode, uid, gid, content, secret=secret)

    def parents(self) -> None:
        """Declare the project's directory and all directories that declared things lie in."""
        parent = Wanted("directory", DIRECTORY_MODE, os.geteuid(), os.getegid())
        for name in list(self.inside):
            for above in _parents(name):
                if self.inside.setdefault(above, parent).kind != "directory":
                    self.problems.append(f"'{above}' is declared as a file, but '{name}' needs it to be a directory")
        self.inside.setdefault(".", parent)

    def _entry(self, value: Any, where: str, allowed: tuple[str, ...]) -> dict[str, Any] | None:
        """Return one entry without its unset keys, or None and a problem."""
        if not isinstance(value, Mapping):
            self.problems.append(f"{where} must be a dictionary with the keys {', '.join(allowed)}")
            return None
        surplus = sorted(str(key) for key in value if key not in allowed)
        if "secret" in surplus:
            self.problems.append(f"{where}: there is no key 'secret'; declare the file under the option secrets")
        elif surplus:
            self.problems.append(f"{where}: unknown key {', '.join(surplus)}; the keys are {', '.join(allowed)}")
        return {str(key): item for key, item in value.items() if item is not None}

    def _relative_name(self, name: str, where: str, allow_root: bool = False) -> str | None:
        """Return a clean relative name, or None and a problem where it leaves the project or is kept for the module."""
        if not name or name.startswith("/") or ".." in name.split("/") or "\0" in name or "\n" in name:
            self.problems.append(f"{where} must be a path relative to the project, without '..'")
            return None
        clean = posixpath.normpath(name)
        first = clean.split("/", maxsplit=1)[0]
        if clean == "." and not allow_root:
            self.problems.append(f"{where} must name a file")
            return None
        if first in RESERVED:
            self.problems.append(f"{where}: the name {first} is kept for the copy of the previous state; use another")
            return None
        return clean

    def _outside_name(self, name: str, where: str) -> str | None:
        """Return a clean absolute path outside the project, or None and a problem."""
        clean = posixpath.normpath(name)
        if ".." in name.split("/") or clean == "/" or "\0" in name:
            self.problems.append(f"{where}: write the absolute path without '..'")
            return None
        if clean == self.path or clean.startswith(self.path + "/"):
            self.problems.append(
                f"{where} lies inside the project directory {self.path}, where undeclared files are removed; "
                "keep data elsewhere, or write the path relative to the project"
            )
            return None
        return clean

    def _mode(self, value: Any, where: str) -> int:
        """Return the mode written as an octal string."""
        if isinstance(value, str) and _MODE.match(value):
            return int(value, 8)
        self.problems.append(
            f'{where}: the mode must be a quoted octal string such as "0644" (YAML turns an unquoted 0644 into 420)'
        )
        return 0

    def _content(self, content: Any, where: str, secret: bool) -> bytes:
        """Return the bytes of a file's text."""
        if not isinstance(content, str):
            kind = "missing" if content is None else type(content).__name__
            self.problems.append(f"{where}: content must be text, not {kind}; render it with to_nice_yaml or to_json")
            return b""
        if secret and len(content) < SHORTEST_SECRET:
            self.problems.append(
                f"{where}: the content is {'too short' if content else 'empty'}; a secret needs at least "
                f"{SHORTEST_SECRET} characters, because Ansible masks every place in the output where its text occurs"
            )
        return content.encode("utf-8", "surrogateescape")

    def _owners(self, entry: Mapping[str, Any], where: str, absolute: bool) -> tuple[int | None, int | None]:
        """Return user and group id; where none is given, the running user's, or None for a directory outside."""
        uid = self._id(entry.get("owner"), where, "owner")
        gid = self._id(entry.get("group"), where, "group")
        if absolute:
            return uid, gid
        return (os.geteuid() if uid is None else uid), (os.getegid() if gid is None else gid)

    def _id(self, value: Any, where: str, key: str) -> int | None:
        """Return the number of a user or group; UNKNOWN_ID and a note for a name that is not on the box."""
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, str)) or value == "":
            self.problems.append(f"{where}: {key} must be a name or a number")
            return None
        if isinstance(value, int) or value.isdigit():
            if int(value) < 0:
                self.problems.append(f"{where}: {key} must not be negative")
            return int(value)
        try:
            return grp.getgrnam(value).gr_gid if key == "group" else pwd.getpwnam(value).pw_uid
        except KeyError:
            self.unknown.append(f"{where}: there is no {'group' if key == 'group' else 'user'} '{value}' on this box")
            return UNKNOWN_ID


def _parents(name: str) -> list[str]:
    """Return every directory above a relative name, the nearest last, without the project itself."""
    parts = name.split("/")[:-1]
    return ["/".join(parts[: depth + 1]) for depth in range(len(parts))]


def read_entry(path: str, read: bool, follow: bool = False) -> Entry | None:
    """Return what is at ``path``, or None.

    The text of a file comes along with ``read``, or when the file is small and open to everyone.
    """
    try:
        info = os.stat(path) if follow else os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    mode = stat.S_IMODE(info.st_mode)
    if stat.S_ISDIR(info.st_mode):
        return Entry("directory", mode, info.st_uid, info.st_gid)
    if stat.S_ISLNK(info.st_mode):
        return Entry("link", mode, info.st_uid, info.st_gid, target=os.readlink(path))
    if not stat.S_ISREG(info.st_mode):
        return Entry("other", mode, info.st_uid, info.st_gid)
    content: bytes | None = None
    if read or (mode & stat.S_IROTH and info.st_size <= LARGEST_DIFF_BYTES):
        with open(path, "rb") as handle:
            content = handle.read()
    return Entry("file", mode, info.st_uid, info.st_gid, content)


def scan(root: str, read: Iterable[str] | None = None) -> dict[str, Entry]:
    """Return what is in a project, keyed by relative name ("." is the project itself).

    Links are not followed, and RESERVED names are left out. ``read`` names the files whose text is needed; None
    means all of them. A missing project gives an empty dictionary.
    """
    names = None if read is None else set(read)
    top = read_entry(root, False)
    if top is None:
        return {}
    if top.kind != "directory":
        raise ProjectError(
            f"path: {root} is there, but it is no directory ({top.kind}); give the real directory or move it away"
        )
    found = {".": top}
    pending = [""]
    while pending:
        below = pending.pop()
        for item in sorted(os.listdir(posixpath.join(root, below))):
            name = posixpath.join(below, item)
            if name in RESERVED:
                continue
            entry = read_entry(posixpath.join(root, name), names is None or name in names)
            if entry is not None:
                found[name] = entry
                if entry.kind == "directory":
                    pending.append(name)
    return found


def plan_inside(root: str, wanted: Mapping[str, Wanted], current: Mapping[str, Entry]) -> list[Step]:
    """Return the steps that turn ``current`` into ``wanted``.

    Removals come first (the deepest first), then directories (the top first), then files.
    """
    return _plan(wanted, current, lambda name: root if name == "." else posixpath.join(root, name))


def plan_files(wanted: Mapping[str, Wanted], current: Mapping[str, Entry]) -> list[Step]:
    """Return the steps that turn ``current`` into ``wanted``, both keyed by absolute path."""
    return _plan(wanted, current, str)


def _plan(wanted: Mapping[str, Wanted], current: Mapping[str, Entry], place: Callable[[str], str]) -> list[Step]:
    removals = {name for name, entry in current.items() if name not in wanted or wanted[name].kind != entry.kind}
    steps = [
        Step("remove", name, place(name), None, current[name])
        for name in sorted(removals, key=lambda name: (-name.count("/"), name))
    ]
    order = sorted(wanted, key=lambda name: (wanted[name].kind != "directory", name != ".", name))
    for name in order:
        entry = None if name in removals else current.get(name)
        steps.extend(_steps_for(name, place(name), wanted[name], entry))
    return steps


def plan_outside(outside: Mapping[str, Wanted]) -> list[Step]:
    """Return the steps for directories outside the project, such as data directories. Nothing in them is looked at."""
    steps: list[Step] = []
    for path in sorted(outside):
        entry = read_entry(path, False, follow=True)
        if entry is not None and entry.kind != "directory":
            raise ProjectError(f"directories: {path} is there, but it is no directory; move it away")
        wanted = outside[path]
        if entry is None and wanted.mode is None:
            wanted = replace(wanted, mode=DIRECTORY_MODE)
        steps.extend(_steps_for(path, path, wanted, entry))
    return steps


def _steps_for(name: str, path: str, wanted: Wanted, entry: Entry | None) -> list[Step]:
    """Return the steps for one wanted thing, where ``entry`` is what is there and of the same kind."""
    if entry is None:
        return [Step("create", name, path, wanted, None)]
    steps: list[Step] = []
    if (wanted.kind == "file" and wanted.content != entry.content) or (
        wanted.kind == "link" and wanted.target != entry.target
    ):
        steps.append(Step("content", name, path, wanted, entry))
    differs = [
        want is not None and want != have
        for want, have in ((wanted.mode, entry.mode), (wanted.uid, entry.uid), (wanted.gid, entry.gid))
    ]
    if any(differs if wanted.kind != "link" else differs[1:]):
        steps.append(Step("attributes", name, path, wanted, entry))
    return steps


def wanted_of(snapshot: Mapping[str, Entry], root: Entry) -> dict[str, Wanted]:
    """Return a snapshot as things wanted; the project's own mode and owner stay as they are (``root``)."""
    wanted = {
        name: Wanted(
            entry.kind, entry.mode, entry.uid, entry.gid, entry.content or b"", entry.target, not entry.world_readable
        )
        for name, entry in snapshot.items()
        if entry.kind != "other"
    }
    wanted["."] = Wanted("directory", root.mode, root.uid, root.gid)
    return wanted


def changed_names(steps: Iterable[Step]) -> tuple[list[str], list[str], list[str]]:
    """Return (files written or repaired, directories made or repaired, files and directories removed), each sorted.

    A directory that is removed ends with a slash. A thing that is replaced by one of another kind counts as both.
    """
    files: set[str] = set()
    directories: set[str] = set()
    removed: set[str] = set()
    for step in steps:
        if step.action == "remove":
            removed.add(step.name + ("/" if step.kind == "directory" else ""))
        elif step.kind == "directory":
            directories.add(step.name)
        else:
            files.add(step.name)
    return sorted(files), sorted(directories), sorted(removed)


def describe_steps(steps: Iterable[Step]) -> list[dict[str, str]]:
    """Return the steps in the form of Ansible's ``diff``. The text of a secret, old or new, is never in it."""
    shown: list[dict[str, str]] = []
    for step in steps:
        header = step.path
        if step.action == "attributes" and step.wanted is not None and step.current is not None:
            header += " (attributes)"
            before, after = _attribute_text(step.current, step.wanted), _attribute_text(step.wanted, step.wanted)
        elif step.action == "remove":
            before, after = _removed_text(step.current), ""
        else:
            before, after = _text_before(step), _text_after(step)
        shown.append({"before_header": header, "after_header": header, "before": before, "after": after})
    return shown


def _attribute_text(shown: Entry | Wanted, compared: Wanted) -> str:
    """Return mode, owner and group, each only where the declaration says something about it."""
    lines = []
    if compared.mode is not None and shown.mode is not None:
        lines.append(f"mode: {shown.mode:04o}")
    for label, wanted, value in (("owner", compared.uid, shown.uid), ("group", compared.gid, shown.gid)):
        if wanted is not None:
            lines.append("{}: {}".format(label, "(not on this box yet)" if value == UNKNOWN_ID else value))
    return "\n".join(lines) + "\n"


def _removed_text(entry: Entry | None) -> str:
    """Return what a removed thing was; the text only of a file that everyone could read."""
    if entry is None or entry.kind != "file":
        return "(%s)\n" % (entry.kind if entry is not None else "unknown")
    return _printable(entry.content) if entry.world_readable else "(file, content not shown)\n"


def _text_before(step: Step) -> str:
    """Return the old text of a file; hidden where the file is a secret now or may have been one before."""
    if step.current is None or step.wanted is None:
        return ""
    if step.wanted.secret:
        return "(secret, not shown)\n"
    if step.current.kind == "link":
        return f"link to {step.current.target}\n"
    mode = step.current.mode
    same_readers = mode == step.wanted.mode and mode & stat.S_IRGRP
    return (
        _printable(step.current.content) if step.current.world_readable or same_readers else "(old content not shown)\n"
    )


def _text_after(step: Step) -> str:
    """Return the new text of a file, or what else is created."""
    if step.wanted is None:
        return ""
    if step.wanted.kind == "directory":
        return "directory\n" + _attribute_text(step.wanted, step.wanted)
    if step.wanted.kind == "link":
        return f"link to {step.wanted.target}\n"
    if step.wanted.secret:
        return "(secret, not shown; %s)\n" % ("new" if step.current is None else "changed")
    return _printable(step.wanted.content)


def _printable(content: bytes | None) -> str:
    """Return a file's text, or a line about it where it is too large or no text."""
    if content is None or len(content) > LARGEST_DIFF_BYTES:
        return "(large file, content not shown)\n"
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return f"({len(content)} bytes that are no text)\n"


def is_uncommitted(root: str) -> bool:
    """Whether nobody confirmed yet that what is on disk works."""
    return os.path.lexists(posixpath.join(root, UNFINISHED))


def has_state_before(root: str) -> bool:
    """Whether there is a copy of what was deployed before the change that waits to be committed."""
    copy = posixpath.join(root, UNFINISHED)
    return os.path.isdir(copy) and bool(os.listdir(copy))


def was_deployed(root: str) -> bool:
    """Whether a project was there before this run; what a first run left behind uncommitted does not count."""
    if is_uncommitted(root):
        return has_state_before(root)
    return os.path.isdir(root) and not RESERVED.issuperset(os.listdir(root))


def replaced_in(root: str) -> int | None:
    """Return the generation in which the state in ``.previous`` was replaced; None when there is none."""
    return generations.read(posixpath.join(root, PREVIOUS), REPLACED_IN)


def can_go_back(root: str) -> bool:
    """Whether the last good state is another one than what is there."""
    return replaced_in(root) is not None and differs_from_copy(root, posixpath.join(root, PREVIOUS))


def check_ownership(root: str) -> None:
    """Refuse a folder that holds something and was not made by this module: its files would be removed.

    Raises:
        ProjectError: it belongs to somebody else.
    """
    if os.path.isdir(root) and os.listdir(root) and not os.path.lexists(posixpath.join(root, MANAGED)):
        raise ProjectError(
            f"path: {root} is there and is not this gateway's, so nothing in it is touched. "
            "Name another folder in llm_deploy_dir (group_vars/all/gateway.yml), or move that one away"
        )


def commit(root: str) -> None:
    """Note that what is on disk works; what was there before becomes ``.previous``, where `make rollback` finds it.

    Only a state that was verified is worth going back to. While a generation lasts, that is until the gateway is
    verified again, the first change of a project keeps it and the later ones leave it alone.
    """
    before, previous = posixpath.join(root, UNFINISHED), posixpath.join(root, PREVIOUS)
    generation = generations.current(posixpath.dirname(root))
    if generation and has_state_before(root) and differs_from_copy(root, before) and replaced_in(root) != generation:
        # Into the copy itself, so that whoever is killed here leaves either all of it or nothing.
        generations.write(before, REPLACED_IN, generation)
        remove_tree(previous)
        os.rename(before, previous)
    remove_tree(before)


def differs_from_copy(root: str, copy: str) -> bool:
    """Whether a project is not what a copy of it holds."""
    current = scan(root)
    return bool(plan_inside(root, wanted_of(scan(copy), current["."]), current))


def keep_state_before(root: str) -> None:
    """Copy a project, owners and modes included, into its ``.unfinished`` (0700): it is uncommitted from then on."""
    staging = posixpath.join(root, UNFINISHED_STAGING)
    remove_tree(staging)
    os.mkdir(staging, 0o700)
    snapshot = scan(root, read=()) if was_deployed(root) else {}
    for name in sorted(snapshot):
        if name != "." and snapshot[name].kind != "other":
            _copy(posixpath.join(root, name), posixpath.join(staging, name), snapshot[name])
    os.close(os.open(posixpath.join(root, MANAGED), os.O_WRONLY | os.O_CREAT, 0o600))
    os.rename(staging, posixpath.join(root, UNFINISHED))


def _copy(source: str, target: str, entry: Entry) -> None:
    """Copy one thing with its owner, mode and time, without following links."""
    if entry.kind == "directory":
        os.mkdir(target, 0o700)
    elif entry.kind == "link":
        os.symlink(entry.target, target)
    else:
        shutil.copy2(source, target, follow_symlinks=False)
    _set_attributes(target, Wanted(entry.kind, entry.mode, entry.uid, entry.gid))


def remove_tree(path: str) -> None:
    """Remove a file, a link (not what it points at) or a whole directory; nothing there is fine."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def apply_steps(steps: Iterable[Step], move: Move, temporary: str | None = None) -> None:
    """Carry the steps out. ``move(source, target)`` replaces a file atomically (AnsibleModule.atomic_move).

    New files are made without any right for others until their owner and mode are set, so no secret is ever open.
    """
    umask = os.umask(0o077)
    try:
        for step in steps:
            if step.action == "remove":
                remove_tree(step.path)
            elif step.wanted is None:
                raise ProjectError(f"{step.path}: there is nothing to {step.action}")
            elif step.action == "attributes":
                _set_attributes(step.path, step.wanted)
            elif step.kind == "directory":
                make_parents(step.path)
                os.mkdir(step.path, 0o700)
                _set_attributes(step.path, step.wanted)
            elif step.kind == "link":
                remove_tree(step.path)
                os.symlink(step.wanted.target, step.path)
                _set_attributes(step.path, step.wanted)
            else:
                _write(step.path, step.wanted, step.current is not None, move, temporary)
    finally:
        os.umask(umask)


def put_in_place(root: str, steps: list[Step], move: Move, temporary: str | None = None) -> None:
    """Carry out the steps inside a project and leave it uncommitted.

    What was deployed is kept in ``.unfinished`` first. While the project is uncommitted that copy stays as it is,
    because nobody knows whether what is on disk then works, and a killed run may have left half of it.
    """
    rest = steps
    if steps and not os.path.isdir(root):
        apply_steps(steps[:1], move, temporary)
        rest = steps[1:]
    if steps and not is_uncommitted(root):
        keep_state_before(root)
    apply_steps(rest, move, temporary)


def _write(path: str, wanted: Wanted, there: bool, move: Move, temporary: str | None) -> None:
    """Write one file. The old one gets the new owner and mode first, because atomic_move hands them on."""
    if there:
        _set_attributes(path, wanted)
    handle, source = tempfile.mkstemp(dir=temporary)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(wanted.content)
        move(source, path)
    finally:
        if os.path.lexists(source):
            os.unlink(source)
    _set_attributes(path, wanted)


def _set_attributes(path: str, wanted: Wanted) -> None:
    """Set owner and mode where they differ; a link's own owner, never that of what it points at."""
    link = wanted.kind == "link"
    info = os.lstat(path) if link else os.stat(path)
    uid = info.st_uid if wanted.uid is None else wanted.uid
    gid = info.st_gid if wanted.gid is None else wanted.gid
    if (uid, gid) != (info.st_uid, info.st_gid):
        os.chown(path, uid, gid, follow_symlinks=not link)
        info = os.lstat(path) if link else os.stat(path)
    if not link and wanted.mode is not None and stat.S_IMODE(info.st_mode) != wanted.mode:
        os.chmod(path, wanted.mode)


def make_parents(path: str) -> None:
    """Make the missing directories above ``path``: 0755, owned by the running user. Others are left alone."""
    missing: list[str] = []
    above = posixpath.dirname(path)
    while not os.path.isdir(above):
        missing.append(above)
        above = posixpath.dirname(above)
    for directory in reversed(missing):
        os.mkdir(directory, DIRECTORY_MODE)
        os.chmod(directory, DIRECTORY_MODE)
