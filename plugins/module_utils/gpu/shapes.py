"""The shapes that gpu_facts returns."""

from __future__ import annotations

from typing import TypedDict


class Gpu(TypedDict):
    """One GPU. What is not known is an empty text, or None where a number would stand."""

    vendor: str  # nvidia, amd or intel
    name: str
    address: str  # of the PCI bus, such as 0000:01:00.0; empty where there is no PCI device
    uuid: str  # NVIDIA's, which stays when the order of the cards changes
    driver: str  # the kernel's driver that holds it
    driver_version: str
    memory_bytes: int | None
    integrated: bool  # part of the processor, with memory of the box itself
    gfx_target: str  # AMD's name of the instruction set, such as gfx1100
    compute_capability: str  # NVIDIA's, such as 8.6
    nodes: list[str]  # device nodes by which it is used, besides those of all its kind
    libraries: list[str]  # which of Ollama's libraries can use it: cuda, rocm, vulkan
    problem: str  # why nothing can use it, and what would help; empty when something can


class Place(TypedDict):
    """Where this system runs, as far as that changes how a GPU is reached."""

    arch: str  # amd64, arm64, or the kernel's own word for anything else
    container: str  # docker, podman, lxc and so on; empty outside of one
    virtual_machine: bool
    wsl: bool
    jetpack: int | None  # NVIDIA Jetson: the major version of JetPack


class Verdict(TypedDict):
    """Where Ollama should run."""

    mode: str  # nvidia, rocm, vulkan or cpu
    reason: str
    problem: str  # why the mode that was asked for cannot be had; empty when it can
    used: list[int]  # places of the GPUs that are used, in the list of all


class GpuFacts(TypedDict):
    """All of it."""

    place: Place
    gpus: list[Gpu]
    groups: list[int]  # the numbers of the groups to which the device nodes of AMD and Intel belong
    verdict: Verdict
