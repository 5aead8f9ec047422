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
  - Before anything changes, a complete copy of the old state is kept in C(.unfinished) inside the directory (mode
    0700), so that O(state=restored) can go back.
  - Files that were written or restored are uncommitted until O(state=committed) says that they work. Until then
    that copy is not replaced, so a run that fails, or is killed, never costs the last state that worked.
  - The copy of a committed change becomes C(.previous), if the gateway was verified with it
    (M(homelab.llm_gateway.generation)). It is what O(state=previous) goes back to.
  - The directory holds only what is declared. Keep data in directories outside it.
  - A directory that holds something and was not made by this module is refused, and left alone.
  - Files beside C(compose.yml) whose names end in C(.service) or C(.timer) are units for systemd, and their names begin
    with C(llm-gateway-) and the name of the directory. systemd gets a copy of each; timers are enabled and started.
    Units that systemd has and the directory has not are stopped, disabled and removed.
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
      - V(restored) puts back what was there before the change that is not committed, and fails where there is none.
      - V(previous) puts back what C(.previous) holds, if it was replaced in O(generation); another project is left
        alone. A change that is not committed is taken back instead. The files are uncommitted then, as after
        V(present).
      - V(committed) takes the files that are there as good. Use it when the service runs on them and RV(uncommitted) is
        true. It writes no file of the project, and never counts as a change.
    type: str
    choices: [present, absent, restored, previous, committed]
    default: present
  generation:
    description: The generation that O(state=previous) undoes, as M(homelab.llm_gateway.generation) tells.
    type: int
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
  register: written

- name: Keep the files once the containers are healthy
  homelab.llm_gateway.project_files:
    path: /opt/llm-gateway/redis
    state: committed
  when: written.uncommitted

- name: Go back to the files from before this change
  homelab.llm_gateway.project_files:
    path: /opt/llm-gateway/redis
    state: restored

- name: Go back to the files from before the last verified change
  homelab.llm_gateway.project_files:
    path: /opt/llm-gateway/redis
    state: previous
    generation: 7

- name: Remove the project, not its data
  homelab.llm_gateway.project_files:
    path: /opt/llm-gateway/redis
    state: absent
"""

RETURN = r"""
existed:
  description: Whether the project was there before this run. What a first run left behind uncommitted does not count.
  returned: success
  type: bool
uncommitted:
  description:
    - Whether the files inside O(path) wait for O(state=committed) after this task. True also where this task changed
      nothing, but an earlier one did and nobody committed it.
    - In check mode, what it would be.
  returned: always
  type: bool
restorable:
  description:
    - Whether O(state=restored) goes back from uncommitted files to the last state that worked. False where there is
      nothing uncommitted, or nothing was deployed before.
  returned: always
  type: bool
changed_files:
  description: Files written, or repaired in owner or mode; relative names, absolute ones for the copies of units.
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
  description: Files and directories removed; names as in RV(changed_files), a directory ends with a slash.
  returned: success
  type: list
  elements: str
started_timers:
  description: Timers that were new, changed, stopped or disabled, and run now.
  returned: success
  type: list
  elements: str
  sample: [llm-gateway-redis-look.timer]
"""

import posixpath
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.project import files as project
from ..module_utils.project import generations, units

NO_UNITS = units.UnitPlan(steps=[], stop=[], start=[])


def write(module: AnsibleModule, path: str) -> dict[str, Any]:
    """Put what is declared in place and return the module's result."""
    params = module.params
    declaration = project.declare(path, params["files"], params["secrets"], params["directories"])
    if declaration.unknown_owners and not module.check_mode:
        raise project.DeclarationError(list(declaration.unknown_owners))
    for unknown in declaration.unknown_owners:
        module.warn(unknown)
    project.check_ownership(path)
    current = project.scan(path, read=declaration.inside)
    outside = project.plan_outside(declaration.outside)
    inside = project.plan_inside(path, declaration.inside, current)
    to_systemd = units.plan_units(path, declaration.inside, module.run_command)
    result = report(path, outside + inside, to_systemd, uncommitted=bool(inside) or project.is_uncommitted(path))
    if not module.check_mode:
        project.apply_steps(outside, module.atomic_move, module.tmpdir)
        project.put_in_place(path, inside, module.atomic_move, module.tmpdir)
        units.apply_units(to_systemd, module.atomic_move, module.tmpdir, module.run_command)
    return result


