"""Opens private keys: files on this machine, and what a signer URI of securesystemslib names in a KMS, HSM or Vault."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from edgeproof_edge.errors import EdgeproofError, SurroundingsError
from securesystemslib.exceptions import StorageError, UnsupportedLibraryError
from securesystemslib.signer import (
    SIGNER_FOR_URI_SCHEME,
    AWSSigner,
    AzureSigner,
    CryptoSigner,
    GCPSigner,
    HSMSigner,
    Key,
    Signer,
    SSlibKey,
    VaultSigner,
)

from releases.errors import ReleaseError

PASSPHRASE_VARIABLE = "EDGEPROOF_KEY_PASSPHRASE"
FILE_SCHEME = "file2"
#: Kubernetes sets it in every pod.
_POD_VARIABLE = "KUBERNETES_SERVICE_HOST"

#: The extra of securesystemslib that brings the library for a scheme.
_LIBRARIES = {"awskms": "awskms", "gcpkms": "gcpkms", "azurekms": "azurekms", "hv": "vault", "hsm": "hsm"}


class ReleaseKeyError(ReleaseError):
    """A key is missing, unreadable, or not the one that the repository trusts."""


def passphrase_from_environment(name: str) -> str:
    """The passphrase of a key: its own variable's, or that of all keys; empty where neither is set."""
    own = re.sub(r"[^A-Z0-9]", "_", name.rpartition(" ")[2].upper())
    return os.environ.get(f"{PASSPHRASE_VARIABLE}_{own}") or os.environ.get(PASSPHRASE_VARIABLE, "")


def pem_of(signer: CryptoSigner, passphrase: str) -> bytes:
    """A new private key as PKCS8, encrypted where there is a passphrase."""
    if not passphrase:
        return signer.private_bytes
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(signer.private_bytes, None)
    encryption = serialization.BestAvailableEncryption(passphrase.encode())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def open_pem(pem: bytes, passphrase: str | None, public: Key, name: str, path: Path) -> Signer:
    """Opens a private key that must belong to ``public``.

    Raises:
        ReleaseKeyError: The passphrase is wrong, it is no private key, or another one.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        private: Any = serialization.load_pem_private_key(pem, passphrase.encode() if passphrase else None)
        held = SSlibKey.from_crypto(private.public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        hint = "the passphrase is wrong, or it is no PEM private key" if passphrase else "it is no PEM private key"
        raise ReleaseKeyError(f"the key {name!r} in {path} cannot be opened: {hint}.") from error
    if held.keyval != public.to_dict()["keyval"]:
        raise ReleaseKeyError(
            f"{path} holds another private key than the one that keys.json names for {name!r} "
            f"({public.keyid[:8]}). Put the right file there; nothing was signed."
        )
    assert isinstance(public, SSlibKey)
    return CryptoSigner(private, public)


def open_remote(uri: str, public: Key) -> Signer:
    """Opens a key in a KMS, HSM or Vault.

    Raises:
        SurroundingsError: It does not answer, or its library is not installed.
    """
    try:
        return Signer.from_priv_key_uri(uri, public)
    except Exception as error:  # each cloud's library has its own errors
        raise SurroundingsError(f"the key {uri} cannot be opened: {_explained(uri, error)}") from error


def _explained(uri: str, error: Exception) -> str:
    scheme = uri.partition(":")[0]
    library = _LIBRARIES.get(scheme)
    if library is not None and isinstance(error, (UnsupportedLibraryError, ImportError)):
        return f"the library for {scheme}: is not installed. pip install 'securesystemslib[{library}]'."
    return f"{error}. Check the address, the login and the permissions."


def import_key(uri: str) -> tuple[str, Key]:
    """The signer URI to keep, and the public key behind ``uri``.

    Raises:
        ReleaseKeyError: It is no signer URI, or there is no such file.
        SurroundingsError: A KMS, HSM or Vault does not answer.
    """
    scheme, _, rest = uri.partition(":")
    try:
        if scheme in (FILE_SCHEME, "file"):
            path = Path(rest).expanduser().resolve()
            return f"{FILE_SCHEME}:{path}", _public_of_file(path)
        if scheme == GCPSigner.SCHEME:
            return GCPSigner.import_(rest)
        if scheme == AWSSigner.SCHEME:
            return AWSSigner.import_(rest)
        if scheme == VaultSigner.SCHEME:
            return VaultSigner.import_(rest.partition("/")[0])
        if scheme == AzureSigner.SCHEME:  # azurekms://<vault>.vault.azure.net/keys/<key>
            host, _, path_of_key = rest.lstrip("/").partition("/")
            return AzureSigner.import_(host.partition(".")[0], path_of_key.split("/")[1])
        if scheme == HSMSigner.SCHEME:
            return HSMSigner.import_(int(rest) if rest else None)
    except EdgeproofError:
        raise
    except Exception as error:  # each cloud's library has its own errors
        raise SurroundingsError(f"the public key of {uri} cannot be read: {_explained(uri, error)}") from error
    raise ReleaseKeyError(
        f"{uri!r} is no signer URI; give one of {', '.join(sorted(f'{known}:' for known in SIGNER_FOR_URI_SCHEME))}."
    )


def _public_of_file(path: Path) -> Key:
    from cryptography.hazmat.primitives import serialization

    pem = read_private(path, path.name)
    passphrase = passphrase_from_environment("") if b"ENCRYPTED" in pem else ""
    try:
        private: Any = serialization.load_pem_private_key(pem, passphrase.encode() or None)
    except (ValueError, TypeError) as error:
        raise ReleaseKeyError(f"{path} cannot be opened as a PEM private key: {error}.") from error
    return SSlibKey.from_crypto(private.public_key())


def _closed_bits(owner: int) -> int:
    """Permissions that a private key must not give, by the user that owns it.

    The group may read where that is how a service is given a key of somebody else's (as PostgreSQL has it), and in a pod: there Kubernetes
    itself gives a volume's files to the pod's group (fsGroup), and nobody else is in it.
    """
    if os.environ.get(_POD_VARIABLE):
        return 0o007
    return 0o027 if os.geteuid() not in (0, owner) else 0o077


def read_private(path: Path, name: str) -> bytes:
    """Reads the file of a private key.

    Raises:
        ReleaseKeyError: It is not there, or others can read it.
    """
    try:
        status = path.stat()
        if status.st_mode & _closed_bits(status.st_uid):
            raise ReleaseKeyError(
                f"the key {name!r} in {path} can be read by others (mode {status.st_mode & 0o777:o}). chmod 600 it; in a pod, take it from "
                "everybody but the pod's group (chmod o=, or defaultMode: 0440 of a secret)."
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise ReleaseKeyError(f"the key {name!r} is not at {path}. Put its file there; nothing was signed.") from None
    except (OSError, StorageError) as error:
        raise SurroundingsError(f"the key {name!r} in {path} cannot be read: {error}.") from error
