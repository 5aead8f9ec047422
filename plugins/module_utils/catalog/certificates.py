"""What a certificate in a file says: for which hosts it is good, and until when.

Read on the control machine alone, where ansible-core has brought ``cryptography`` along.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """The first certificate of a file.

    Attributes:
        names: the names of DNS, in small letters, and the addresses for which it is good.
        begins: from when.
        ends: until when.
    """

    names: tuple[str, ...]
    begins: datetime
    ends: datetime

    def covers(self, host: str) -> bool:
        """Whether clients accept it from a host. A star stands for one whole first label (RFC 9525, 6.3)."""
        label, _, rest = host.lower().partition(".")
        return host.lower() in self.names or bool(label and rest and f"*.{rest}" in self.names)


def read_certificate(path: Path) -> Certificate:
    """Read the certificate that a server with this file shows. Raises OSError, and ValueError for what is none."""
    found = x509.load_pem_x509_certificate(path.read_bytes())
    return Certificate(_names(found), found.not_valid_before_utc, found.not_valid_after_utc)


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return its names. One that has them in its subject alone has none: clients stopped reading that (RFC 9525)."""
    try:
        known = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    names = [name.lower() for name in known.get_values_for_type(x509.DNSName)]
    return (*names, *map(str, known.get_values_for_type(x509.IPAddress)))
