"""A certificate authority of the bed's own, and one certificate for every public name the bed answers for."""

from __future__ import annotations

from bed.commands import run
from bed.layout import Layout

DAYS = "3650"

REGISTRY_NAMES = ("ghcr.io", "registry-1.docker.io")
"""Where engines fetch images of ghcr.io and of Docker Hub."""

MODEL_REGISTRY_NAME = "registry.ollama.ai"
"""Where Ollama fetches models."""


def alternative_names() -> str:
    """The names the certificate holds, in openssl's notation; this machine pushes through 127.0.0.1."""
    names = [f"DNS:{name}" for name in (*REGISTRY_NAMES, MODEL_REGISTRY_NAME)]
    return ",".join([*names, "IP:127.0.0.1"])


def ensure_certificates(layout: Layout) -> None:
    """Makes authority and certificate once. Raises CommandFailed."""
    authority, tls, log = layout.authority, layout.tls, layout.logs / "certificates.log"
    if (tls / "server.pem").exists():
        return
    authority.mkdir(parents=True, exist_ok=True)
    tls.mkdir(parents=True, exist_ok=True)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    run(
        [
            *("openssl", "req", "-x509", *key, "-days", DAYS, "-subj", "/CN=LLM gateway test bed"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
            *("-keyout", str(authority / "ca.key"), "-out", str(authority / "ca.pem")),
        ],
        log=log,
    )
    run(
        [
            *("openssl", "req", "-new", *key, "-subj", f"/CN={REGISTRY_NAMES[0]}"),
            *("-keyout", str(tls / "server.key"), "-out", str(authority / "server.csr")),
        ],
        log=log,
    )
    extensions = authority / "extensions"
    extensions.write_text(f"subjectAltName={alternative_names()}\nextendedKeyUsage=serverAuth\n")
    run(
        [
            *("openssl", "x509", "-req", "-in", str(authority / "server.csr"), "-days", DAYS),
            *("-CA", str(authority / "ca.pem"), "-CAkey", str(authority / "ca.key"), "-CAcreateserial"),
            *("-extfile", str(extensions), "-out", str(tls / "server.pem")),
        ],
        log=log,
    )
