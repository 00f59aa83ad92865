"""The v1 messages a client may send, and how their JSON is read.

Mesos reads JSON as a generic image of its protobuf messages: unknown keys and nulls are dropped, numbers and booleans
may come as text, one object may stand for a list of one, an unknown name in an optional enum counts as unset, a missing
required field is an error. ``convert`` does the same from the table below, and fills in the defaults that the original
always prints.

In the table ``name!Type`` is required, ``name?Type`` optional, ``name*Type`` repeated; ``=`` gives a printed default.
``@A|B`` is an enum, ``json`` is any object, passed through as it is.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import orjson

SMALLEST_INTEGER, LARGEST_INTEGER = -(2**63), 2**64
ID = "value!string"
CAPABILITIES = (
    "@REVOCABLE_RESOURCES|TASK_KILLING_STATE|GPU_RESOURCES|SHARED_RESOURCES|PARTITION_AWARE|MULTI_ROLE"
    "|RESERVATION_REFINEMENT|REGION_AWARE"
)
STATES = (
    "@TASK_STAGING|TASK_STARTING|TASK_RUNNING|TASK_KILLING|TASK_FINISHED|TASK_FAILED|TASK_KILLED|TASK_ERROR|TASK_LOST"
    "|TASK_DROPPED|TASK_UNREACHABLE|TASK_GONE|TASK_GONE_BY_OPERATOR|TASK_UNKNOWN"
)
SCHEDULER_CALLS = (
    "@SUBSCRIBE|TEARDOWN|ACCEPT|DECLINE|ACCEPT_INVERSE_OFFERS|DECLINE_INVERSE_OFFERS|REVIVE|SUPPRESS|KILL|SHUTDOWN"
    "|ACKNOWLEDGE|ACKNOWLEDGE_OPERATION_STATUS|RECONCILE|RECONCILE_OPERATIONS|MESSAGE|REQUEST|UPDATE_FRAMEWORK"
)
OPERATOR_CALLS = (
    "@GET_HEALTH|GET_FLAGS|GET_VERSION|GET_METRICS|GET_LOGGING_LEVEL|SET_LOGGING_LEVEL|LIST_FILES|READ_FILE|GET_STATE"
    "|GET_AGENTS|GET_FRAMEWORKS|GET_EXECUTORS|GET_OPERATIONS|GET_TASKS|GET_ROLES|GET_WEIGHTS|UPDATE_WEIGHTS|GET_MASTER"
    "|SUBSCRIBE|RESERVE_RESOURCES|UNRESERVE_RESOURCES|CREATE_VOLUMES|DESTROY_VOLUMES|GROW_VOLUME|SHRINK_VOLUME"
    "|GET_MAINTENANCE_STATUS|GET_MAINTENANCE_SCHEDULE|UPDATE_MAINTENANCE_SCHEDULE|START_MAINTENANCE|STOP_MAINTENANCE"
    "|DRAIN_AGENT|DEACTIVATE_AGENT|REACTIVATE_AGENT|GET_QUOTA|UPDATE_QUOTA|SET_QUOTA|REMOVE_QUOTA|TEARDOWN"
    "|MARK_AGENT_GONE"
)
OPERATIONS = "@LAUNCH|LAUNCH_GROUP|RESERVE|UNRESERVE|CREATE|DESTROY|GROW_VOLUME|SHRINK_VOLUME|CREATE_DISK|DESTROY_DISK"

AGENT_CALLS = (
    "@GET_HEALTH|GET_FLAGS|GET_VERSION|GET_METRICS|GET_LOGGING_LEVEL|SET_LOGGING_LEVEL|LIST_FILES|READ_FILE|GET_STATE"
    "|GET_CONTAINERS|GET_FRAMEWORKS|GET_EXECUTORS|GET_OPERATIONS|GET_TASKS|GET_AGENT|GET_RESOURCE_PROVIDERS"
    "|LAUNCH_CONTAINER|WAIT_CONTAINER|KILL_CONTAINER|REMOVE_CONTAINER|LAUNCH_NESTED_CONTAINER|WAIT_NESTED_CONTAINER"
    "|KILL_NESTED_CONTAINER|REMOVE_NESTED_CONTAINER|LAUNCH_NESTED_CONTAINER_SESSION|ATTACH_CONTAINER_INPUT"
    "|ATTACH_CONTAINER_OUTPUT|PRUNE_IMAGES"
)

TABLE: dict[str, str] = {
    "SchedulerCall": f"type?{SCHEDULER_CALLS} framework_id?ID subscribe?Subscribe accept?Accept decline?Decline "
    "accept_inverse_offers?InverseOffers decline_inverse_offers?InverseOffers revive?Roles suppress?Roles "
    "kill?Kill shutdown?Shutdown acknowledge?Acknowledge acknowledge_operation_status?AcknowledgeOperation "
    "reconcile?Reconcile reconcile_operations?ReconcileOperations message?SchedulerMessage request?json "
    "update_framework?UpdateFramework",
    "ID": ID,
    "Subscribe": "framework_info!FrameworkInfo force?bool suppressed_roles*string offer_constraints?json",
    "UpdateFramework": "framework_info!FrameworkInfo suppressed_roles*string offer_constraints?json",
    "FrameworkInfo": "user!string name!string id?ID failover_timeout?double=0.0 checkpoint?bool=false role?string "
    "roles*string hostname?string principal?string webui_url?string capabilities*Capability labels?Labels",
    "Capability": f"type?{CAPABILITIES}",
    "Labels": "labels*Label",
    "Label": "key!string value?string",
    "InverseOffers": "inverse_offer_ids*ID filters?Filters",
    "ReconcileOperations": "operations*ReconcileOperation",
    "ReconcileOperation": "operation_id!ID agent_id?ID resource_provider_id?ID",
    "Accept": "offer_ids*ID operations*Operation filters?Filters",
    "Decline": "offer_ids*ID filters?Filters",
    "Filters": "refuse_seconds?double=5.0",
    "Operation": f"type?{OPERATIONS} id?ID launch?Launch launch_group?LaunchGroup reserve?Reserve unreserve?Reserve "
    "create?json destroy?json grow_volume?json shrink_volume?json create_disk?json destroy_disk?json",
    "Reserve": "resources*Resource",
    "Launch": "task_infos*TaskInfo",
    "LaunchGroup": "executor!ExecutorInfo task_group!TaskGroupInfo",
    "TaskGroupInfo": "tasks*TaskInfo",
    "Roles": "roles*string",
    "Kill": "task_id!ID agent_id?ID kill_policy?KillPolicy",
    "KillPolicy": "grace_period?Duration",
    "Duration": "nanoseconds!int",
    "Shutdown": "executor_id!ID agent_id!ID",
    "Acknowledge": "agent_id!ID task_id!ID uuid!bytes",
    "AcknowledgeOperation": "agent_id?ID resource_provider_id?ID uuid!bytes operation_id!ID",
    "Reconcile": "tasks*ReconcileTask",
    "ReconcileTask": "task_id!ID agent_id?ID",
    "SchedulerMessage": "agent_id!ID executor_id!ID data!bytes",
    "TaskInfo": "name!string task_id!ID agent_id!ID resources*Resource executor?ExecutorInfo command?CommandInfo "
    "container?json health_check?HealthCheck check?json kill_policy?KillPolicy data?bytes labels?Labels "
    "discovery?json max_completion_time?Duration limits?json",
    "ExecutorInfo": "type?@DEFAULT|CUSTOM executor_id!ID framework_id?ID command?CommandInfo container?json "
    "resources*Resource name?string source?string data?bytes discovery?json shutdown_grace_period?Duration "
    "labels?Labels",
    "CommandInfo": "uris*URI environment?Environment shell?bool=true value?string arguments*string user?string",
    "URI": "value!string executable?bool extract?bool=true cache?bool output_file?string",
    "Environment": "variables*Variable",
    "Variable": "name!string type?@VALUE|SECRET value?string secret?json",
    "HealthCheck": "delay_seconds?double=15.0 interval_seconds?double=10.0 timeout_seconds?double=20.0 "
    "consecutive_failures?int=3 grace_period_seconds?double=10.0 type?@COMMAND|HTTP|TCP command?CommandInfo "
    "http?json tcp?json",
    "Resource": "name!string type!@SCALAR|RANGES|SET|TEXT scalar?Scalar ranges?Ranges set?Set role?string "
    "reservations*Reservation reservation?ReservationInfo disk?json revocable?json shared?json "
    "allocation_info?AllocationInfo provider_id?ID",
    "AllocationInfo": "role?string",
    "ReservationInfo": "principal?string labels?Labels",
    "Reservation": "type?@STATIC|DYNAMIC role?string principal?string labels?Labels",
    "Scalar": "value!double",
    "Ranges": "range*Range",
    "Range": "begin!int end!int",
    "Set": "item*string",
    "AgentOperatorCall": f"type?{AGENT_CALLS} set_logging_level?SetLoggingLevel list_files?ListFiles "
    "read_file?ReadFile",
    "OperatorCall": f"type?{OPERATOR_CALLS} get_metrics?GetMetrics set_logging_level?SetLoggingLevel "
    "list_files?ListFiles read_file?ReadFile update_weights?UpdateWeights reserve_resources?OperatorResources "
    "unreserve_resources?OperatorResources teardown?OperatorTeardown mark_agent_gone?MarkAgentGone",
    "GetMetrics": "timeout?Duration",
    "SetLoggingLevel": "level!int duration!Duration",
    "ListFiles": "path!string",
    "ReadFile": "path!string offset!int length?int",
    "UpdateWeights": "weight_infos*WeightInfo",
    "WeightInfo": "weight!double role?string",
    "OperatorResources": "agent_id!ID resources*Resource",
    "OperatorTeardown": "framework_id!ID",
    "MarkAgentGone": "agent_id!ID",
    "ExecutorCall": "type?@SUBSCRIBE|UPDATE|MESSAGE|HEARTBEAT executor_id!ID framework_id!ID "
    "subscribe?ExecutorSubscribe update?ExecutorUpdate message?ExecutorMessage",
    "ExecutorSubscribe": "unacknowledged_tasks*TaskInfo unacknowledged_updates*ExecutorUpdate",
    "ExecutorUpdate": "status!TaskStatus",
    "ExecutorMessage": "data!bytes",
    "TaskStatus": f"task_id!ID state!{STATES} source?@SOURCE_MASTER|SOURCE_AGENT|SOURCE_EXECUTOR reason?string "
    "message?string data?bytes agent_id?ID executor_id?ID timestamp?double uuid?bytes healthy?bool labels?Labels "
    "container_status?json check_status?json limitation?json unreachable_time?json",
}


class ConversionError(ValueError):
    """The JSON is no such message; the text says which field and why."""


@dataclass(frozen=True)
class _Field:
    name: str
    repeated: bool
    required: bool
    read: Callable[[Any, str], Any]
    default: Any = None


class _Unset:
    pass


UNSET = _Unset()


def convert(message: str, value: Any) -> dict[str, Any]:
    """``value`` (parsed JSON) as the message ``message`` of the table. Raises ConversionError."""
    return _convert(message, value, message)


def _convert(message: str, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConversionError(f"Expecting a JSON object for {where}")
    converted: dict[str, Any] = {}
    for field in _fields(message):
        given = value.get(field.name)
        if given is None:
            if field.required:
                raise ConversionError(f"Missing required field '{field.name}' of {where}")
            if field.default is not None:
                converted[field.name] = field.default
            continue
        if field.repeated:
            items = given if isinstance(given, list) else [given]
            read = [field.read(item, field.name) for item in items]
            if kept := [item for item in read if item is not UNSET]:
                converted[field.name] = kept
            continue
        if isinstance(given, list):
            raise ConversionError(f"Not expecting an array for field '{field.name}'")
        single = field.read(given, field.name)
        if single is not UNSET:
            converted[field.name] = single
        elif field.required:
            raise ConversionError(f"Failed to find enum value for required field '{field.name}' of {where}")
    return converted


@cache
def _fields(message: str) -> tuple[_Field, ...]:
    fields = []
    for word in TABLE[message].split():
        mark = min(index for index in (word.find(sign) for sign in "!?*") if index > 0)
        kind, _, default = word[mark + 1 :].partition("=")
        fields.append(
            _Field(
                name=word[:mark],
                repeated=word[mark] == "*",
                required=word[mark] == "!",
                read=_reader(kind),
                default=orjson.loads(default) if default else None,
            )
        )
    return tuple(fields)


def _reader(kind: str) -> Callable[[Any, str], Any]:
    if kind.startswith("@"):
        names = frozenset(kind[1:].split("|"))
        return lambda value, where: _enum(names, value, where)
    scalars: dict[str, Callable[[Any, str], Any]] = {
        "string": _string,
        "int": _int,
        "double": _double,
        "bool": _bool,
        "bytes": _bytes,
        "json": _object,
    }
    return scalars.get(kind) or (lambda value, where: _convert(kind, value, where))


def _enum(names: frozenset[str], value: Any, where: str) -> Any:
    if not isinstance(value, str):
        raise ConversionError(f"Expecting a string for enum field '{where}'")
    return value if value in names else UNSET


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ConversionError(f"Expecting a string for field '{where}'")
    return value


def _double(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ConversionError(f"Expecting a number for field '{where}'")
    try:
        return float(value)
    except (ValueError, OverflowError) as error:
        raise ConversionError(f"Failed to parse '{value}' as a number for field '{where}'") from error


def _int(value: Any, where: str) -> int:
    number = value if isinstance(value, int) and not isinstance(value, bool) else _double(value, where)
    if not math.isfinite(number) or not SMALLEST_INTEGER <= number < LARGEST_INTEGER:
        raise ConversionError(f"Expecting an integer of 64 bits for field '{where}'")
    return int(number)


def _bool(value: Any, where: str) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise ConversionError(f"Expecting a boolean for field '{where}'")


def _bytes(value: Any, where: str) -> str:
    """Bytes stay base64 text: nobody but the final reader needs them decoded."""
    try:
        base64.b64decode(_string(value, where), validate=True)
    except binascii.Error as error:
        raise ConversionError(f"Failed to base64 decode field '{where}'") from error
    return str(value)


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConversionError(f"Expecting a JSON object for field '{where}'")
    return value
