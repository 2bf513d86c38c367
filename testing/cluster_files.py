"""The configuration of the tests' SLURM: nodes, partitions, limits, accounting, its database, and munge's key.

Takes a folder and who runs there; leaves slurm.conf, gres.conf, slurmdbd.conf, database.cnf and munge.key in it.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
from pathlib import Path

NODES = {"cpu1": 0, "gpu1": 2}  # node: GPUs
DEVICES = ["/dev/null", "/dev/zero"]  # what stands for a GPU: SLURM wants a file, and asks nothing of it
CPUS_PER_NODE = 8  # claimed, whatever the machine has: what is tested is who gets what, not speed
MEMORY_PER_NODE = 200_000  # MB, claimed


def write_files(folder: Path, host: str, user: str, accounting: bool, memory_per_node: int) -> int:
    """The daemons' configuration and the cluster's own key, in the folder; gives the database's port."""
    ports = _free_ports(4 + len(NODES))
    slurmctld, slurmdbd, database, _, *slurmd = ports
    key = folder / "munge.key"
    key.unlink(missing_ok=True)
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    storage = (
        f"AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=127.0.0.1\n"
        f"AccountingStoragePort={slurmdbd}\n"
        f"AccountingStoragePass={folder}/munge.socket\nAccountingStorageTRES=gres/gpu\nAccountingStoreFlags=job_comment\n"
        if accounting
        else "AccountingStorageType=accounting_storage/none\n"
    )
    nodes = "".join(
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CPUS_PER_NODE} "
        f"RealMemory={memory_per_node}{f' Gres=gpu:{gpus}' if gpus else ''} State=UNKNOWN\n"
        for (node, gpus), port in zip(NODES.items(), slurmd, strict=True)
    )
    (folder / "slurm.conf").write_text(
        f"""ClusterName=matryoshka
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={slurmctld}
{_listen(host, "NoCtldInAddrAny,NoInAddrAny")}SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
# the memory that a job asked for is a limit: one that goes above is killed, looked at every second
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill,NoShared
# a test has no minutes to wait
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=200000,bf_interval=3,requeue_delay=1
SlurmdTimeout=12
SlurmctldTimeout=12
KillWait=8
CompleteWait=0
InactiveLimit=0
MinJobAge=300
ReturnToService=2
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{storage}{nodes}PartitionName=cpu Nodes=cpu1 Default=YES MaxTime=1-00:00:00 PriorityTier=1 State=UP
PartitionName=gpu Nodes=gpu1 MaxTime=1-00:00:00 PriorityTier=1 GraceTime=0 State=UP
PartitionName=urgent Nodes=gpu1 MaxTime=1-00:00:00 PriorityTier=9 PreemptMode=off State=UP
"""
    )
    (folder / "gres.conf").write_text(
        "".join(
            f"NodeName={node} Name=gpu Count=1 File={device}\n"
            for node, gpus in NODES.items()
            for device in DEVICES[:gpus]
        )
    )
    slurmdbd_conf = folder / "slurmdbd.conf"
    slurmdbd_conf.touch(mode=0o600)
    slurmdbd_conf.chmod(0o600)
    slurmdbd_conf.write_text(
        f"""AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={slurmdbd}
{_listen(host, "NoInAddrAny")}SlurmUser={user}
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_accounting
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/slurmdbd.pid
"""
    )
    (folder / "database.sql").write_text(
        "CREATE DATABASE IF NOT EXISTS slurm_accounting;\n"
        "CREATE USER IF NOT EXISTS 'slurm'@'127.0.0.1' IDENTIFIED BY 'slurm';\n"
        "GRANT ALL ON slurm_accounting.* TO 'slurm'@'127.0.0.1';\n"
    )
    (folder / "database.cnf").write_text(
        f"""[mariadbd]
user={user}
datadir={folder}/database
socket={folder}/database.socket
pid-file={folder}/mariadbd.pid
port={database}
bind-address=127.0.0.1
init-file={folder}/database.sql
log-error={folder}/log/mariadbd.log
skip-name-resolve
innodb_buffer_pool_size=32M
innodb_log_file_size=16M
innodb_lock_wait_timeout=900
innodb_flush_log_at_trx_commit=0
performance_schema=OFF
"""
    )

    return database


def _listen(host: str, parameters: str) -> str:
    """Listen on the host name's address alone where that is 127.0.0.1; SLURM can be told no address but that."""
    with contextlib.suppress(OSError):
        if socket.gethostbyname(host) == "127.0.0.1":
            return f"CommunicationParameters={parameters}\n"
    return ""


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
