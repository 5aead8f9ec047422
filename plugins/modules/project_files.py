#!/usr/bin/python
# Copyright: LLM gateway authors
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
"""Ansible module: the whole directory of one Compose project in one task."""

from __future__ import annotations

DOCUMENTATION = r"""
module: project_files
short_description: Write the directory of one Compose project
description:
  - Writes all files of one directory in one task, removes what is not declared, and repairs owners and modes.
  - Each file is replaced atomically. Mount the directory into containers, never a single file.
  - Before anything changes, a complete copy of the old state is kept in C(.previous) inside the directory (mode 0700),
    so that O(state=restored) can go back.
  - The directory holds only what is declared. Keep data in directories outside it.
  - The text of a secret is in no output, diff or log of this module.
options:
  path:
    description:
      - The project's directory, absolute. A directory directly below the root of the file system is refused.
      - It gets mode 0755 and the running user as owner, unless O(directories) says otherwise under the name C(.).
      - Missing directories above it are made with mode 0755.
    type: path
    required: true
  state:
    description:
      - V(present) writes what is declared.
      - V(absent) removes O(path) with its copy, and nothing outside it.
      - V(restored) puts back what C(.previous) holds, and fails where there is none. The copy stays.
    type: str
    choices: [present, absent, restored]
    default: present
  files:
    description:
      - Files by their path relative to O(path). Each has C(content) (text), and optionally C(mode) (quoted octal
        string, default V("0644")), C(owner) and C(group) (name or number, default the running user).
      - Their text is shown in the diff. Declare a file that holds a secret under O(secrets).
    type: dict
    default: {}
  secrets:
    description:
      - Like O(files), for files whose text must never be shown. The default mode is V("0400"); a mode that lets
        everyone in is refused.
      - The diff says only that a secret is new or changed.
      - A content shorter than 8 characters is refused, since Ansible masks its text wherever it occurs in the output.
        Modes, owners and groups given here are not masked.
    type: dict
    default: {}
  directories:
    description:
      - Directories that are made before the files, by path. Each may have C(mode), C(owner) and C(group).
      - A relative path lies inside O(path); C(.) is O(path) itself. Mode 0755 and the running user are the defaults,
        and are repaired.
      - An absolute path lies outside O(path), such as a data directory. It is made when missing (0755 by default).
        Of one that is there, only what is given is repaired. It is never removed, and what it holds is never touched.
    type: dict
    default: {}
  previous:
    description: Whether to keep the copy of the old state before something changes.
    type: bool
    default: true
  prune:
    description: Whether to remove what lies in O(path) and is not declared.
    type: bool
    default: true
notes:
  - Supports C(check_mode), which reports exactly what a real run would change, and C(diff_mode).
author:
  - LLM gateway authors (@homelab)
"""

EXAMPLES = r"""
- name: Write the Redis project
  homelab.llm_gateway.project_files:
    path: /opt/llm-gateway/redis
    directories:
      /var/lib/llm-gateway/redis: {mode: "0700", owner: 999, group: 999}
      secrets: {mode: "0750", group: 999}
    files:
      compose.yml: {content: "{{ lookup('ansible.builtin.template', 'compose.yml.j2') }}"}
      config/redis.conf: {content: "{{ lookup('ansible.builtin.template', 'redis.conf.j2') }}"}
    secrets:
      secrets/users.acl: {content: "{{ lookup('ansible.builtin.template', 'users.acl.j2') }}", owner: 999, group: 999}

- name: Go back to the files before the last change
  homelab.llm_gateway.project_files:
    path: /opt/llm-gateway/redis
    state: restored

- name: Remove the project, not its data
  homelab.llm_gateway.project_files:
    path: /opt/llm-gateway/redis
    state: absent
"""

