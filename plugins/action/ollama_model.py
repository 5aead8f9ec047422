"""Runs the module ``ollama_model`` and prints how far it is while it works."""

from __future__ import annotations

import json
import secrets
import shlex
import time
from pathlib import Path, PurePosixPath
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..module_utils.ollama.gguf import file_digest
from ..module_utils.ollama.progress import Report, as_line

# A model of a hundred gigabytes on a slow line takes a day.
_LIMIT_S = 2 * 86400
# Most work takes a second or two, so the first looks follow closely; the last of these is repeated.
_PAUSES_S = (0.3, 0.5, 1.0, 1.0, 1.0, 2.5)
# With a pause and a slow connection on top, a line comes at least every ten seconds.
_LINE_EVERY_S = 6.0
# What takes less is over before it is read.
_FIRST_LINE_S = 3.0
# Longer than any pause, so that a file that was not written again tells something about the job.
_ASK_ABOUT_JOB_S = 10.0
# How much longer than Ollama may be silent itself a job may be.
_JOB_SILENCE_S = 120.0
_OF_JOB = ("started", "finished", "results_file", "stdout", "stderr", "stdout_lines", "stderr_lines")

display = Display()


class ActionModule(ActionBase):
    """Looks first, in one quick call, and starts a job on the box only where something is to be done."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's results."""
        results: dict[str, Any] = super().run(tmp, task_vars)
        wrap_async = bool(self._task.async_val)
        removes = self._task.args.get("state") in ("absent", "only")
        plain = wrap_async or self._task.check_mode or removes
        if not removes:
            self._sum_files()
        if wrap_async and not removes and any(_is_here(entry) for entry in self._files()):
            raise AnsibleActionFail(
                "gguf: with async nobody waits to bring a file of this machine to the box. Copy it there by a task "
                "before this one and write remote_src: true, or leave async out."
            )
        if plain:
            results.update(self._execute_module(task_vars=task_vars, wrap_async=wrap_async))
        else:
            results.update(self._look(task_vars))
            if results.get("changed") and not results.get("failed"):
                arguments, folder = self._bring(results["uploads"])
                try:
                    results = self._work(arguments, task_vars)
                finally:
                    self._remove_tmp_path(folder, force=True)
        return results

    def _files(self) -> list[dict[str, Any]]:
        """The entries of gguf; none where they are not what they should be, which is the module's to tell."""
        entries = self._task.args.get("gguf")
        return entries if isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries) else []

    def _sum_files(self) -> None:
        """Add to the files of this machine where they lie and their sums, by which the module asks for them."""
        entries = [dict(entry) for entry in self._files()]
        for entry in entries:
            if "path" in entry and _is_here(entry):
                entry["path"] = self._find_needle("files", entry["path"])
                entry["sha256"] = entry.get("sha256") or file_digest(entry["path"])
        if entries:
            self._task.args["gguf"] = entries

    def _bring(self, wanted: list[str]) -> tuple[dict[str, Any], str | None]:
        """Copy those of the files to the box that its server lacks.

        Returns the module's arguments with their paths there, and the folder that holds them, if there is one.
        """
        folder = None
        # The task keeps its own, for it may be tried again.
        entries = [dict(entry) for entry in self._files()]
        for entry in entries:
            if not _is_here(entry) or entry["sha256"].lower() not in wanted:
                continue
            folder = folder or self._make_tmp_path()
            size = Path(entry["path"]).stat().st_size
            display.display(f"copying {entry['path']} to the box, {size / 10**9:.1f} GB")
            path = self._transfer_file(entry["path"], f"{folder}/{entry['sha256']}.gguf")
            self._fixup_perms2((folder, path))
            entry["path"] = path
        return {**self._task.args, **({"gguf": entries} if entries else {})}, folder

    def _look(self, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """What the module would do."""
        self._task.check_mode = True
        try:
            seen: dict[str, Any] = self._execute_module(task_vars=task_vars)
        finally:
            self._task.check_mode = False
        return seen

    def _work(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Do it as a job on the box, and print how far it is until it ends."""
        folder = self.get_shell_option("async_dir", default="~/.ansible_async")
        name = f"ollama_model-{secrets.token_hex(8)}.progress"
        self._task.async_val = _LIMIT_S
        try:
            arguments = {**arguments, "progress_file": f"{folder}/{name}"}
            job = self._execute_module(module_args=arguments, task_vars=task_vars, wrap_async=True)
        finally:
            self._task.async_val = 0
        if job.get("failed") or "ansible_job_id" not in job:
            return dict(job)
        # Where the job sees its home may differ from what Ansible makes of it here.
        folder = str(PurePosixPath(job["results_file"]).parent)
        known = {"jid": job["ansible_job_id"], "_async_dir": folder}
        ended = self._follow(f"{folder}/{name}", known, task_vars)
        # A job that was ended from outside could not.
        self._low_level_execute_command(f"rm -f {shlex.quote(f'{folder}/{name}')}")
        self._job(known, "cleanup", task_vars)
        return {key: value for key, value in ended.items() if not key.startswith("ansible_job") and key not in _OF_JOB}

    def _follow(self, path: str, known: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Print how far the job is; returns its results when it has ended."""
        lines = Lines(task_vars or {})
        silence_s = float(self._task.args.get("timeout", 900)) + _JOB_SILENCE_S
        pauses = iter(_PAUSES_S)
        while True:
            time.sleep(next(pauses, _PAUSES_S[-1]))
            # Before the work begins and after its end there is no file.
            lines.take(self._low_level_execute_command(f"cat {shlex.quote(path)} 2>/dev/null")["stdout"])
            if lines.news:
                continue
            job = self._job(known, "status", task_vars)
            if job.get("finished") or job.get("failed"):
                return job
            if lines.silent_s > silence_s:
                return {
                    "failed": True,
                    "msg": f"The job that holds the models has not been heard of for {lines.silent_s:.0f} seconds: it "
                    "was ended from outside, or the box restarted. Run again: a pull continues where it stopped.",
                }

    def _job(self, known: dict[str, Any], mode: str, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Ask about the job, or forget it."""
        asked: dict[str, Any] = self._execute_module(
            module_name="ansible.legacy.async_status", module_args={**known, "mode": mode}, task_vars=task_vars
        )
        return asked


def _is_here(entry: dict[str, Any]) -> bool:
    """Whether a file lies on the machine that runs Ansible."""
    return not boolean(entry.get("remote_src", False))


class Lines:
    """What the user is shown of the progress of one box."""

    def __init__(self, task_vars: dict[str, Any]) -> None:
        now_s = time.monotonic()
        self._host = task_vars.get("inventory_hostname", "")
        self._text = ""
        self._heard_s = now_s
        self._step: tuple[str, ...] = ()
        self._step_s = now_s
        self._shown_s = now_s + _FIRST_LINE_S - _LINE_EVERY_S

    @property
    def silent_s(self) -> float:
        """For how long nothing new was read, in seconds."""
        return time.monotonic() - self._heard_s

    @property
    def news(self) -> bool:
        """Whether what was read proves that the job goes on."""
        return bool(self._text) and self.silent_s < _ASK_ABOUT_JOB_S

    def take(self, output: str) -> None:
        """Take in what the file says, and show it when it is time for a line."""
        now_s = time.monotonic()
        # A terminal of ssh's adds what others say, such as sudo, and other ends of lines.
        text = next((line.strip() for line in output.splitlines() if line.startswith("{")), "")
        if text != self._text:
            self._text, self._heard_s = text, now_s
        try:
            report: Report = json.loads(text)
        except ValueError:
            return
        step = (report["doing"], report["model"], report["status"])
        if step != self._step:
            self._step, self._step_s = step, now_s
        if now_s - self._shown_s >= _LINE_EVERY_S:
            self._shown_s = now_s
            display.display(f"{self._host}: {as_line(report, now_s - self._step_s)}")