def restore(module: AnsibleModule, path: str) -> dict[str, Any]:
    """Put back what was there before the uncommitted change and return the module's result."""
    if not project.has_state_before(path):
        raise project.ProjectError(f"path: {path} holds no copy of a state before this change ({project.UNFINISHED})")
    return put_back(module, path, project.UNFINISHED)


def go_back(module: AnsibleModule, path: str) -> dict[str, Any]:
    """Put the last good state back, if this generation replaced it, and return the module's result.

    A change that nobody committed, as a killed run leaves it, is taken back whatever the generation.
    """
    if project.has_state_before(path):
        return put_back(module, path, project.UNFINISHED)
    generation = module.params["generation"]
    if generation is None or project.replaced_in(path) != generation:
        return report(path, [], NO_UNITS, uncommitted=False)
    return put_back(module, path, project.PREVIOUS)


def put_back(module: AnsibleModule, path: str, copy: str) -> dict[str, Any]:
    """Put one of the kept copies back and return the module's result; the copy stays."""
    current = project.scan(path)
    wanted = project.wanted_of(project.scan(f"{path}/{copy}"), current["."])
    steps = project.plan_inside(path, wanted, current)
    to_systemd = units.plan_units(path, wanted, module.run_command)
    result = report(path, steps, to_systemd, uncommitted=bool(steps) or project.is_uncommitted(path))
    if not module.check_mode:
        project.put_in_place(path, steps, module.atomic_move, module.tmpdir)
        units.apply_units(to_systemd, module.atomic_move, module.tmpdir, module.run_command)
    return result


def commit(module: AnsibleModule, path: str) -> dict[str, Any]:
    """Take the files that are there as good and return the module's result, which never counts as a change."""
    result = report(path, [], NO_UNITS, uncommitted=False)
    if not module.check_mode:
        project.commit(path)
    return result


def remove(module: AnsibleModule, path: str) -> dict[str, Any]:
    """Remove the project and return the module's result."""
    project.check_ownership(path)
    current = project.scan(path, read=())
    to_systemd = units.plan_units(path, {}, module.run_command)
    result = report(path, project.plan_inside(path, {}, current), to_systemd, uncommitted=False)
    if not module.check_mode:
        units.apply_units(to_systemd, module.atomic_move, module.tmpdir, module.run_command)
    if current and not module.check_mode:
        project.remove_tree(path)
        generations.forget_without_projects(posixpath.dirname(path))
    return result


def report(
    path: str, inside_and_outside: list[project.Step], to_systemd: units.UnitPlan, *, uncommitted: bool
) -> dict[str, Any]:
    """Return the module's result for these steps, which are not carried out yet."""
    steps = [*inside_and_outside, *to_systemd.steps]
    changed_files, changed_directories, removed_files = project.changed_names(steps)
    return {
        "changed": bool(steps or to_systemd.start),
        **standing(path, uncommitted),
        "changed_files": changed_files,
        "changed_directories": changed_directories,
        "removed_files": removed_files,
        "started_timers": to_systemd.start,
        "diff": project.describe_steps(steps) + units.describe_start(to_systemd),
    }


def standing(path: str, uncommitted: bool) -> dict[str, bool]:
    """Return the part of the result that says how to go on, also after a failure."""
    existed = project.was_deployed(path)
    return {"existed": existed, "uncommitted": uncommitted, "restorable": uncommitted and existed}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "state": {
                "type": "str",
                "choices": ["present", "absent", "restored", "previous", "committed"],
                "default": "present",
            },
            "generation": {"type": "int"},
            "files": {"type": "dict", "default": {}},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "directories": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    module.no_log_values.difference_update(project.printable_leaves(module.params["secrets"]))
    states = {"present": write, "absent": remove, "restored": restore, "previous": go_back, "committed": commit}
    act = states[module.params["state"]]
    path = module.params["path"]
    try:
        result = act(module, project.check_project_path(path))
    except (project.DeclarationError, project.ProjectError, ValueError) as error:
        module.fail_json(msg=str(error), **standing(path, project.is_uncommitted(path)))
    except OSError as error:
        text = f"{error.filename or path}: {error.strerror or error}"
        module.fail_json(msg=text, **standing(path, project.is_uncommitted(path)))
    if not module._diff:  # noqa: SLF001 (AnsibleModule has no public name for it)
        del result["diff"]
    module.exit_json(**result)


if __name__ == "__main__":
    main()
