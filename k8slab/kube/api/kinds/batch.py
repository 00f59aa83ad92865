"""Jobs that end, and jobs by the clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from zoneinfo import ZoneInfo

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.kind import AGE, NAME, Column, Kind
from k8slab.kube.api.kinds.job_rules import job_spec_problems
from k8slab.kube.api.kinds.template import (
    SELECTOR,
    TEMPLATE_COLUMNS,
    counts_problems,
    pod_spec_columns,
    selector_problems,
    starts_with_status,
    template_defaults,
)
from k8slab.kube.api.meta import Object, age, dig, duration, is_number, parse_time
from k8slab.kube.durations import duration as duration_of

GROUP: Final = "batch"
PREFIX: Final = "batch.kubernetes.io/"
CONCURRENCY: Final = ("Allow", "Forbid", "Replace")
# What must stay as it was.
KEPT: Final = (
    *("selector", "template", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy"),
    "successPolicy",
)
# Of a template's pods: what may change while a suspended job has not begun.
WHERE: Final = ("affinity", "nodeSelector", "tolerations", "schedulingGates")
LONGEST_NAME: Final = 52
_WORDS: Final = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_EVERY: Final = "@every "
# What 64 bits can hold, which count nanoseconds.
_LONGEST_PERIOD: Final = 2**63 / 1e9
_RANGES: Final = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_NAMES: Final = {
    12: ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    6: ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}


def _job_defaults(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = spec["parallelism"] = 1
    for field, value in (
        ("parallelism", 1),
        ("completionMode", "NonIndexed"),
        ("suspend", False),
        ("manualSelector", False),
        ("backoffLimit", 2**31 - 1 if spec.get("backoffLimitPerIndex") is not None else 6),
        ("podReplacementPolicy", "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed"),
    ):
        if spec.get(field) is None:
            spec[field] = value
    _template_defaults(spec)


def _template_defaults(spec: Object) -> None:
    """What jobs and a cron job's template of them have in common."""
    template_defaults(spec.get("template"))
    for rule in dig(spec, "podFailurePolicy", "rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            pattern.setdefault("status", "True")


def _prepare_job(new: Object, old: Object | None) -> None:
    if old is not None:
        new["status"] = old.get("status") or {}
        return
    new["status"] = {}
    spec, meta = new["spec"], new["metadata"]
    if spec.get("manualSelector") or spec.get("template") is None or not meta.get("name"):
        return
    template = spec["template"]["metadata"]
    template["labels"] = {
        **(template.get("labels") or {}),
        f"{PREFIX}controller-uid": meta["uid"],
        f"{PREFIX}job-name": meta["name"],
        "controller-uid": meta["uid"],
        "job-name": meta["name"],
    }
    selector = spec["selector"] = dict(spec.get("selector") or {})
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), f"{PREFIX}controller-uid": meta["uid"]}


def _job_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    spec = new["spec"]
    found = selector_problems(spec, "spec", "job") if spec.get("template") is not None else []
    found += job_spec_problems(spec, "spec")
    if old is None:
        return found
    was = old["spec"]
    kept = {**was, "template": _template_kept(spec, was)} if _may_change_template(old) else was
    for field in KEPT:
        if spec.get(field) != kept.get(field):
            shown = spec.get(field) if not isinstance(spec.get(field), dict) else validation.Literal(_go(field, spec))
            found.append(validation.immutable(f"spec.{field}", shown))
    if (completions := spec.get("completions")) != was.get("completions"):
        if spec["completionMode"] != "Indexed":
            found.append(validation.immutable("spec.completions", completions))
        elif completions != spec.get("parallelism"):
            why = "can only be modified in tandem with spec.parallelism"
            found.append(validation.invalid("spec.completions", completions, why))
    return found


