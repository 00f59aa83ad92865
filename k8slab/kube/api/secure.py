"""The secure port: its certificate, and which clients' certificates it takes."""

from __future__ import annotations

import argparse
import logging
import os
import socket
import ssl
from pathlib import Path
from typing import Final

from k8slab.pki import authority

log = logging.getLogger(__name__)

NAMES: Final = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
    "127.0.0.1",
)


def context(flags: argparse.Namespace, address: str) -> ssl.SSLContext:
    """TLS as the flags say. Raises ValueError for a certificate, key or authority that cannot be used."""
    certificate, key = flags.tls_cert_file, flags.tls_private_key_file
    if not certificate:
        certificate, key = own_certificate(Path(flags.cert_dir), (address, str(flags.network[1])))
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        made.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as trouble:
        raise ValueError(f"--tls-cert-file {certificate}: {trouble}") from None
    if flags.client_ca_file:
        try:
            made.load_verify_locations(flags.client_ca_file)
        except (ssl.SSLError, OSError) as trouble:
            raise ValueError(f"--client-ca-file {flags.client_ca_file}: {trouble}") from None
        made.verify_mode = ssl.CERT_OPTIONAL
    return made


def own_certificate(directory: Path, addresses: tuple[str, ...]) -> tuple[Path, Path]:
    """A certificate of an authority of this server's own, made once: apiserver.crt, apiserver.key, ca.crt."""
    certificate, key = directory / "apiserver.crt", directory / "apiserver.key"
    if certificate.exists() and key.exists():
        return certificate, key
    signer = authority.new_authority(f"{socket.gethostname()}-ca")
    pair = authority.server(signer, socket.gethostname(), (socket.gethostname(), *NAMES, *addresses))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "ca.crt").write_bytes(signer.certificate)
        certificate.write_bytes(pair.certificate + signer.certificate)
        descriptor = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pair.key)
    except OSError as trouble:
        raise ValueError(f"--cert-dir {directory}: {trouble}") from None
    log.info("made a certificate of this server's own in %s", directory)
    return certificate, key
