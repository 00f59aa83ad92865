"""An etcd that is not there: whoever runs the API server reads in its log which one, and what was met."""

from __future__ import annotations

import socket

import pytest

from k8slab.kube.api.storage import etcd
from k8slab.kube.api.storage.base import StorageUnavailable


async def test_an_etcd_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd, "DEADLINE", 1.0)
    with socket.socket() as nobody:
        # Bound and not listening: nobody else takes the port, and whoever connects is refused.
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        storage = etcd.EtcdStorage([f"http://{address}", "http://nosuch.invalid:2379"])
        try:
            with pytest.raises(StorageUnavailable) as raised:
                await storage.get("/registry/x")
        finally:
            await storage.close()
    assert raised.value.said == "", "clients are told of a timeout"
    assert f"{address}: failed to connect" in str(raised.value)
    assert "nosuch.invalid:2379: " in str(raised.value)