def _template_kept(spec: Mapping[str, Any], was: Mapping[str, Any]) -> Object:
    """The template as it was, with what says where its pods go, and their labels and annotations, as it is now."""
    new, kept = spec.get("template") or {}, dict(was["template"])
    for part, fields in (("metadata", ("labels", "annotations")), ("spec", WHERE)):
        held = {key: value for key, value in (kept.get(part) or {}).items() if key not in fields}
        held |= {key: value for key, value in (new.get(part) or {}).items() if key in fields}
        kept[part] = held
    return kept


def _go(field: str, spec: Mapping[str, Any]) -> str:
    if field == "selector":
        return validation.go_selector(spec["selector"])
    return "core.PodTemplateSpec{…}" if field == "template" else f"{field}{{…}}"


def _may_change_template(old: Object) -> bool:
    return bool(dig(old, "spec", "suspend")) and not dig(old, "status", "startTime")


def _job_status(obj: Object) -> str:
    true = {one.get("type") for one in dig(obj, "status", "conditions") or () if one.get("status") == "True"}
    for condition in ("Complete", "Failed"):
        if condition in true:
            return condition
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return next((one for one in ("Suspended", "FailureTarget", "SuccessCriteriaMet") if one in true), "Running")


def _completions(obj: Object) -> str:
    done, wanted = dig(obj, "status", "succeeded") or 0, dig(obj, "spec", "completions")
    if wanted is not None:
        return f"{done}/{wanted}"
    at_once = dig(obj, "spec", "parallelism") or 0
    return f"{done}/1 of {at_once}" if at_once > 1 else f"{done}/1"


def _duration(obj: Object) -> str:
    began, ended = dig(obj, "status", "startTime"), dig(obj, "status", "completionTime")
    if not began:
        return ""
    first, last = parse_time(began), parse_time(ended) if ended else None
    return age(began) if last is None or first is None else duration(last - first)


