#!/usr/bin/env python3
"""Gives a running box simulated GPUs: gpu_box.py BOX HOST.

HOST is one of `tests/unit/gpu_hosts.py`. What the kernel would tell in /sys and /proc is laid over the box's own, and
device nodes get the numbers of /dev/null, so that they can be opened. None of it survives a restart of the box.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.unit.gpu_hosts import HOSTS

FOLDER = "/run/simulated"
# The kernel offers no place to write in these, so its own entries and the simulated ones are merged.
MERGED = ("sys/bus/pci/devices", "sys/class", "sys/module")
NVIDIA_SMI = f"""#!/bin/sh
# Stands for NVIDIA's command: what it says was put together for the tests.
(: </dev/nvidiactl) 2>/dev/null || {{ echo "Failed to initialize NVML: Unknown Error"; exit 255; }}
cat {FOLDER}/nvidia-smi.csv 2>/dev/null || echo "GPU 0: simulated"
"""


def setup_script(host: str, root: Path) -> str:
    """Return the commands that make a box look like a host, of which the files lie below ``root``."""
    lines = ["set -eu", "getent group render >/dev/null || groupadd --system render"]
    lines += [
        f"mount -t overlay overlay -o lowerdir={FOLDER}/{path}:/{path} /{path}"
        for path in MERGED
        if (root / path).is_dir()
    ]
    if (root / "proc/driver").is_dir():
        lines.append(f"mount --bind {FOLDER}/proc/driver /proc/driver")
    for node in HOSTS[host].nodes:
        mode, group = ("666", "root") if "nvidia" in node else ("660", "render")
        lines.append(f"mkdir -p $(dirname /{node}) && mknod -m {mode} /{node} c 1 3 && chgrp {group} /{node}")
    if (root / "nvidia-smi.csv").is_file():
        lines.append(f"install -m 0755 {FOLDER}/nvidia-smi /usr/bin/nvidia-smi")
    return "\n".join(lines) + "\n"


def main(box: str, host: str) -> None:
    """Make the box look like the host. Raises CalledProcessError, KeyError where there is no such host."""
    with tempfile.TemporaryDirectory() as folder:
        root = HOSTS[host].write(Path(folder))
        (root / "nvidia-smi").write_text(NVIDIA_SMI)
        for node in HOSTS[host].nodes:
            (root / node).unlink()
        # The kernel's own numbers stay.
        for path in ("proc/sys/kernel/arch", "proc/sys/kernel/osrelease"):
            (root / path).unlink()
        root.chmod(0o755)
        files = subprocess.run(
            ["tar", "--create", f"--directory={root}", "."], check=True, stdout=subprocess.PIPE
        ).stdout
        unpack = f"mkdir {FOLDER} && tar --extract --no-same-owner --directory={FOLDER}"
        # `docker cp` would write below /run, not into it.
        subprocess.run(["docker", "exec", "--interactive", box, "sh", "-c", unpack], input=files, check=True)
        script = setup_script(host, root)
    subprocess.run(["docker", "exec", "--interactive", box, "sh"], input=script, text=True, check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
