"""`kubecfg`: the client of the first versions, in the words of v1beta1. `KUBERNETES_MASTER` names the server."""

from __future__ import annotations

import http.client
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from k8slab.daemon import FlagParser

PREFIX: Final = "/api/v1beta1"
DEFAULT_MASTER: Final = "http://127.0.0.1:8080"
PATIENCE: Final = 30.0
USAGE: Final = """\
kubecfg [-h HOST] [-ns NAMESPACE] [-l LABELS] [-json] list|get|delete STORAGE[/ID]
kubecfg [-h HOST] [-ns NAMESPACE] [-json] -c FILE create|update STORAGE[/ID]
kubecfg [-h HOST] [-ns NAMESPACE] resize CONTROLLER REPLICAS
kubecfg [-h HOST] [-ns NAMESPACE] stop|rm CONTROLLER
  STORAGE is pods, services, replicationControllers, minions or endpoints"""
# As the original's tables have it.
NARROWEST: Final = 20
GAP: Final = 3
RULE: Final = "----------"

Object = dict[str, Any]
Columns = Sequence[tuple[str, Callable[[Mapping[str, Any]], str]]]


class Refused(Exception):
    """What the server or the network said instead of an answer."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = FlagParser(prog="kubecfg", usage=USAGE, add_help=False, allow_abbrev=False)
    parser.flag("h", "the server", default=os.environ.get("KUBERNETES_MASTER") or DEFAULT_MASTER)
    parser.flag("c", "a file with the object")
    parser.flag("l", "labels, as name=value,…", default="")
    parser.flag("ns", "the namespace", default="default")
    for name in ("json", "help"):
        parser.add_argument(f"-{name}", f"--{name}", action="store_true")
    parser.add_argument("words", nargs="*")
    flags = parser.parse_intermixed_args(list(sys.argv[1:] if argv is None else argv))
    if flags.help or not flags.words:
        print(USAGE)
        return 0 if flags.help else 2
    try:
        print(_told(_Client(flags.h, flags.ns), flags, parser), end="")
    except Refused as refused:
        print(f"kubecfg: {refused}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    return 0


def _told(client: _Client, flags: Any, parser: FlagParser) -> str:
    verb, *arguments = flags.words
    wanted = {"resize": 2}.get(verb, 1)
    if len(arguments) != wanted:
        parser.error(f"{verb} takes {wanted} argument{'s' * (wanted != 1)}")
    path = arguments[0].strip("/")
    match verb:
        case "list" | "get":
            answer = client.ask("GET", path, query={"labels": flags.l} if flags.l else {})
        case "delete":
            answer = client.ask("DELETE", path)
        case "create":
            answer = client.ask("POST", path, body=_file(flags.c, parser))
        case "update":
            body = _file(flags.c, parser)
            storage = path if "/" in path else f"{path}/{body.get('id', '')}"
            answer = client.ask("PUT", storage, body=_of_now(client.ask("GET", storage), body))
        case "resize":
            if not arguments[1].isdecimal():
                parser.error(f"{arguments[1]!r} is no number of replicas")
            answer = _resize(client, path, int(arguments[1]))
        case "stop":
            answer = _resize(client, path, 0)
        case "rm":
            answer = client.ask("DELETE", f"replicationControllers/{path}")
        case _:
            parser.error(f"there is no {verb!r} here")
    return json.dumps(answer, indent=4) + "\n" if flags.json else table(answer)


class _Client:
    def __init__(self, master: str, namespace: str) -> None:
        self._url = (master if "://" in master else f"http://{master}").rstrip("/") + PREFIX
        self._namespace = namespace

    def ask(self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None) -> Object:
        """Raises Refused with what the server says of it."""
        text = urllib.parse.urlencode({"namespace": self._namespace, **(query or {})})
        data = json.dumps(body).encode() if body is not None else None
        try:
            request = urllib.request.Request(f"{self._url}/{urllib.parse.quote(path)}?{text}", data, method=method)
            request.add_header("Content-Type", "application/json")
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            try:
                raise Refused(json.loads(said)["message"]) from error
            except (ValueError, KeyError, TypeError):
                raise Refused(f"{error.code} {said.strip()}") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            said = str(getattr(error, "reason", error)) or type(error).__name__
            raise Refused(f"{self._url}: {said}") from error


def _file(name: str | None, parser: FlagParser) -> Object:
    if name:
        try:
            return dict(json.loads(Path(name).read_text()))
        except (OSError, ValueError, TypeError) as error:
            parser.error(f"-c {name}: {error}")
    parser.error("-c names the file with the object")
    raise AssertionError("an error of the parser ends the program")


def _of_now(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> Object:
    return {"resourceVersion": there.get("resourceVersion"), **wanted}


def _resize(client: _Client, controller: str, replicas: int) -> Object:
    path = f"replicationControllers/{controller}"
    there = client.ask("GET", path)
    there["desiredState"]["replicas"] = replicas
    return client.ask("PUT", path, body=there)


def table(answer: Mapping[str, Any]) -> str:
    """A list or an object as the original prints it; an object of a kind without a table as JSON."""
    kind = str(answer.get("kind", "")).removesuffix("List")
    if kind not in TABLES:
        return json.dumps(answer, indent=4) + "\n"
    columns = TABLES[kind]
    items = (answer.get("items") or []) if "items" in answer else [answer]
    rows = [
        [name for name, _ in columns],
        [RULE] * len(columns),
        *([cell(one) for _, cell in columns] for one in items),
    ]
    widths = [max(NARROWEST, *(len(row[index]) + GAP for row in rows)) for index in range(len(columns))]
    lines = ("".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "".join(f"{line}\n" for line in lines)


def _words(labels: Mapping[str, str] | None) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted((labels or {}).items()))


def _images(manifest: Mapping[str, Any]) -> str:
    return ",".join(one.get("image", "") for one in manifest.get("containers") or ())


def _host(pod: Mapping[str, Any]) -> str:
    state = pod.get("currentState") or {}
    return f"{state.get('host', '')}/{state.get('hostIP', '')}"


TABLES: Final[Mapping[str, Columns]] = {
    "Pod": (
        ("ID", lambda one: one["id"]),
        ("Image(s)", lambda one: _images(one["desiredState"]["manifest"])),
        ("Host", _host),
        ("Labels", lambda one: _words(one.get("labels"))),
        ("Status", lambda one: (one.get("currentState") or {}).get("status", "")),
    ),
    "ReplicationController": (
        ("ID", lambda one: one["id"]),
        ("Image(s)", lambda one: _images(one["desiredState"]["podTemplate"]["desiredState"]["manifest"])),
        ("Selector", lambda one: _words(one["desiredState"].get("replicaSelector"))),
        ("Replicas", lambda one: str(one["desiredState"].get("replicas", 0))),
    ),
    "Service": (
        ("ID", lambda one: one["id"]),
        ("Labels", lambda one: _words(one.get("labels"))),
        ("Selector", lambda one: _words(one.get("selector"))),
        ("IP", lambda one: one.get("portalIP", "")),
        ("Port", lambda one: str(one.get("port", ""))),
    ),
    "Minion": (
        ("Minion identifier", lambda one: one["id"]),
        ("Labels", lambda one: _words(one.get("labels"))),
    ),
    "Status": (("Status", lambda one: one.get("status", "")),),
}

if __name__ == "__main__":
    raise SystemExit(main())
