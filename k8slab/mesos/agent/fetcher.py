"""``mesos-fetcher``: brings what a command needs into its sandbox, as the user it will run as.

``MESOS_FETCHER_INFO`` is a JSON object: ``directory``, and ``items``, each a CommandInfo URI with ``from``, the cached
file to take instead of what the URI names, or ``into``, the file to download to, and nothing else. Why it failed is the
only thing on stdout. It needs nothing but the standard library, which is what makes it start fast.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
STALLED_SECONDS = 60.0
REMOTE = ("http", "https", "ftp")


def fetch(item: Mapping[str, Any], sandbox: Path) -> None:
    """Raises OSError or ValueError."""
    uri = item["value"]
    address = urlsplit(uri)
    if "into" in item:
        draft = Path(item["into"] + ".draft")
        _bring(uri, draft)
        draft.replace(item["into"])
        return
    target = _place(item.get("output_file") or Path(unquote(address.path)).name, sandbox)
    print(f"Fetching '{uri}' to '{target}'", file=sys.stderr)
    _bring(item.get("from") or uri, target)
    if item.get("executable"):
        target.chmod(target.stat().st_mode | 0o111)
    elif item.get("extract", True):
        _extract(target, sandbox)


def _place(name: str, sandbox: Path) -> Path:
    """Where in the sandbox ``name`` goes. Raises ValueError when that is not in it."""
    target = (sandbox / name).resolve()
    if not name or not target.is_relative_to(sandbox.resolve()) or target == sandbox.resolve():
        raise ValueError(f"{name!r} is not a place in the sandbox")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _bring(uri: str, target: Path) -> None:
    address = urlsplit(uri)
    if address.scheme in REMOTE:
        _download(uri, target)
    elif address.scheme in ("file", ""):
        source = Path(unquote(address.path))
        if not source.is_absolute():
            raise ValueError("a path must be absolute")
        shutil.copyfile(source, target)
        target.chmod(source.stat().st_mode & 0o777 | 0o200)
    else:
        raise ValueError(f"this agent cannot fetch {address.scheme}://")


def _download(url: str, target: Path) -> None:
    try:
        with urlopen(url, timeout=STALLED_SECONDS) as answer, target.open("wb") as file:
            shutil.copyfileobj(answer, file)
            expected = answer.headers.get("Content-Length")
        if expected is not None and target.stat().st_size != int(expected):
            raise OSError(f"got {target.stat().st_size} of {expected} bytes")
    except HTTPError as error:
        raise OSError(f"HTTP status {error.code}") from error
    except URLError as error:
        raise OSError(str(error.reason)) from error


def _extract(archive: Path, sandbox: Path) -> None:
    name = archive.name
    try:
        if name.endswith(TARS):
            with tarfile.open(archive) as tar:
                _extract_tar(tar, sandbox)
        elif name.endswith(".zip"):
            with zipfile.ZipFile(archive) as packed:
                _extract_zip(packed, sandbox)
        elif name.endswith(".gz"):
            with gzip.open(archive) as packed_file, archive.with_suffix("").open("wb") as plain:
                shutil.copyfileobj(packed_file, plain)
        else:
            return
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"failed to extract: {error}") from error
    print(f"Extracted '{archive}' into '{sandbox}'", file=sys.stderr)


def _extract_tar(tar: tarfile.TarFile, sandbox: Path) -> None:
    """What points out of the sandbox is refused before it is written."""
    home = sandbox.resolve()
    for member in tar:
        target = (home / member.name).resolve()
        inside = target.is_relative_to(home)
        if member.issym():
            inside = inside and (target.parent / member.linkname).resolve().is_relative_to(home)
        elif member.islnk():
            inside = inside and (home / member.linkname).resolve().is_relative_to(home)
        if not inside or member.isdev():
            raise ValueError(f"failed to extract: {member.name!r} does not belong into a sandbox")
        member.mode &= 0o777
        member.uid, member.gid, member.uname, member.gname = os.geteuid(), os.getegid(), "", ""
        tar.extract(member, home)


def _extract_zip(packed: zipfile.ZipFile, sandbox: Path) -> None:
    for entry in packed.infolist():
        path = Path(packed.extract(entry, sandbox))
        if (mode := entry.external_attr >> 16 & 0o777) and not entry.is_dir():
            path.chmod(mode)


def main() -> int:
    info = json.loads(os.environ["MESOS_FETCHER_INFO"])
    for item in info["items"]:
        try:
            fetch(item, Path(info["directory"]))
        except Exception as error:
            # Whatever servers and archives make a library raise: here it ends, told with the URI it is about.
            told = str(error) if isinstance(error, (OSError, ValueError)) else f"{type(error).__name__}: {error}"
            print(f"Failed to fetch '{item['value']}': {told}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
