#!/usr/bin/python
# Copyright: LLM gateway authors
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
"""Ansible module: add a client of the gateway to the catalog and its key to the vault, or change the key over."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_client
short_description: Add a client of the gateway, or change its key over
description:
  - Runs on the control machine. It makes a random key, puts it into the encrypted vault and names the client in the
    catalog, where comments and order stay.
  - The decrypted vault goes through pipes of C(ansible-vault) only and never touches the disk. Each file is replaced in
    one step, the vault first; a run that was ended between the two is picked up by the same task.
  - What cannot be changed without guessing is refused before anything is written, with the lines to write by hand.
  - The result holds a key. Give the task C(no_log).
version_added: 0.1.0
author: LLM gateway authors (@homelab)
options:
  name:
    description: The client.
    type: str
    required: true
  step:
    description:
      - V(add) makes the client with one key.
      - V(rotate) gives it a second key, so that both are valid.
      - V(finish) makes the second key its only one.
    type: str
    choices: [add, rotate, finish]
    default: add
  project_dir:
    description: Folder of the project, with C(ansible.cfg) and C(group_vars).
    type: path
    required: true
  password_file:
    description: File that holds, or command that prints, the password of the vault.
    type: path
    required: true
  vault_command:
    description: Path of C(ansible-vault).
    type: path
    required: true
attributes:
  check_mode:
    support: full
    description: Says what would be refused; makes no key.
  diff_mode:
    support: none
    description: The files may hold keys, and the result holds one.
requirements:
  - PyYAML, which comes with Ansible
"""

EXAMPLES = r"""
- name: Add a client
  homelab.llm_gateway.gateway_client:
    name: chat-ui
    project_dir: "{{ playbook_dir }}/.."
    password_file: "{{ playbook_dir }}/../.vault-password"
    vault_command: "{{ ansible_playbook_python | dirname }}/ansible-vault"
  no_log: true
  register: made
"""

RETURN = r"""
key:
  description: A key that nobody has seen yet; null when there is none, and in check mode.
  returned: success
  type: str
notes:
  description: Sentences for the user, without any key.
  returned: success
  type: list
  elements: str
"""

import os
import subprocess
import tempfile
from contextlib import suppress
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.catalog.problems import VAULT_FILE
from ..module_utils.clients import changes, names

ENCRYPTED = "$ANSIBLE_VAULT;"
# ansible-core lib/ansible/parsing/vault/__init__.py, VaultLib.decrypt_and_get_vault_id.
NOT_OPENED = "no vault secrets were found that could decrypt"
COMMAND_SECONDS = 120


