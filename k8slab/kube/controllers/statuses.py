"""Writing what a controller has found out about an object that it keeps."""

from __future__ import annotations

from k8slab.kube.client import ApiError, KubeClient, Object


async def write_status(client: KubeClient, resource: str, owner: Object, status: Object) -> Object | None:
    """The object as it was written, or None when its status is so already or it is gone.

    On condition that nobody has changed it since ``owner`` was read: raises ApiError (a conflict) then.
    """
    if status == (owner.get("status") or {}):
        return None
    try:
        return await client.update(resource, {**owner, "status": status}, subresource="status")
    except ApiError as error:
        if error.is_not_found:
            return None
        raise
