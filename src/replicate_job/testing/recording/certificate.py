"""Makes a certificate for loopback, because the official clients recognize files by https addresses only.

The standard library cannot make certificates. This one has a key on the curve P-256, and only the programs of one run
trust it. The formats are those of SEC 1, RFC 5280 and RFC 5480.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import ssl
from base64 import encodebytes
from datetime import UTC, datetime, timedelta
from pathlib import Path

_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
_Point = tuple[int, int] | None

_SEQUENCE, _SET, _BITS, _OCTETS, _TEXT, _TIME = 0x30, 0x31, 0x03, 0x04, 0x0C, 0x18
_CURVE = bytes.fromhex("06082a8648ce3d030107")
_EC_KEY = bytes.fromhex("06072a8648ce3d0201")
_ECDSA = bytes.fromhex("300a06082a8648ce3d040302")
_COMMON_NAME = bytes.fromhex("0603550403")
_TRUE = bytes.fromhex("0101ff")
_LIFETIME = timedelta(days=30)
"""How long the certificate is valid. A replay may run for long."""
_STORES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
"""Environment variables that name a file of trusted certificates.

OpenSSL, httpx and Rust read the first variable. requests, curl and Node.js read one of the others each, in this order.
"""


class Identity:
    """A new certificate for servers on loopback, with its files in ``folder``.

    ``context`` is the TLS context of such a server. ``environment`` has the variables that make programs trust the
    certificate in addition to the usual ones.
    """

    def __init__(self, folder: Path) -> None:
        certificate, key = make()
        alone, trusted = folder / "loopback.pem", folder / "trusted.pem"
        trusted.write_text(certificate + _usual())
        alone.touch(0o600)
        alone.write_text(certificate + key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(alone)
        alone.unlink()
        self.environment = dict.fromkeys(_VARIABLES, str(trusted))


def _usual() -> str:
    """The certificates that programs on this machine trust anyway; an empty text if they are not in a known file."""
    for name in (os.environ.get("SSL_CERT_FILE"), ssl.get_default_verify_paths().cafile, *_STORES):
        if name and Path(name).is_file():
            return Path(name).read_text("utf-8", "replace")
    return ""


def make() -> tuple[str, str]:
    """A certificate for ``127.0.0.1`` and ``localhost`` that is signed with its own key, and the key, in PEM."""
    private = secrets.randbelow(_N - 1) + 1
    public = _octets(_times(private, _G))
    name = _der(_SEQUENCE, _der(_SET, _der(_SEQUENCE, _COMMON_NAME, _der(_TEXT, b"replicate-job recording"))))
    now = datetime.now(UTC)
    lifetime = (_der(_TIME, f"{at:%Y%m%d%H%M%SZ}".encode()) for at in (now - timedelta(days=1), now + _LIFETIME))
    alternatives = _der(_SEQUENCE, _der(0x82, b"localhost"), _der(0x87, bytes((127, 0, 0, 1))))
    print_of_key = _der(_OCTETS, hashlib.sha256(public).digest()[:20])
    extensions = _der(
        _SEQUENCE,
        _der(_SEQUENCE, bytes.fromhex("0603551d13"), _TRUE, _der(_OCTETS, _der(_SEQUENCE))),  # not a CA
        _der(_SEQUENCE, bytes.fromhex("0603551d0f"), _TRUE, _der(_OCTETS, _der(_BITS, b"\x07\x80"))),  # key usage
        _der(_SEQUENCE, bytes.fromhex("0603551d11"), _der(_OCTETS, alternatives)),
        _der(_SEQUENCE, bytes.fromhex("0603551d0e"), _der(_OCTETS, print_of_key)),
    )
    content = _der(
        _SEQUENCE,
        _der(0xA0, b"\x02\x01\x02"),  # version 3
        _integer(secrets.randbits(120)),
        _ECDSA,
        name,
        _der(_SEQUENCE, *lifetime),
        name,
        _der(_SEQUENCE, _der(_SEQUENCE, _EC_KEY, _CURVE), _der(_BITS, b"\0", public)),
        _der(0xA3, extensions),
    )
    certificate = _der(_SEQUENCE, content, _ECDSA, _der(_BITS, b"\0", _signature(private, content)))
    scalar = _der(_OCTETS, private.to_bytes(32, "big"))
    key = _der(_SEQUENCE, b"\x02\x01\x01", scalar, _der(0xA0, _CURVE), _der(0xA1, _der(_BITS, b"\0", public)))
    return _pem("CERTIFICATE", certificate), _pem("EC PRIVATE KEY", key)


def _signature(private: int, content: bytes) -> bytes:
    digest = int.from_bytes(hashlib.sha256(content).digest(), "big")
    while True:
        once = secrets.randbelow(_N - 1) + 1
        point = _times(once, _G)
        r = point[0] % _N if point else 0
        s = pow(once, -1, _N) * (digest + r * private) % _N
        if r and s:
            return _der(_SEQUENCE, _integer(r), _integer(s))


def _plus(a: _Point, b: _Point) -> _Point:
    if a is None or b is None:
        return a or b
    if a[0] == b[0] and (a[1] + b[1]) % _P == 0:
        return None
    if a == b:
        slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, _P) % _P
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, _P) % _P
    x = (slope * slope - a[0] - b[0]) % _P
    return x, (slope * (a[0] - x) - a[1]) % _P


def _times(factor: int, point: _Point) -> _Point:
    total: _Point = None
    while factor:
        if factor & 1:
            total = _plus(total, point)
        point, factor = _plus(point, point), factor >> 1
    return total


def _octets(point: _Point) -> bytes:
    assert point  # noqa: S101 - only a factor of zero has no point
    return b"\4" + point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big")


def _der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:  # noqa: PLR2004 - the form for short lengths
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _integer(number: int) -> bytes:
    return _der(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def _pem(kind: str, content: bytes) -> str:
    return f"-----BEGIN {kind}-----\n{encodebytes(content).decode()}-----END {kind}-----\n"
