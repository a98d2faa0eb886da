"""Files from the internet, checked before use, and downloads that can be stopped and gone on with."""

import http
import http.client
import logging
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from ...errors import UserError
from .cache import md5 as md5_of

log = logging.getLogger("erlangen")


def fetch(path: Path, url: str, md5: str) -> Path:
    """`path` itself if it is there, else downloaded from `url`; either way its MD5 must be the one given.

    A download that was stopped goes on where it ended; nothing stands at `path` before its MD5 is right.

    Raises UserError where there is no network, no room, or the bytes differ.
    """
    if path.exists():
        found = md5_of(path)
        if found != md5:
            raise UserError(f"{path} has MD5 {found}, should have {md5}: remove it and get it again from {url}")
        return path
    log.warning("downloading %s to %s", url, path)
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fetch_into(partial, url)
    except (http.client.HTTPException, OSError) as error:
        raise UserError(f"could not download {url} ({error}): put the file at {path} by hand, or try again") from None
    found = md5_of(partial)
    if found != md5:
        partial.unlink()
        raise UserError(f"{url} gave a file with MD5 {found}, should have {md5}: put the right file at {path} by hand")
    partial.rename(path)
    return path


def fetch_into(partial: Path, url: str) -> None:
    """Adds to `partial` whatever is missing of the file."""
    done = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if done and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # all of it is there already
        raise
    with response, partial.open("ab" if response.status == http.HTTPStatus.PARTIAL_CONTENT else "wb") as file:
        shutil.copyfileobj(response, file, 1 << 20)
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
