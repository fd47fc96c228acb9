"""The content of the cluster's configuration files."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Debian 12 mounts only version 2, which its Slurm can use only under systemd. If version 1 is mounted, the kernel enforces memory.
CGROUP = Path("/sys/fs/cgroup")
PARTITION = "debug"
SMALL_PARTITION = "small"
ACCOUNT = "lab"
NODE_MEMORY_MB = 4000
LAST_NODE_MEMORY_MB = 5000
NODE_CPUS = 2


@dataclass(frozen=True)
class Ports:
    """The TCP ports of the daemons."""

    controller: int
    accounting: int
    database: int
    nodes: tuple[int, ...]

    @classmethod
    def free(cls, nodes: int) -> Ports:
        """Return unused ports, below those that Linux gives to outgoing connections.

        Clusters that start at the same time begin their search at different ports.
        """
        found: list[int] = []
        held = []
        for port in range(20000 + os.getpid() * 16 % 10000, 32000):
            trial = socket.socket()
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                trial.close()
                continue
            held.append(trial)
            found.append(port)
            if len(found) == nodes + 3:
                break
        for trial in held:
            trial.close()
        return cls(found[0], found[1], found[2], tuple(found[3:]))


def host_name() -> str:
    """Return the name of this host for the daemons."""
    return socket.gethostname().split(".")[0]


def kernel_enforces_memory() -> bool:
    """True if Slurm can enforce the memory of jobs with control groups."""
    trials = [CGROUP / controller / f"wkpipe-slurm-trial-{os.getpid()}" for controller in ("memory", "freezer")]
    try:
        for trial in trials:
            trial.mkdir(exist_ok=True)
            if not (trial / "cgroup.procs").exists():
                return False
    except OSError:
        return False
    finally:
        for trial in trials:
            if trial.is_dir():
                trial.rmdir()
    return True


def slurm_conf(directory: Path, nodes: Sequence[str], ports: Ports, accounting: bool, by_kernel: bool) -> str:
    """Return slurm.conf. Timeouts are short, so that failures are noticed within seconds."""
    socket_path = directory / "munge" / "socket"
    lines = [
        "ClusterName=wkpipe",
        f"SlurmctldHost={host_name()}(127.0.0.1)",
        f"SlurmctldPort={ports.controller}",
        "AuthType=auth/munge",
        f"AuthInfo=socket={socket_path}",
        "CredType=cred/munge",
        "SlurmUser=root",
        "SlurmdUser=root",
        f"StateSaveLocation={directory}/state",
        f"SlurmdSpoolDir={directory}/spool/%n",
        f"SlurmctldPidFile={directory}/run/slurmctld.pid",
        f"SlurmdPidFile={directory}/run/%n.pid",
        f"SlurmctldLogFile={directory}/log/slurmctld.log",
        f"SlurmdLogFile={directory}/log/%n.log",
        "MpiDefault=none",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_CPU_Memory",
        "SchedulerType=sched/backfill",
        "SchedulerParameters=batch_sched_delay=0,sched_min_interval=0",
        "JobCompType=jobcomp/none",
        "JobAcctGatherType=jobacct_gather/linux",
        "JobAcctGatherFrequency=task=1",
        "MinJobAge=300",
        "KillWait=3",
        "MessageTimeout=5",
        "SlurmdTimeout=10",
        "ReturnToService=2",
        # Nodes may declare more cores than the host has.
        "SlurmdParameters=config_overrides",
    ]
    if by_kernel:
        lines += ["ProctrackType=proctrack/cgroup", "TaskPlugin=task/cgroup"]
    else:
        lines += ["ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none", "JobAcctGatherParams=OverMemoryKill"]
    if accounting:
        lines += [
            "AccountingStorageType=accounting_storage/slurmdbd",
            "AccountingStorageHost=127.0.0.1",
            f"AccountingStoragePort={ports.accounting}",
            f"AccountingStoragePass={socket_path}",
            "AccountingStorageEnforce=associations,limits,qos",
        ]
    else:
        lines += ["AccountingStorageType=accounting_storage/none"]
    for node, port in zip(nodes, ports.nodes, strict=True):
        memory = LAST_NODE_MEMORY_MB if node == nodes[-1] else NODE_MEMORY_MB
        lines.append(f"NodeName={node} NodeHostname={host_name()} NodeAddr=127.0.0.1 Port={port} CPUs={NODE_CPUS} RealMemory={memory}")
    lines += [
        f"PartitionName={PARTITION} Nodes=ALL Default=YES DefMemPerCPU=100 MaxTime=INFINITE State=UP",
        f"PartitionName={SMALL_PARTITION} Nodes={nodes[0]} DefMemPerCPU=100 MaxTime=10 State=UP",
    ]
    return "\n".join(lines) + "\n"


def cgroup_conf(by_kernel: bool) -> str:
    """Return cgroup.conf; without it, slurmd does not start if control groups cannot be used."""
    lines = ["CgroupPlugin=cgroup/v1"]
    if by_kernel:
        lines += [f"CgroupMountpoint={CGROUP}", "ConstrainRAMSpace=yes", "ConstrainSwapSpace=yes", "AllowedSwapSpace=0"]
        lines += ["MinRAMSpace=1"]  # otherwise every job gets 30 MB, whatever it asks for
    return "\n".join(lines) + "\n"


def slurmdbd_conf(directory: Path, ports: Ports) -> str:
    """Return slurmdbd.conf."""
    lines = [
        "AuthType=auth/munge",
        f"AuthInfo=socket={directory}/munge/socket",
        "DbdHost=localhost",
        "DbdAddr=127.0.0.1",
        f"DbdPort={ports.accounting}",
        "SlurmUser=root",
        f"LogFile={directory}/log/slurmdbd.log",
        f"PidFile={directory}/run/slurmdbd.pid",
        "StorageType=accounting_storage/mysql",
        "StorageHost=127.0.0.1",
        f"StoragePort={ports.database}",
        "StorageUser=slurm",
        "StoragePass=slurm",
        "StorageLoc=slurm_acct_db",
    ]
    return "\n".join(lines) + "\n"
