"""A target that is killed in the middle of verified I/O and comes back on the same port with the same disk: the I/O
waits meanwhile and goes on without an error."""

import os
import time

from lab import MIB, Lab, check, main, need, wait_until
from targets import Lun

TARGET = "iqn.2026-01.org.example:restart"
RESTARTS = 2


def kill(target):
    target.process.expected_end = True
    target.process.kill()
    target.process.wait()


def log_of(lab):
    with open(os.path.join(lab.root, "iscsid.log"), encoding="utf-8", errors="replace") as file:
        return file.read()


def target_restart():
    need("fio")
    with Lab() as lab:
        lun = Lun(lab.disk("disk", 128 * MIB))
        target = lab.tgtd()
        target.add(TARGET, [lun])
        lab.iscsid()
        lab.discover(target.portal)
        lab.login()
        fio = lab.start("fio", ["fio", "--name=restart", "--ioengine=nbd", f"--uri={lab.export()}", "--rw=randrw",
                                "--bsrange=4k-64k", "--iodepth=16", "--size=128m", "--time_based", "--runtime=25",
                                "--verify=crc32c", "--verify_fatal=1", "--verify_backlog=64"], cwd=lab.root)
        for number in range(1, RESTARTS + 1):
            time.sleep(3)  # fio is at work
            check(fio.poll() is None, "fio ended before the target was killed")
            kill(target)
            wait_until(lambda: log_of(lab).count(" lost: ") >= number, 20, "the drop to be noticed")
            check(fio.poll() is None, "fio ended with the target")
            target.start()
            target.add(TARGET, [lun])
            wait_until(lambda: log_of(lab).count(" is back ") >= number, 60, "the session to be back")
        check(fio.wait(120) == 0, f"fio ended with {fio.returncode}")
        lab.logout()


main(target_restart)
