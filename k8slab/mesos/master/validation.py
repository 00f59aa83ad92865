"""What a master refuses, and in which words. Every function returns the reason, None when there is none."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from typing import Any

LONGEST_ID = 255
UUID_BYTES = 16
LONGEST_FAILOVER_SECONDS = 2**63 / 1e9
SUBSTANCELESS = frozenset(("TEARDOWN", "REVIVE", "SUPPRESS"))


def call_error(call: Mapping[str, Any]) -> str | None:
    """The ladder's row on validation; the text follows "Failed to validate scheduler::Call: "."""
    kind = call.get("type")
    if kind is None:
        return "Expecting 'type' to be present"
    payload = call.get(kind.lower())
    if payload is None and kind not in SUBSTANCELESS:
        return f"Expecting '{kind.lower()}' to be present"
    if kind == "SUBSCRIBE":
        assert payload is not None
        if call.get("framework_id") != payload["framework_info"].get("id"):
            return "'framework_id' differs from 'subscribe.framework_info.id'"
        return None
    if "framework_id" not in call:
        return "Expecting 'framework_id' to be present"
    if kind == "UPDATE_FRAMEWORK":
        assert payload is not None
        if call["framework_id"] != payload["framework_info"].get("id"):
            return "'framework_id' differs from 'update_framework.framework_info.id'"
    if kind in ("ACKNOWLEDGE", "ACKNOWLEDGE_OPERATION_STATUS"):
        assert payload is not None
        if len(base64.b64decode(payload["uuid"])) != UUID_BYTES:
            return "Not a valid UUID"
        if "agent_id" not in payload:
            return "Expecting 'agent_id' to be present"
    return None


def framework_error(
    info: Mapping[str, Any],
    *,
    suppressed: Collection[str],
    whitelist: Collection[str] | None,
    root_submissions: bool,
) -> str | None:
    """Why a FrameworkInfo cannot subscribe; told in an ERROR event, not in the status."""
    roles = info.get("roles", ())
    multi_role = any(known.get("type") == "MULTI_ROLE" for known in info.get("capabilities", ()))
    if multi_role and "role" in info:
        return "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable"
    if not multi_role and roles:
        return "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable"
    if len(set(roles)) != len(roles):
        return "'FrameworkInfo.roles' contains duplicate items"
    wanted = roles if multi_role else [info.get("role", "*")]
    for role in wanted:
        if error := role_error(role):
            return error
        if whitelist is not None and role not in whitelist:
            return f"Role '{role}' is not present in the master's --roles"
    if not set(suppressed) <= set(wanted):
        return "Suppressed roles are not all among the framework's roles"
    if info["user"] == "root" and not root_submissions:
        return "User 'root' is not allowed to run frameworks without --root_submissions set"
    framework_id = (info.get("id") or {}).get("value")
    if framework_id is not None and (error := id_error(framework_id)):
        return f"Framework ID '{framework_id}' is invalid: {error}"
    timeout = info.get("failover_timeout", 0.0)
    if not 0 <= timeout < LONGEST_FAILOVER_SECONDS:
        return f"The framework failover_timeout ({timeout}) is invalid"
    return None


def role_error(role: str) -> str | None:
    if role == "*":
        return None
    for part in role.split("/"):
        if part in ("", ".", "..", "*"):
            return f"Role '{role}' is invalid: it has a part '{part}'"
        if part.startswith("-"):
            return f"Role '{role}' is invalid: a part starts with '-'"
        if any(character.isspace() or ord(character) < 32 or character == "\x7f" for character in part):
            return f"Role '{role}' is invalid: it has whitespace or control characters"
    return None


def id_error(identifier: str) -> str | None:
    if not identifier:
        return "ID must not be empty"
    # Ids are names of files with agents, and those are counted in bytes.
    if len(identifier.encode(errors="surrogatepass")) > LONGEST_ID:
        return f"ID must not be greater than {LONGEST_ID} characters"
    if identifier in (".", ".."):
        return f"'{identifier}' is disallowed"
    if any(ord(character) < 32 or character in "/\\\x7f" for character in identifier):
        return f"'{identifier}' contains invalid characters"
    return None


def framework_update_error(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """Why a subscribed framework cannot become ``new``: some of what it is stays for its lifetime."""
    for key in ("principal", "user", "checkpoint"):
        if old.get(key) != new.get(key):
            return f"Updating 'FrameworkInfo.{key}' is unsupported"
    return None
