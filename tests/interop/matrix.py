"""Every way of negotiating a session logs in, and random data written through it reads back identical.

Arguments: tgtd or istgt; none, oneway or mutual CHAP; the data's size in MiB; and, for a short run, how many of the
combinations to take.
"""

import itertools
import os
import sys

from lab import MIB, Failure, Lab, check, check_same, main, need
from targets import Chap, Lun, chap_settings

TARGET = "iqn.2026-01.org.example:matrix"
CHAPS = {
    "none": None,
    "oneway": Chap("lab-user", "secret-of-the-lab-1"),
    "mutual": Chap("lab-user", "secret-of-the-lab-1", "lab-target", "secret-of-target-2"),
}
SMALL = {
    "node.session.iscsi.FirstBurstLength": 8192,
    "node.session.iscsi.MaxBurstLength": 16384,
    "node.conn[0].iscsi.MaxRecvDataSegmentLength": 8192,
    "node.conn[0].iscsi.MaxXmitDataSegmentLength": 4096,
}
LARGE = {
    "node.session.iscsi.FirstBurstLength": 262144,
    "node.session.iscsi.MaxBurstLength": 16776192,
    "node.conn[0].iscsi.MaxRecvDataSegmentLength": 262144,
    "node.conn[0].iscsi.MaxXmitDataSegmentLength": 0,
}


class OnTgtd:
    small_segment = 8192
    max_burst, first_burst, initial_r2t = 16776192, 262144, "No"

    def __init__(self, lab, disk, chap):
        self.target = lab.tgtd()
        # tgtd's defaults would decide some keys before we are asked.
        self.target.add(TARGET, [Lun(disk)], chap, {
            "InitialR2T": self.initial_r2t, "MaxBurstLength": self.max_burst, "FirstBurstLength": self.first_burst,
            "MaxRecvDataSegmentLength": 262144, "MaxOutstandingR2T": 8,
            "HeaderDigest": "CRC32C,None", "DataDigest": "CRC32C,None"})
        self.portal = self.target.portal

    def check_digest(self, digest):
        """tgtd does not say what was negotiated."""


class OnIstgt:
    # It leaves a REPORT LUNS with a longer allocation than this unanswered for ever.
    small_segment = 16384
    max_burst, first_burst, initial_r2t = 1048576, 262144, "Yes"

    def __init__(self, lab, disk, chap):
        self.target = lab.istgt(TARGET, [Lun(disk, number=0)], chap)
        self.portal = self.target.portal

    def check_digest(self, digest):
        last = self.target.logins()[-1]
        word = "on" if digest else "off"
        check(f"HeaderDigest={word}, DataDigest={word}" in last, f"istgt saw other digests: {last}")


def yes(flag):
    return "Yes" if flag else "No"


def check_negotiated(values, on, digest, immediate, initial_r2t, sizes):
    first = min(sizes["node.session.iscsi.FirstBurstLength"], on.first_burst)
    wanted = {
        "HeaderDigest": "CRC32C" if digest else "None",
        "DataDigest": "CRC32C" if digest else "None",
        "ImmediateData": yes(immediate),
        "InitialR2T": yes(initial_r2t or on.initial_r2t == "Yes"),
        "MaxBurstLength": str(min(sizes["node.session.iscsi.MaxBurstLength"], on.max_burst)),
        "MaxRecvDataSegmentLength": str(sizes["node.conn[0].iscsi.MaxRecvDataSegmentLength"]),
    }
    if immediate or wanted["InitialR2T"] == "No":  # else the key is irrelevant (RFC 7143 section 13.14)
        wanted["FirstBurstLength"] = str(first)
    wrong = {key: (values.get(key), value) for key, value in wanted.items() if values.get(key) != value}
    check(not wrong, f"negotiated, wanted: {wrong}")


def copy_both_ways(lab, image, disk, size):
    with open(disk, "r+b") as file:  # so that data of an earlier round cannot pass for this one's
        file.truncate(0)
        file.truncate(size)
    uri = lab.export()
    back = os.path.join(lab.data, "back")
    write = lab.run("nbdcopy", "--flush", image, uri, quiet=True, seconds=300)
    check_same(image, disk, size, "the target's file after the write")
    read = lab.run("nbdcopy", uri, back, quiet=True, seconds=300)
    check_same(image, back, size, "what was read back")
    os.unlink(back)
    return f"write {size / MIB / write.seconds:.0f} MiB/s, read {size / MIB / read.seconds:.0f} MiB/s"


def one(lab, on, image, disk, size, digest, immediate, initial_r2t, sizes):
    digests = "CRC32C" if digest else "None"
    lab.update(TARGET, {
        "node.conn[0].iscsi.HeaderDigest": digests,
        "node.conn[0].iscsi.DataDigest": digests,
        "node.session.iscsi.ImmediateData": yes(immediate),
        "node.session.iscsi.InitialR2T": yes(initial_r2t),
        **sizes,
    })
    lab.login(TARGET, quiet=True)
    try:
        check_negotiated(lab.session().values, on, digest, immediate, initial_r2t, sizes)
        on.check_digest(digest)
        speed = copy_both_ways(lab, image, disk, size)
    finally:
        lab.logout(TARGET, quiet=True)
    return speed


def combinations(count):
    every = list(itertools.product((False, True), (True, False), (True, False), (SMALL, LARGE)))
    return every if count is None else every[:: max(1, len(every) // count)][:count]


def test():
    need("nbdcopy")
    kind, chap, size = sys.argv[1], CHAPS[sys.argv[2]], int(sys.argv[3]) * MIB
    count = int(sys.argv[4]) if len(sys.argv) > 4 else None
    failed = []
    with Lab() as lab:
        image, disk = lab.random_image("image", size), lab.disk("disk", size)
        on = (OnTgtd if kind == "tgtd" else OnIstgt)(lab, disk, chap)
        SMALL["node.conn[0].iscsi.MaxRecvDataSegmentLength"] = on.small_segment
        lab.iscsid()
        lab.discover(on.portal)
        lab.update(TARGET, chap_settings(chap))
        for digest, immediate, initial_r2t, sizes in combinations(count):
            name = (f"{kind} chap={sys.argv[2]} digests={yes(digest)} ImmediateData={yes(immediate)} "
                    f"InitialR2T={yes(initial_r2t)} bursts={'small' if sizes is SMALL else 'large'}")
            try:
                print(f"{name}: {one(lab, on, image, disk, size, digest, immediate, initial_r2t, sizes)}", flush=True)
            except Failure as failure:
                print(f"{name}: FAILED: {failure}", flush=True)
                failed.append(name)
                check(len(failed) < 4, f"gave up after: {failed}")
    check(not failed, f"{len(failed)} combinations failed: {failed}")


main(test)
