"""Upgraded requests, passed on to the server that can answer them: after its 101 nothing is looked into any more."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from aiohttp import web

from k8slab.kube.api import errors
from k8slab.kube.api.auth.authentication import TOKEN_PROTOCOL
from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.streams.locate import Place
from k8slab.kube.malformed import legible
from k8slab.kube.streams import dial, pump
from k8slab.kube.streams.carrier import Connection
from k8slab.kube.streams.takeover import Taken, take, while_there

# Of the client's connection to this server alone, and not of the next one.
HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def sent_on(request: web.BaseRequest) -> list[tuple[str, str]]:
    """The client's headers that are the next server's business: not its credentials for this one."""
    kept = []
    for name, value in request.headers.items():
        lower = name.lower()
        if lower in HOP_BY_HOP or lower in ("host", "content-length", "expect") or lower.startswith("impersonate-"):
            continue
        if lower == "authorization" and request.secure:
            continue
        if lower == "sec-websocket-protocol":
            protocols = (one.strip() for one in value.split(","))
            value = ", ".join(one for one in protocols if not one.startswith(TOKEN_PROTOCOL))
        if value or lower != "sec-websocket-protocol":
            kept.append((name, legible(value)))
    return kept


async def pass_upgrade(
    request: web.BaseRequest,
    place: Place,
    target: str,
    *,
    unreachable: Callable[[str], ApiFailure],
    extra: Iterable[tuple[str, str]] = (),
) -> web.StreamResponse:
    """Ask ``place`` for the same upgrade, and join both connections; what is no 101 is the client's answer too.

    ``unreachable`` makes the failure of a place that does not answer, from a sentence.
    """
    try:
        behind = await dial.connect(place.host, place.port or 80)
    except dial.Unreachable as trouble:
        raise unreachable(str(trouble)) from None
    try:
        asking = dial.ask(behind, request.method, target, _headers(request, place, list(extra)))
        answer = await while_there(request, asking)
        if answer.status != 101:
            return await _refused(behind, answer)
        front = take(request)
        await front.write(answer.head)
        await pump.join(front, behind)
    except dial.Garbled as trouble:
        raise unreachable(str(trouble)) from None
    except ConnectionError:
        return Taken()
    finally:
        behind.writer.close()
    return Taken()


def _headers(request: web.BaseRequest, place: Place, extra: list[tuple[str, str]]) -> list[tuple[str, str]]:
    made_anew = {name.lower() for name, _ in extra}
    kept = [pair for pair in sent_on(request) if pair[0].lower() not in made_anew]
    upgrade = [("Connection", "Upgrade"), ("Upgrade", request.headers.get("Upgrade", ""))]
    return [("Host", place.netloc), *kept, *extra, *upgrade, ("Content-Length", "0")]


async def _refused(behind: Connection, answer: dial.Answer) -> web.Response:
    body = await dial.refusal(behind, answer)
    kept = {
        name: value
        for name, value in answer.headers
        if name.lower() not in HOP_BY_HOP and name.lower() != "content-length" and (name + value).isprintable()
    }
    return web.Response(status=answer.status, body=body, headers=kept)


def backend_error(message: str) -> ApiFailure:
    return ApiFailure(500, "", f"error dialing backend: {message}")


def upgrade_required() -> ApiFailure:
    return errors.bad_request("Upgrade request required")
