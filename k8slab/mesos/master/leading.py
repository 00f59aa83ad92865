"""What a master that does not lead answers."""

from __future__ import annotations

from aiohttp import web

from k8slab.mesos.http import refuse
from k8slab.mesos.master.master import Master


def not_leading(master: Master, request: web.Request) -> web.Response | None:
    """307 to the leader, 503 while nobody leads or the leader is not ready yet, None when this master leads."""
    if master.elected:
        return None if master.membership.recovered else refuse(503, "Master has not finished recovery")
    if master.leader is None:
        return refuse(503, "No leader elected")
    return redirect(master, request.raw_path)


def redirect(master: Master, path: str = "") -> web.Response:
    """Scheme-relative, by hostname: whoever reached us by http or https reaches the leader the same way."""
    leader = master.info if master.elected else master.leader
    if leader is None:
        return refuse(503, "No leader elected")
    return web.Response(status=307, headers={"Location": f"//{leader['hostname']}:{leader['port']}{path}"})
