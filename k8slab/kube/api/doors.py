"""The ports of the server and what each asks of those who come."""

from __future__ import annotations

import argparse
import ssl
from dataclasses import dataclass
from pathlib import Path

from k8slab.kube.api.auth.access import Access
from k8slab.kube.api.auth.accounts import CachedAccounts, CachedPolicies
from k8slab.kube.api.auth.audit import Audit
from k8slab.kube.api.auth.authentication import AsksNothing, Recognises, TokenFile
from k8slab.kube.api.auth.gate import AlwaysAllow, Authorization, Gate, RoleBased
from k8slab.kube.api.auth.reviews import Reviews
from k8slab.kube.api.auth.tokens import KeyRing, Tokens
from k8slab.kube.api.cache import Cache
from k8slab.kube.api.storage.base import Storage


@dataclass(frozen=True)
class Door:
    host: str
    port: int
    gate: Gate
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True)
class Doors:
    """``roles``: whether roles decide, so that those every cluster has must be there."""

    doors: tuple[Door, ...]
    access: Access
    tokens: Tokens
    roles: bool
    audit: Audit | None

    def close(self) -> None:
        if self.audit is not None:
            self.audit.close()


def open_doors(flags: argparse.Namespace, storage: Storage, cache: Cache, address: str) -> Doors:
    """Raises ValueError for a file that cannot be used, saying which."""
    accounts, policies = CachedAccounts(cache), CachedPolicies(cache)
    roles = flags.authorization_mode == "RBAC"
    authorization: Authorization = RoleBased(policies) if roles else AlwaysAllow()
    keys = KeyRing(storage, signing=flags.signing_key, trusted=flags.account_keys)
    tokens = Tokens(keys, flags.service_account_issuer, flags.audiences)
    file = TokenFile.read(Path(flags.token_auth_file)) if flags.token_auth_file else TokenFile({})
    recognises = Recognises(tokens, accounts, file, flags.anonymous_auth)
    try:
        audit = Audit(flags.audit_log_path) if flags.audit_log_path else None
    except OSError as trouble:
        raise ValueError(f"--audit-log-path: {trouble}") from None
    doors = [Door(flags.host, flags.bound, Gate(AsksNothing(), authorization, audit))]
    if flags.secure_bound:
        from k8slab.kube.api.secure import context

        gate = Gate(recognises, authorization, audit, cache)
        doors.append(Door(flags.bind_address, flags.secure_bound, gate, context(flags, address)))
    access = Access(authorization, Reviews(authorization, recognises), tokens, accounts, policies)
    return Doors(tuple(doors), access, tokens, roles, audit)
