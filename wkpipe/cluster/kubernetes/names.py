"""The names and labels of Jobs, so that they are found again.

A name of Kubernetes has at most 63 characters, and no capitals. So the name that the watch gives to a job is kept as an
annotation, and its parts become labels.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

APPLICATION: Final = {"app.kubernetes.io/name": "wkpipe", "app.kubernetes.io/managed-by": "wkpipe"}
NAME: Final = "wkpipe/name"
"""The annotation with a job's name as the watch knows it."""

DATASET: Final = "wkpipe/dataset"
RUN: Final = "wkpipe/run"
TASK: Final = "wkpipe/task"
TRY: Final = "wkpipe/try"

MOST_CHARACTERS: Final = 57
"""The longest name: Kubernetes adds a dash and five characters for a pod, and names of pods with up to 63 are not cut."""

_HASH_CHARACTERS: Final = 8
_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def job_name(name: str) -> str:
    """Return the name of the Job for a job, made unique by a hash of the job's name.

    >>> job_name("wkpipe-0a1b2c3d4e-5f6071829304-1.convert-0001")
    'wkpipe-0a1b2c3d4e-5f6071829304-1-convert-0001-2dcb75ce'
    """
    return _short(name, MOST_CHARACTERS)


def labels(name: str) -> dict[str, str]:
    """Return the labels of a job by the parts of its name, ``wkpipe-DATASET-RUN-TRY.TASK``."""
    head, _, task = name.partition(".")
    _, dataset, run, attempt = (*head.split("-", 3), "", "", "")[:4]
    parts = {DATASET: dataset, RUN: run, TRY: attempt, TASK: task}
    return APPLICATION | {key: _label(value) for key, value in parts.items() if value}


def selector(prefix: str) -> str:
    """Return the selector of all jobs on the dataset that a prefix of names begins with; of all jobs of wkpipe if it names none.

    >>> selector("wkpipe-0a1b2c3d4e-5f6071829304-1.")
    'app.kubernetes.io/managed-by=wkpipe,wkpipe/dataset=0a1b2c3d4e'
    """
    found = re.match(r"[^-]*-([^-]+)-", prefix)
    wanted = {"app.kubernetes.io/managed-by": "wkpipe"} | ({} if found is None else {DATASET: _label(found[1])})
    return ",".join(f"{key}={value}" for key, value in wanted.items())


def _label(text: str) -> str:
    return text if _LABEL.fullmatch(text) else _short(text, 63)


def _short(text: str, most: int) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if slug == text and len(slug) <= most:
        return slug
    digest = hashlib.sha256(text.encode()).hexdigest()[:_HASH_CHARACTERS]
    return f"{slug[: most - _HASH_CHARACTERS - 1].rstrip('-')}-{digest}".lstrip("-")
