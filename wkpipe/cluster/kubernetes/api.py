"""Call the API of a cluster, and distinguish its failures.

The official client authenticates, in each of the ways that it supports; answers are used as JSON. One call that fails because of its
connection is made again at once: a connection that was kept open dies with the API server's restart, and all calls are safe to repeat.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from wkpipe.cluster.backend import Away, Full, Refused
from wkpipe.errors import one_line

Json = dict[str, Any]

CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 30.0
SILENT_SECONDS: Final = 90.0
"""A watch without any news for this long is broken: the API server sends a bookmark every minute."""

WATCH_SECONDS: Final = 600
LOG_BYTES: Final = 1 << 20

GONE: Final = 410
_OF_THE_POD: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_TRANSIENT: Final = frozenset({0, 401, 408, 409, 429})
INSTALL: Final = "the Python package kubernetes is missing; pip install 'wkpipe[kubernetes]'"


class TooOld(Exception):
    """The API server no longer knows the version from which a watch was to go on."""


class Api:
    """The API of one cluster, for one namespace. The calls may come from several threads."""

    def __init__(self, context: str | None = None, namespace: str | None = None) -> None:
        self._context, self._namespace = context, namespace
        self._lock = threading.Lock()
        self._client: _Client | None = None
        self._watching: list[Any] = []
        self._is_closed = False
        self.calls: Counter[str] = Counter()

    @property
    def namespace(self) -> str:
        """The namespace of all calls."""
        return self._connected().namespace

    # -- calls --------------------------------------------------------------------------------------------------

    def create_job(self, body: Json) -> Json:
        """Create a Job; one of that name that exists already is what was wanted, because names are unique to a job and its try.

        Raises:
            Full, Away, Refused: it is not created.
        """
        name, created = body["metadata"]["name"], None
        while created is None:  # one that exists may be gone before it is read
            created = self._json("create job", lambda client: client.batch.create_namespaced_job, body=body, none_if=409)
            if created is None:
                created = self._json("get job", lambda client: client.batch.read_namespaced_job, name=name, none_if=404)
        return created

    def delete_job(self, name: str) -> None:
        """Delete a Job, which stays until its pod has ended; one that does not exist is fine.

        Raises:
            Away, Refused: it may not be deleted.
        """
        call = "delete job"
        self._json(call, lambda client: client.batch.delete_namespaced_job, name=name, propagation_policy="Foreground", none_if=404)

    def listed(self, kind: str, selector: str) -> tuple[list[Json], str]:
        """Return the Jobs (kind "jobs") or pods with some labels, and the version from which a watch can go on.

        Raises:
            Away, Refused: they cannot be listed.
        """
        found = self._json(f"list {kind}", _lister(kind), label_selector=selector)
        assert found is not None
        return found["items"], found["metadata"]["resourceVersion"]

    def watched(self, kind: str, selector: str, version: str) -> Iterator[Json]:
        """Yield events from a version on, until the API server ends the call.

        Raises:
            TooOld: the version is not known any more.
            Away, Refused: as `listed`.
        """
        options: dict[str, Any] = {
            "watch": True,
            "resource_version": version,
            "allow_watch_bookmarks": True,
            "timeout_seconds": WATCH_SECONDS,
        }
        answer = self._raw(f"watch {kind}", _lister(kind), SILENT_SECONDS, label_selector=selector, **options)
        with self._lock:
            self._watching.append(answer)
            lines = iter(()) if self._is_closed else _lines(answer)
        try:
            for line in lines:
                event: Json = json.loads(line)
                if event["type"] == "ERROR":
                    raise TooOld if event["object"].get("code") == GONE else Away(one_line(str(event["object"].get("message")), 200))
                yield event
        finally:
            with self._lock:
                self._watching.remove(answer)
            answer.close()

    def end_watches(self) -> None:
        """End all watches from another thread; new ones end at once."""
        with self._lock:
            self._is_closed = True
            for answer in self._watching:
                with contextlib.suppress(Exception):  # it may just have ended
                    answer.shutdown()

    def followed(self, pod: str) -> Iterator[bytes]:
        """Yield the log of a pod from its beginning, until its container ends.

        Raises:
            Away, Refused: it cannot be read, or not for longer.
        """
        import urllib3

        answer = self._raw("follow log", lambda client: client.core.read_namespaced_pod_log, SILENT_SECONDS, name=pod, follow=True)
        try:
            yield from answer.stream(amt=None, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Away(one_line(str(error), 300)) from None
        finally:
            answer.close()

    def log(self, pod: str) -> bytes:
        """Return the end of the log of a pod.

        Raises:
            Away, Refused: it cannot be read.
        """
        return self._whole("get log", lambda client: client.core.read_namespaced_pod_log, name=pod, tail_lines=1000, limit_bytes=LOG_BYTES)

    def events(self, selector: str) -> list[Json]:
        """Return the events with some fields; none if they may not be read."""
        try:
            found = self._json("list events", lambda client: client.core.list_namespaced_event, field_selector=selector)
        except Refused:
            return []
        return [] if found is None else found["items"]

    def nodes(self) -> list[Json]:
        """Return the nodes of the cluster.

        Raises:
            Away, Refused: they cannot be listed.
        """
        found = self._json("list nodes", lambda client: client.core.list_node, is_namespaced=False)
        return [] if found is None else found["items"]

    # -- how they are made -----------------------------------------------------------------------------------------

    def _json(self, call: str, of: Callable[[_Client], Any], none_if: int = 0, **arguments: Any) -> Json | None:
        data = self._whole(call, of, none_if=none_if, **arguments)
        found: Json | None = json.loads(data) if data else None
        return found

    def _whole(self, call: str, of: Callable[[_Client], Any], **arguments: Any) -> bytes:
        """Return an answer as a whole; empty if there is none."""
        data: bytes | None = self._raw(call, of, ANSWER_SECONDS, take=lambda answer: answer.read(), **arguments)
        return data or b""

    def _raw(
        self,
        call: str,
        of: Callable[[_Client], Any],
        seconds: float,
        none_if: int = 0,
        is_namespaced: bool = True,
        take: Callable[[Any], Any] = lambda answer: answer,
        **arguments: Any,
    ) -> Any:
        client = self._connected()
        if is_namespaced:
            arguments["namespace"] = client.namespace
        for is_last in (False, True):
            with self._lock:
                self.calls[call] += 1
            try:
                return take(of(client)(**arguments, _preload_content=False, _request_timeout=(CONNECT_SECONDS, seconds)))
            except client.refusal as error:
                if error.status and error.status == none_if:
                    return None
                raise _meaning(error) from None
            except (client.failure, OSError) as error:
                if is_last:
                    raise Away(one_line(str(error), 300)) from None
        return None

    def _connected(self) -> _Client:
        with self._lock:
            if self._client is None:
                self._client = _Client(self._context, self._namespace)
            return self._client


class _Client:
    """The official client, with the parts of it that are used.

    Raises:
        Refused: it is not installed, or has no configuration for a cluster.
    """

    def __init__(self, context: str | None, namespace: str | None) -> None:
        try:
            import urllib3
            from kubernetes import client, config
        except ImportError:
            raise Refused(INSTALL) from None
        configuration = client.Configuration()
        file = os.environ.get("KUBECONFIG")  # the client reads the variable only once, when it is imported
        try:
            if "KUBERNETES_SERVICE_HOST" in os.environ and not file and context is None:
                config.load_incluster_config(client_configuration=configuration)
                of_context = _OF_THE_POD.read_text().strip() if _OF_THE_POD.exists() else ""
            else:
                config.load_kube_config(config_file=file, context=context, client_configuration=configuration)
                contexts, active = config.list_kube_config_contexts(config_file=file)
                chosen = active if context is None else next(each for each in contexts if each["name"] == context)
                of_context = chosen["context"].get("namespace", "")
        except config.ConfigException as error:
            raise Refused(f"{one_line(str(error), 200)}; set KUBECONFIG to the configuration of a cluster") from None
        configuration.retries = False
        api = client.ApiClient(configuration)
        self.core, self.batch = client.CoreV1Api(api), client.BatchV1Api(api)
        self.namespace = namespace or of_context or "default"
        self.refusal, self.failure = client.ApiException, urllib3.exceptions.HTTPError


def _lister(kind: str) -> Callable[[_Client], Any]:
    return lambda client: client.batch.list_namespaced_job if kind == "jobs" else client.core.list_namespaced_pod


def _lines(answer: Any) -> Iterator[bytes]:
    """Yield the lines of an answer as they come."""
    import urllib3

    rest = b""
    try:
        for data in answer.stream(amt=None, decode_content=False):
            *lines, rest = (rest + data).split(b"\n")
            yield from (line for line in lines if line.strip())
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Away(one_line(str(error), 300)) from None


def _meaning(error: Any) -> Away | Refused | TooOld:
    """Return what a refusal of the API server means for wkpipe."""
    if error.status == GONE:
        return TooOld()
    try:
        said = json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        said = f"{error.status} {error.reason}"
    said = one_line(str(said), 400)
    if error.status == 403 and "exceeded quota" in said:
        return Full(said)
    if error.status in _TRANSIENT or error.status >= 500:
        return Away(said)
    return Refused(said)