def _cron_job_defaults(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    for field, value in (
        ("concurrencyPolicy", "Allow"),
        ("suspend", False),
        ("successfulJobsHistoryLimit", 3),
        ("failedJobsHistoryLimit", 1),
    ):
        if spec.get(field) is None:
            spec[field] = value
    if (job := spec.get("jobTemplate")) is not None:
        job.setdefault("metadata", {}).setdefault("creationTimestamp", None)
        _template_defaults(job.setdefault("spec", {}))


def _cron_job_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    spec = new["spec"]
    found: list[FieldProblem] = []
    if len(new["metadata"].get("name") or "") > LONGEST_NAME:
        why = f"must be no more than {LONGEST_NAME} characters"
        found.append(validation.invalid("metadata.name", new["metadata"]["name"], why))
    if not spec.get("schedule"):
        found.append(validation.required("spec.schedule"))
    else:
        found += validation.checked("spec.schedule", spec["schedule"], schedule_problems)
    zone = spec.get("timeZone")
    if zone == "":
        found.append(validation.invalid("spec.timeZone", zone, "timeZone must be nil or non-empty string"))
    elif zone is not None and zone.lower() == "local":
        why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        found.append(validation.invalid("spec.timeZone", zone, why))
    elif zone is not None and not _is_zone(zone):
        found.append(validation.invalid("spec.timeZone", zone, f"unknown time zone {zone}"))
    found += validation.one_of("spec.concurrencyPolicy", spec["concurrencyPolicy"], CONCURRENCY)
    found += counts_problems(spec, "startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit")
    job = dig(spec, "jobTemplate", "spec") or {}
    found += job_spec_problems(job, "spec.jobTemplate.spec")
    if job.get("selector") is not None:
        shown = validation.go_selector(job["selector"])
        found.append(validation.invalid("spec.jobTemplate.spec.selector", shown, "`selector` will be auto-generated"))
    if job.get("manualSelector"):
        found.append(validation.not_supported("spec.jobTemplate.spec.manualSelector", True, ("nil", "false")))
    return found


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return False
    return bool(name)


def _is_period(text: str) -> bool:
    """A number with its unit; 0 needs none."""
    try:
        return duration_of(text) < _LONGEST_PERIOD and (text == "0" or text[-1].isalpha())
    except ValueError:
        return False


def schedule_problems(text: str) -> list[str]:
    """What is wrong with a cron schedule: five fields, or one of the words for them."""
    if "TZ" in text:
        return ["cannot use TZ or CRON_TZ in schedule, use timeZone field instead"]
    if text in _WORDS:
        return []
    if text.startswith(_EVERY):
        period = text.removeprefix(_EVERY)
        return [] if _is_period(period) else [f'failed to parse duration {text}: time: invalid duration "{period}"']
    if text.startswith("@"):
        return [f"unrecognized descriptor: {text}"]
    fields = text.split()
    if len(fields) != len(_RANGES):
        return [f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]"]
    for field, (least, most) in zip(fields, _RANGES, strict=True):
        for part in field.split(","):
            if why := _part_problem(part, least, most):
                return [why]
    return []


def _part_problem(part: str, least: int, most: int) -> str:
    span, slash, step = part.partition("/")
    if slash and not is_number(step):
        return _no_number(step)
    if slash and int(step) == 0:
        return f"step of range should be a positive number: {part}"
    if span in ("*", "?"):
        return ""
    ends = span.split("-")
    if len(ends) > 2:
        return f"too many hyphens: {part}"
    names, numbers = _NAMES.get(most, ()), []
    for end in ends:
        if end.lower() in names:
            numbers.append(names.index(end.lower()) + least)
        elif is_number(end):
            numbers.append(int(end))
        else:
            return _no_number(end)
        if numbers[-1] < least:
            return f"beginning of range ({end}) below minimum ({least}): {part}"
        if numbers[-1] > most:
            return f"end of range ({end}) above maximum ({most}): {part}"
    if numbers[0] > numbers[-1]:
        return f"beginning of range ({numbers[0]}) beyond end of range ({numbers[-1]}): {part}"
    return ""


def _no_number(text: str) -> str:
    return f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax'


def _last_schedule(obj: Object) -> str:
    last = dig(obj, "status", "lastScheduleTime")
    return age(last) if last else "<none>"


def _suspended(obj: Object) -> str:
    return str(bool(dig(obj, "spec", "suspend")))


def _read_successes(obj: Mapping[str, Any]) -> str:
    return str(dig(obj, "status", "succeeded") or 0)


JOB: Final = Kind(
    kind="Job",
    plural="jobs",
    singular="job",
    group=GROUP,
    categories=("all",),
    columns=(
        NAME,
        Column("Status", _job_status),
        Column("Completions", _completions),
        Column("Duration", _duration),
        AGE,
        *TEMPLATE_COLUMNS,
        SELECTOR,
    ),
    fields={"status.successful": _read_successes},
    default=_job_defaults,
    prepare=_prepare_job,
    validate=_job_problems,
    status=True,
    generation=True,
    orphans_dependents=True,
)

CRON_JOB: Final = Kind(
    kind="CronJob",
    plural="cronjobs",
    singular="cronjob",
    group=GROUP,
    short_names=("cj",),
    categories=("all",),
    columns=(
        NAME,
        Column("Schedule", lambda obj: obj["spec"].get("schedule") or ""),
        Column("Timezone", lambda obj: obj["spec"].get("timeZone") or "<none>"),
        Column("Suspend", _suspended, type="boolean"),
        Column("Active", lambda obj: len(dig(obj, "status", "active") or ()), type="integer"),
        Column("Last Schedule", _last_schedule),
        AGE,
        *pod_spec_columns("spec", "jobTemplate", "spec", "template", "spec"),
        Column("Selector", lambda obj: "<none>", wide=True),
    ),
    default=_cron_job_defaults,
    prepare=starts_with_status(),
    validate=_cron_job_problems,
    status=True,
    generation=True,
)

BATCH: Final = (CRON_JOB, JOB)