class Vault:
    """The encrypted file, read and made by ``ansible-vault`` through pipes."""

    def __init__(self, command: str, password_file: str, folder: str) -> None:
        """Keep where the command, the password and the settings of Ansible are."""
        self._command = command
        self._folder = folder
        self._password_name = os.path.relpath(password_file, folder)
        if self._password_name.startswith(os.pardir):
            self._password_name = password_file
        self._environment = {**os.environ, "ANSIBLE_VAULT_PASSWORD_FILE": os.path.abspath(password_file)}

    def decrypted(self, text: str) -> str:
        """Return the clear text of an encrypted one.

        Raises:
            changes.Refused: the password does not open it.
        """
        return self._run("decrypt", text)

    def encrypted(self, text: str) -> str:
        """Return an encrypted text, after having opened it again to see that nothing is lost.

        Raises:
            changes.Refused: it cannot be encrypted.
        """
        made = self._run("encrypt", text)
        if not made.startswith(ENCRYPTED) or self.decrypted(made) != text:
            raise changes.Refused("ansible-vault gave back something else than it was given, so nothing was written")
        return made

    def _run(self, verb: str, text: str) -> str:
        try:
            done = subprocess.run(
                [self._command, verb, "--output", "-", "-"],
                input=text.encode(),
                capture_output=True,
                cwd=self._folder,
                env=self._environment,
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise changes.Refused(f"{self._command} cannot be run: {type(error).__name__}") from None
        if done.returncode != 0:
            # What it says names files and reasons; the vault's text goes to its standard output alone.
            reason = done.stderr.decode(errors="replace").strip()
            if NOT_OPENED in reason:
                raise changes.Refused(
                    f"{self._password_name} does not open {VAULT_FILE}: it holds another password. "
                    f"Put the right one there, or set ANSIBLE_VAULT_PASSWORD_FILE to the file that holds it"
                )
            raise changes.Refused(f"ansible-vault {verb} failed on {VAULT_FILE}: {reason}")
        return done.stdout.decode()


def read(path: str, name: str, instead: str) -> str:
    """Return the text of a file.

    Raises:
        changes.Refused: it is missing or not readable as UTF-8.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()
    except FileNotFoundError:
        raise changes.Refused(f"{name} is missing. {instead}") from None
    except UnicodeDecodeError:
        raise changes.Refused(f"{name} is not UTF-8 text. Save it as that") from None
    except OSError as error:
        raise changes.Refused(f"{name} cannot be read: {error.strerror}") from None


def replace(path: str, before: str, after: str, name: str) -> None:
    """Replace a file in one step, with the same mode and owner.

    Raises:
        changes.Refused: it was changed meanwhile, or its folder cannot be written to.
    """
    if before == after:
        return
    # A link stays one.
    path = os.path.realpath(path)
    if read(path, name, "Run this again") != before:
        raise changes.Refused(f"{name} was changed by somebody else meanwhile. Run this again")
    new = ""
    try:
        old = os.stat(path)
        # Ansible does not load files whose names start with a dot.
        handle, new = tempfile.mkstemp(dir=os.path.dirname(path), prefix=f".{os.path.basename(path)}.")
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(after)
            file.flush()
            os.fchmod(file.fileno(), old.st_mode & 0o777)
            if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                with suppress(PermissionError):
                    os.fchown(file.fileno(), old.st_uid, old.st_gid)
            os.fsync(file.fileno())
        os.replace(new, path)
    except OSError as error:
        raise changes.Refused(f"{name} cannot be written: {error.strerror}") from None
    finally:
        if new:
            with suppress(FileNotFoundError):
                os.unlink(new)


def planned(step: str, name: str, texts: changes.Texts) -> changes.Change:
    """Return the change of a step.

    Raises:
        changes.Refused: it cannot be made.
    """
    if step == "finish":
        return changes.finish(name, texts)
    make = changes.rotate if step == "rotate" else changes.add
    return make(name, texts, names.new_key)


def change(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Make the change and return the result.

    Raises:
        changes.Refused: nothing was changed, or only the vault; the same task then picks it up.
    """
    problem = names.name_problem(params["name"])
    if problem:
        raise changes.Refused(problem)
    vault_file = os.path.join(params["project_dir"], VAULT_FILE)
    clients_file = os.path.join(params["project_dir"], changes.CLIENTS_FILE)
    sealed = read(vault_file, VAULT_FILE, "Make it first: make secrets")
    if not sealed.startswith(ENCRYPTED):
        raise changes.Refused(
            f"{VAULT_FILE} is not encrypted, so no key is put into it. "
            f"Run: .venv/bin/ansible-vault encrypt {VAULT_FILE}"
        )
    clients = read(clients_file, changes.CLIENTS_FILE, "Write one with the line: llm_clients: []")
    vault = Vault(params["vault_command"], params["password_file"], params["project_dir"])
    before = changes.Texts(clients, vault.decrypted(sealed))
    made = planned(params["step"], params["name"], before)
    if check_mode:
        return {"changed": made.texts != before, "key": None, "notes": list(made.notes)}
    if made.texts.vault != before.vault:
        replace(vault_file, sealed, vault.encrypted(made.texts.vault), VAULT_FILE)
    replace(clients_file, clients, made.texts.clients, changes.CLIENTS_FILE)
    return {"changed": made.texts != before, "key": made.key, "notes": list(made.notes)}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "step": {"type": "str", "choices": ["add", "rotate", "finish"], "default": "add"},
            "project_dir": {"type": "path", "required": True},
            "password_file": {"type": "path", "required": True, "no_log": False},
            "vault_command": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        result = change(module.params, module.check_mode)
    except changes.Refused as reason:
        module.fail_json(msg=str(reason))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
