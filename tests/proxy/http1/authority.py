"""A private authority, and the certificates that it signs."""

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = timedelta(days=1)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Authority:
    """`file`: its own certificate, for those who trust it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / "authority.pem"
        own = self._signed("authority", self._key.public_key(), -_DAY, 9 * _DAY).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        certificate = own.sign(self._key, hashes.SHA256())
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _signed(
        self, name: str, key: ec.EllipticCurvePublicKey, begins: timedelta, ends: timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name("authority"))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
        )

    def server(self, *names: str, expired: bool = False) -> ssl.SSLContext:
        """A server of these names, in whose certificate anybody believes who believes this authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        begins, ends = (-3 * _DAY, -_DAY) if expired else (-_DAY, _DAY)
        built = self._signed(names[0], key.public_key(), begins, ends)
        certificate = built.add_extension(
            x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False
        ).sign(self._key, hashes.SHA256())
        file = self._folder / f"{certificate.serial_number}.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(file)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context

    def client(self) -> ssl.SSLContext:
        """A client that believes this authority, and no other."""
        context = ssl.create_default_context(cafile=self.file)
        context.set_alpn_protocols(["http/1.1"])
        return context
