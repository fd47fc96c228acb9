"""Have the run's warm process do one task: ``python -I -S ask.py PYTHON SOCKET RUN TASK``; see wkpipe/run/job_server.py.

A job starts this instead of wkpipe, whose modules take 20 times as long to import. It passes its streams, directory and
environment through the socket, forwards the signals that end a job, and ends as the task does. If the process does not
answer, or belongs to another user, this process becomes `wkpipe step` itself.
"""

import _socket  # the module `socket` takes as long to import as Python to start
import os
import signal
import struct
import sys

ANSWER_SECONDS = 30
PROCESS = struct.Struct("i")
PEER = struct.Struct("3i")  # process (0 if it is of another pid namespace), uid, gid


def main(python: str, path: str, run: str, task: str) -> int:
    """Return the exit code of the task."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.connect(path)
        server, uid, _ = PEER.unpack(connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, PEER.size))
        if not server or uid != os.geteuid():
            raise OSError
        connection.settimeout(ANSWER_SECONDS)
        (process,) = PROCESS.unpack(connection.recv(PROCESS.size))
    except (OSError, struct.error):
        connection.close()
        os.execv(python, [python, "-P", "-m", "wkpipe", "step", run, task])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            # The process exists until this one closes the connection.
            signal.signal(number, lambda received, _: os.kill(process, received))
    try:
        connection.settimeout(None)
        send(connection, run, task)
        status = connection.recv(1)
    except OSError:
        status = b""
    if not status:
        print("wkpipe: the process that the jobs of the run are forked from has ended; the same command resumes", file=sys.stderr)
        return 1
    return status[0]


def send(connection: _socket.socket, run: str, task: str) -> None:
    """Send the standard streams and the current directory, then the length and the content of the request."""
    environment = [name + b"=" + value for name, value in os.environb.items()]
    content = b"\0".join([os.fsencode(run), os.fsencode(task), *environment])
    descriptors = struct.pack("4i", 0, 1, 2, os.open(".", os.O_RDONLY | os.O_DIRECTORY))
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptors)]
    connection.sendmsg([struct.pack("Q", len(content))], rights)
    connection.sendall(content)


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)