RETURN = r"""
existed:
  description: Whether the project was there before this run. What a killed first run left behind does not count.
  returned: success
  type: bool
restorable:
  description:
    - Whether O(state=restored) goes back to the state before this run. False where nothing inside O(path) changed, if
      the project was not there before, and without O(previous).
  returned: success
  type: bool
changed_files:
  description: Files written, or repaired in owner or mode; relative names.
  returned: success
  type: list
  elements: str
  sample: [compose.yml]
changed_directories:
  description: Directories made or repaired; relative names inside the project, absolute ones outside it.
  returned: success
  type: list
  elements: str
removed_files:
  description: Files and directories removed; relative names, a directory ends with a slash.
  returned: success
  type: list
  elements: str
sha256:
  description: Hash over the names and texts of all files that are declared, or restored. Empty for O(state=absent).
  returned: success
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.project import files as project


def write(module: AnsibleModule, path: str) -> dict[str, Any]:
    """Put what is declared in place and return the module's result."""
    params = module.params
    declaration = project.declare(path, params["files"], params["secrets"], params["directories"])
    if declaration.unknown_owners and not module.check_mode:
        raise project.DeclarationError(list(declaration.unknown_owners))
    for unknown in declaration.unknown_owners:
        module.warn(unknown)
    current = project.scan(path, read=declaration.inside)
    outside = project.plan_outside(declaration.outside)
    inside = project.plan_inside(path, declaration.inside, current, params["prune"])
    existed = project.was_deployed(path)
    writes = bool(inside) or project.was_interrupted(path)
    if not module.check_mode:
        project.apply_steps(outside, module.atomic_move, module.tmpdir)
        project.put_in_place(path, inside, params["previous"], module.atomic_move, module.tmpdir)
    result = report(outside + inside, existed, project.content_hash(declaration.inside))
    result["restorable"] = existed and writes and params["previous"]
    return result


def restore(module: AnsibleModule, path: str) -> dict[str, Any]:
    """Put the kept copy back and return the module's result."""
    kept = project.scan(path + "/" + project.PREVIOUS)
    if not kept:
        raise project.ProjectError(f"path: {path} holds no copy of a previous state ({project.PREVIOUS})")
    current = project.scan(path)
    wanted = project.wanted_of(kept, current["."])
    steps = project.plan_inside(path, wanted, current, prune=True)
    if not module.check_mode:
        project.put_in_place(path, steps, False, module.atomic_move, module.tmpdir)
    return report(steps, True, project.content_hash(wanted))


def remove(module: AnsibleModule, path: str) -> dict[str, Any]:
    """Remove the project and return the module's result."""
    current = project.scan(path, read=())
    existed = project.was_deployed(path)
    steps = project.plan_inside(path, {}, current, prune=True)
    if current and not module.check_mode:
        project.remove_tree(path)
    return report(steps, existed, "")


def report(steps: list[project.Step], existed: bool, sha256: str) -> dict[str, Any]:
    """Return the module's result for these steps."""
    changed_files, changed_directories, removed_files = project.changed_names(steps)
    return {
        "changed": bool(steps),
        "existed": existed,
        "restorable": False,
        "changed_files": changed_files,
        "changed_directories": changed_directories,
        "removed_files": removed_files,
        "sha256": sha256,
        "diff": project.describe_steps(steps),
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["present", "absent", "restored"], "default": "present"},
            "files": {"type": "dict", "default": {}},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "directories": {"type": "dict", "default": {}},
            "previous": {"type": "bool", "default": True},
            "prune": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    module.no_log_values.difference_update(project.printable_leaves(module.params["secrets"]))
    act = {"present": write, "restored": restore, "absent": remove}[module.params["state"]]
    try:
        result = act(module, project.check_project_path(module.params["path"]))
    except (project.DeclarationError, project.ProjectError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg="{}: {}".format(error.filename or module.params["path"], error.strerror or error))
    if not module._diff:  # noqa: SLF001 (AnsibleModule has no public name for it)
        del result["diff"]
    module.exit_json(**result)


if __name__ == "__main__":
    main()
