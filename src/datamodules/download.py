"""Files from the internet, checked before use, and downloads that can be stopped and gone on with."""

import logging
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from ..errors import UserError
from .cache import md5 as md5_of

log = logging.getLogger("erlangen")


def fetch(path: Path, url: str, md5: str) -> Path:
    """`path` itself if it is there, else downloaded from `url`; either way its MD5 must be the one given.

    A download that was stopped goes on where it ended. Raises UserError where there is no network or the bytes differ.
    """
    if not path.exists():
        _download(path, url)
    found = md5_of(path)
    if found != md5:
        raise UserError(f"{path} has MD5 {found}, should have {md5}: remove it and get it again from {url}")
    return path


def _download(path: Path, url: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    done = partial.stat().st_size if partial.exists() else 0
    log.warning("downloading %s to %s", url, path)
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            mode = "ab" if response.status == 206 else "wb"
            with partial.open(mode) as file:
                shutil.copyfileobj(response, file, 1 << 20)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise UserError(f"could not download {url} ({error}): put the file at {path} by hand, or try again") from None
    partial.rename(path)
