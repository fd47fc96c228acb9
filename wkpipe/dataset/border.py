"""The border: names of the `webknossos` package for servers, annotations and more, which wkpipe does not have.

They can be imported, and used in annotations and with `isinstance`, so a script that only names them runs. Using one raises
one line that says what to do instead. `webknossos` can be imported beside wkpipe, and both can open the same dataset.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

from wkpipe.errors import UsageError


class NotOffered(UsageError, NotImplementedError, AttributeError):
    """The script uses a part of `webknossos` that wkpipe does not have."""


class _Beyond(type):
    """The type of the names beyond the border: every use of one is refused."""

    def __call__(cls, *_: Any, **__: Any) -> NoReturn:
        raise _refusal(cls.__name__)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):  # Python asks for many of these: they are no use of the name
            raise AttributeError(name)
        raise _refusal(cls.__name__)


def _refusal(name: str) -> NotOffered:
    beside = "use webknossos beside it, both can open the same dataset"
    return NotOffered(f"wkpipe has no {name}", fix=_INSTEAD.get(name, beside))


_ANNOTATIONS: Final = (
    *("Annotation", "AnnotationInfo", "AnnotationState", "AnnotationType", "RemoteAnnotation", "SegmentInformation"),
    *("Skeleton", "Group", "Tree", "Node", "Graph", "NmlParsingError"),
)
_SERVERS: Final = (
    *("AiModelCategory", "RemoteAiModel", "Datastore", "Project", "Task", "TaskStatus", "TaskType", "Team", "User", "LoggedTime"),
    *("RemoteAccessMode", "RemoteFolder", "RemoteLayer", "RemoteMagView", "RemoteSegmentationLayer", "LayerToLink", "TransferMode"),
    *("RemoteAttachments", "StorageCredentials", "WkApiClient", "webknossos_context", "login"),
)
_OTHERS: Final = ("LayerExport", "get_dataset_converter")
_CONNECTION: Final = "set WK_TOKEN to your token, and give webknossos_url to Dataset.upload, Dataset.download or Dataset.open_remote"
_INSTEAD: Final = {
    "webknossos_context": _CONNECTION,
    "login": _CONNECTION,
    "WkApiClient": _CONNECTION,
    "TransferMode": "leave transfer_mode out: files are sent over HTTP",
}

BEYOND: Final[dict[str, Any]] = {name: _Beyond(name, (), {"__module__": "wkpipe"}) for name in _ANNOTATIONS + _SERVERS + _OTHERS}
"""The names beyond the border."""


def __getattr__(name: str) -> Any:
    if name in BEYOND:
        return BEYOND[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
