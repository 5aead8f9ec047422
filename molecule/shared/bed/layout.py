"""Where the bed's inputs lie and where it keeps its state."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

OWNER = "llm-gateway-bed"
"""Value of the label `owner` on everything the bed makes in Docker."""

OWNER_LABEL = f"owner={OWNER}"
OWNER_FILTER = f"label={OWNER_LABEL}"


@dataclass(frozen=True)
class Layout:
    """Paths of one checkout."""

    root: Path

    @classmethod
    def of_this_checkout(cls) -> Layout:
        """The checkout that this file belongs to."""
        return cls(root=Path(__file__).resolve().parents[3])

    @property
    def images(self) -> Path:
        """Build files of the images, one folder each."""
        return self.root / "molecule" / "images"

    @property
    def doubles(self) -> Path:
        """Programs of the stand-ins."""
        return self.root / "tests" / "doubles"

    @property
    def pinned_images(self) -> Path:
        """The images that users run, by public name."""
        return self.root / "group_vars" / "all" / "images.yml"

    @property
    def state(self) -> Path:
        """Everything the bed keeps on disk; removed by `bed clean`."""
        return self.root / ".bed"

    @property
    def tls(self) -> Path:
        """Certificate and key of the registry and of the stand-ins; mounted into their containers."""
        return self.state / "tls"

    @property
    def authority(self) -> Path:
        """Certificate authority that the boxes trust."""
        return self.state / "ca"

    @property
    def logs(self) -> Path:
        """Output of the commands the bed runs, one file a step."""
        return self.state / "logs"

    @property
    def build(self) -> Path:
        """Build contexts, only while images are being built."""
        return self.state / "build"

    @property
    def pins(self) -> Path:
        """Extra variables: the images a box is to run, by digest."""
        return self.state / "pins.yml"

    def pins_of(self, variant: str) -> Path:
        """Extra variables like `pins`, with a variant of an image in place of the image."""
        return self.state / f"pins-{variant}.yml"

    @property
    def secrets(self) -> Path:
        """Extra variables: random values for the vault."""
        return self.state / "secrets.yml"

    @property
    def pushed(self) -> Path:
        """Which built image the registry holds under which digest."""
        return self.state / "pushed.json"

    @property
    def seed(self) -> Path:
        """Name of the finished seed volume."""
        return self.state / "seed"

    @property
    def provider_keys(self) -> Path:
        """Environment file of the provider stand-ins: the keys they accept."""
        return self.state / "provider-keys.env"

    @property
    def mode(self) -> Path:
        """Whether the last `bed up` prepared test images or upstream ones."""
        return self.state / "images"

    @property
    def engine_pid(self) -> Path:
        """Process id of the engine, when the bed started it."""
        return self.state / "dockerd.pid"

    @property
    def lock(self) -> Path:
        """Held by a run that changes what is shared."""
        return self.state / "lock"
