#!/bin/sh
# Makes a signed package repository, laid out as NVIDIA's, with a stand-in for its Container Toolkit; run in a box.
set -eu
repository=/srv/nvidia
stable=$repository/stable/deb/$(dpkg --print-architecture)
package=$(mktemp -d)

apt-get update -qq
apt-get install -y -qq --no-install-recommends gpg gpg-agent >/dev/null

mkdir -p "$stable" "$package/DEBIAN" "$package/usr/bin" "$package/usr/lib/systemd/system"
cat >"$package/DEBIAN/control" <<'CONTROL'
Package: nvidia-container-toolkit-base
Version: 1.18.0-1
Architecture: all
Maintainer: LLM gateway authors
Depends: python3
Description: stand-in for NVIDIA's Container Toolkit, for tests
CONTROL
cat >"$package/usr/lib/systemd/system/nvidia-cdi-refresh.service" <<'UNIT'
[Service]
Type=oneshot
ExecStart=/usr/bin/nvidia-ctk cdi generate --output=/var/run/cdi/nvidia.yaml
UNIT
cat >"$package/usr/bin/nvidia-ctk" <<'CTK'
#!/usr/bin/env python3
"""Stands for NVIDIA's command: the same words, and a CDI file for the simulated GPUs of /proc/driver/nvidia."""

import json
import re
import sys
from pathlib import Path

DRIVER = Path("/proc/driver/nvidia")


def devices():
    infos = sorted(DRIVER.glob("gpus/*/information"))
    uuids = [re.search(r"GPU UUID:\s*(\S+)", info.read_text())[1] for info in infos]
    named = {str(number): [f"/dev/nvidia{number}"] for number in range(len(uuids))}
    named |= {uuid: named[str(number)] for number, uuid in enumerate(uuids)}
    return named | {"all": sorted({node for nodes in named.values() for node in nodes})}


def spec():
    version = re.search(r"(\d+\.\d+\.\d+)", (DRIVER / "version").read_text())[1]
    mount = {"hostPath": "/usr/bin/nvidia-smi", "containerPath": "/usr/bin/nvidia-smi", "options": ["ro", "bind"]}
    return {
        "cdiVersion": "0.6.0",
        "kind": "nvidia.com/gpu",
        "annotations": {"libraries": f"libnvidia-ml.so.{version}"},
        "devices": [
            {"name": name, "containerEdits": {"deviceNodes": [{"path": node} for node in nodes]}}
            for name, nodes in devices().items()
        ],
        "containerEdits": {
            "env": ["NVIDIA_VISIBLE_DEVICES=void"],
            "deviceNodes": [{"path": "/dev/nvidiactl"}, {"path": "/dev/nvidia-uvm"}],
            "mounts": [mount],
        },
    }


def main(arguments):
    files = [file for folder in ("/etc/cdi", "/var/run/cdi") for file in Path(folder).glob("nvidia.yaml")]
    if arguments == ["--version"]:
        print("NVIDIA Container Toolkit CLI version 1.18.0")
    elif arguments == ["cdi", "list"]:
        for file in files:
            for device in json.loads(file.read_text())["devices"]:
                print(f"nvidia.com/gpu={device['name']}")
    elif arguments[:2] == ["cdi", "generate"]:
        output = Path(arguments[2].removeprefix("--output="))
        output.parent.mkdir(parents=True, exist_ok=True)
        # Each JSON text is YAML as well.
        output.write_text(json.dumps(spec(), indent=2))
    else:
        sys.exit(f"unknown: {arguments}")


main(sys.argv[1:])
CTK
chmod 0755 "$package/usr/bin/nvidia-ctk" "$package"
dpkg-deb --build --root-owner-group "$package" "$stable/nvidia-container-toolkit-base_1.18.0-1_all.deb" >/dev/null

cd "$stable"
deb=nvidia-container-toolkit-base_1.18.0-1_all.deb
{
    dpkg-deb --field "$deb"
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n' "$deb" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d ' ' -f 1)"
} >Packages
{
    printf 'Date: %s\nSHA256:\n' "$(LC_ALL=C date -Ru)"
    printf ' %s %s Packages\n' "$(sha256sum Packages | cut -d ' ' -f 1)" "$(stat -c %s Packages)"
} >Release
home=$(mktemp -d)
export GNUPGHOME="$home"
gpg --batch --quiet --passphrase '' --quick-generate-key "stand-in for NVIDIA" rsa3072 sign never
gpg --batch --quiet --clearsign --output InRelease Release
gpg --batch --quiet --armor --export >"$repository/gpgkey"
gpgconf --kill gpg-agent
rm -r "$home" "$package"
