"""Several processes find one another on this machine, whatever its name resolves to."""

from __future__ import annotations

import multiprocessing
import socket

import pytest
import torch.distributed.run

from workflow_scripts.models.distributed import torchrun_command

NOWHERE = "no-such-host.invalid"  # a name that never resolves (RFC 6761)


def run_torchrun() -> None:
    command = torchrun_command(2, 2, [])
    assert command is not None
    launcher = command[command.index("torch.distributed.run") + 1 : command.index("-m", 3)]
    torch.distributed.run.main([*launcher, "--no-python", "/bin/true"])


def test_training_starts_where_the_hosts_name_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: NOWHERE)
    monkeypatch.setattr(socket, "getfqdn", lambda *_: NOWHERE)
    process = multiprocessing.get_context("fork").Process(target=run_torchrun)
    process.start()
    process.join(60)
    waits = process.is_alive()
    process.kill()
    process.join()
    assert not waits, "torchrun waits for a host that nobody knows"
    assert process.exitcode == 0
