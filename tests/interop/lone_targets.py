"""One test a function, each with a target of its own: what a session and its exports look like and do.

Argument: the name of the function to run.
"""

import dataclasses
import json
import os
import re
import signal
import sys

from lab import MIB, Lab, check, check_same, has_ipv6, main, need, skip, wait_until
from scripted import Discovery, listing
from targets import Chap, Lun, chap_settings

TARGET = "iqn.2026-01.org.example:disk"


def one_disk(lab, size=64 * MIB, chap=None, **options):
    """A logged-in session to a tgtd with one disk as LUN 1: (target, path of the disk, address of the export)."""
    lun = Lun(lab.disk("disk", size), **options)
    target = lab.tgtd()
    target.add(TARGET, [lun], chap)
    lab.iscsid()
    lab.discover(target.portal)
    if chap:
        lab.update(TARGET, chap_settings(chap))
    lab.login()
    return target, lun.path, lab.export()


def there_and_back(lab, uri, disk, size):
    image, back = lab.random_image("image", size), os.path.join(lab.data, "back")
    lab.run("nbdcopy", "--flush", image, uri)
    check_same(image, disk, size, "the target's file after the write")
    lab.run("nbdcopy", uri, back)
    check_same(image, back, size, "what was read back")


def ipv6_loopback():
    need("nbdcopy")
    if not has_ipv6():
        skip("no IPv6 on the loopback interface")
    with Lab() as lab:
        disk = lab.disk("disk", 64 * MIB)
        target = lab.tgtd(ipv6=True)
        target.add(TARGET, [Lun(disk)])
        lab.iscsid()
        found = lab.discover(target.portal6)
        check(f"{target.portal6},1 {TARGET}\n" in found.out, "discovery does not show the portal in brackets")
        lab.adm("-m", "node", "-T", TARGET, "-p", target.portal6, "-l")
        listed = lab.adm("-m", "session").out
        check(f"{target.portal6},1 {TARGET}" in listed, "the session does not show the portal in brackets")
        there_and_back(lab, lab.export(), disk, 64 * MIB)
        lab.adm("-m", "node", "-T", TARGET, "-p", target.portal6, "-u")


def fio_verify():
    need("fio")
    with Lab() as lab:
        fio_on(lab, one_disk(lab, 256 * MIB)[2], "512-1m")


def fio_on(lab, uri, sizes, seconds=300):
    mixed = ["--rw=randrw", "--rwmixread=50", f"--bsrange={sizes}", "--iodepth=32", "--size=256m"]
    verify = ["--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--verify_backlog=512"]
    done = lab.run("fio", "--name=mixed", "--ioengine=nbd", f"--uri={uri}", "--output-format=json", *mixed, *verify,
                   quiet=True, seconds=seconds, cwd=lab.root)
    job = json.loads(done.out[done.out.index("{"):])["jobs"][0]
    check(job["error"] == 0, f"fio: error {job['error']}")
    moved = [job[way]["io_bytes"] for way in ("read", "write")]
    check(min(moved) > 32 * MIB, f"fio moved too little: {moved}")
    print(f"fio read {moved[0] >> 20} MiB and wrote {moved[1] >> 20} MiB in {done.seconds:.1f} s")


def block_size_4096():
    need("fio", "nbdinfo", "nbdcopy")
    with Lab() as lab:
        _, disk, uri = one_disk(lab, 256 * MIB, block_bytes=4096)
        info = json.loads(lab.run("nbdinfo", "--json", uri).out)["exports"][0]
        check(info["export-size"] == 256 * MIB, "the size is wrong")
        there_and_back(lab, uri, disk, 256 * MIB)
        fio_on(lab, uri, "4k-1m")


def nbd_tools():
    need("nbdinfo", "nbdcopy", "qemu-img", "qemu-io")
    size = 128 * MIB
    with Lab() as lab:
        _, disk, uri = one_disk(lab, size, thin=True)
        info = json.loads(lab.run("nbdinfo", "--json", uri).out)["exports"][0]
        check(info["export-size"] == size, "nbdinfo: the size is wrong")
        check(info["block_size_minimum"] in (1, 512), f"nbdinfo: smallest block {info['block_size_minimum']}")
        check(info["block_size_maximum"] >= MIB, f"nbdinfo: largest block {info['block_size_maximum']}")
        for ability in ("can_flush", "can_fua", "can_multi_conn", "can_trim", "can_zero"):
            check(info[ability], f"nbdinfo: not {ability}")
        check(not info["is_read_only"], "nbdinfo: read-only")
        image = json.loads(lab.run("qemu-img", "info", "--output=json", "-f", "raw", uri).out)
        check(image["virtual-size"] == size, "qemu-img info: the size is wrong")

        source, qcow = lab.random_image("image", size), os.path.join(lab.data, "qcow2")
        back = os.path.join(lab.data, "back")
        lab.run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", source, qcow)
        lab.run("qemu-img", "convert", "-n", "-f", "qcow2", "-O", "raw", qcow, uri)
        check_same(source, disk, size, "the target's file after qemu-img convert")
        lab.run("qemu-img", "compare", "-f", "raw", "-F", "raw", source, uri)
        lab.run("qemu-img", "convert", "-f", "raw", "-O", "raw", uri, back)
        check_same(source, back, size, "what qemu-img read back")

        lab.run("qemu-io", "-f", "raw", "-c", "write -f -P 0x5a 1M 64k", uri)
        lab.run("qemu-io", "-f", "raw", "-c", "write -z 2M 1M", uri)
        lab.run("qemu-io", "-f", "raw", "-c", "read -P 0x5a 1M 64k", "-c", "read -P 0 2M 1M", uri)
        before = os.stat(disk).st_blocks
        # tgtd frees the blocks, and then says all the same that it refused (sense 05/25/00).
        lab.run("qemu-io", "-f", "raw", "-d", "unmap", "-c", "discard 16M 16M", "-c", "flush", uri, ok=None)
        freed = (before - os.stat(disk).st_blocks) * 512
        check(freed >= 15 * MIB, f"discarding 16 MiB freed {freed} bytes of the target's file")
        lab.run("qemu-io", "-f", "raw", "-c", "read -P 0 16M 16M", uri)


def several_clients():
    """Clients that write different places at the same time, and one that reads all of it."""
    need("qemu-io")
    with Lab() as lab:
        _, _, uri = one_disk(lab, 128 * MIB)
        writers = []
        for number in range(8):
            verb = f"write -P {number + 1} {number * 16}M 1M"
            steps = [word for step in range(16) for word in ("-c", verb.replace(f"{number * 16}M", f"{number * 16 + step}M"))]
            writers.append(lab.start(f"qemu-io-{number}", ["qemu-io", "-f", "raw", *steps, "-c", "flush", uri]))
        for writer in writers:
            check(writer.wait(120) == 0, "a writer failed")
        reads = [word for n in range(8) for word in ("-c", f"read -P {n + 1} {n * 16}M 16M")]
        done = lab.run("qemu-io", "-f", "raw", *reads, uri)
        check("Pattern verification failed" not in done.out + done.err, "a pattern is not what was written")


def nbdfuse_reads():
    need("nbdfuse")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        skip("/dev/fuse is not usable here")
    size = 32 * MIB
    with Lab() as lab:
        _, disk, uri = one_disk(lab, size)
        image = lab.random_image("image", size)
        lab.run("nbdcopy", "--flush", image, uri)
        check_same(image, fuse_file(lab, uri), size, "the file that nbdfuse shows")


def fuse_file(lab, uri):
    """The export as a plain file, by nbdfuse."""
    place = os.path.join(lab.root, "fuse")
    os.mkdir(place)
    process = lab.start("nbdfuse", ["nbdfuse", f"{place}/disk", uri])
    lab.undo.append(lambda: unmount(lab, place, process))
    wait_until(lambda: os.path.exists(f"{place}/disk") or process.poll() is not None, 10, "nbdfuse")
    if process.poll() is not None:
        lab.show_logs()
        skip("nbdfuse cannot mount here")
    return f"{place}/disk"


def unmount(lab, place, process=None):
    if lab.run("umount", place, ok=None, quiet=True).status:
        lab.run("umount", "-l", place, ok=None)
    if process is not None:
        process.expected_end = True
        process.wait(20)


def filesystem():
    """nbdfuse, a loop device, ext4: write, unmount, check, log in anew, read."""
    need("nbdfuse", "losetup", "mkfs.ext4", "fsck.ext4", "mount", "umount")
    if os.geteuid() != 0:
        skip("a loop device needs root")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        skip("/dev/fuse is not usable here")
    with Lab() as lab:
        _, disk, uri = one_disk(lab, 256 * MIB)
        file = fuse_file(lab, uri)
        loop = lab.run("losetup", "--find", "--show", file, ok=None)
        if loop.status:
            skip("loop devices are not usable here")
        device = loop.out.strip()
        lab.undo.append(lambda: lab.run("losetup", "-d", device, ok=None, quiet=True))
        lab.run("mkfs.ext4", "-q", "-F", device)
        place = os.path.join(lab.root, "mnt")
        os.mkdir(place)
        mounted = lab.run("mount", "-t", "ext4", device, place, ok=None)
        if mounted.status:
            skip("ext4 cannot be mounted here")
        lab.undo.append(lambda: os.path.ismount(place) and unmount(lab, place))
        image = lab.random_image("image", 64 * MIB)
        for number in range(200):
            with open(f"{place}/small-{number}", "wb") as out:
                out.write(os.urandom(4096 + number))
        lab.run("cp", image, f"{place}/large")
        lab.run("sync", "-f", place)
        lab.run("umount", place)
        lab.run("fsck.ext4", "-f", "-n", device)
        lab.run("mount", "-t", "ext4", "-o", "ro", device, place)
        check_same(image, f"{place}/large", 64 * MIB, "the large file after a new mount")
        lab.run("umount", place)
        lab.run("losetup", "-d", device)
        # What the target holds is the same file system.
        lab.run("fsck.ext4", "-f", "-n", disk)


def session_output():
    """-P 3 and the login's own output name the export and a link; both are there, and gone after logout."""
    with Lab() as lab:
        disk = lab.disk("disk", 8 * MIB)
        target = lab.tgtd()
        target.add(TARGET, [Lun(disk)])
        lab.iscsid()
        lab.discover(target.portal)
        login = lab.login()
        text = f"[iface: default, target: {TARGET}, portal: 127.0.0.1,{target.port}]"
        check(f"Logging in to {text}" in login.out, "no 'Logging in to' line")
        check(f"Login to {text} successful." in login.out, "no 'successful' line")
        check(not login.err, f"stderr: {login.err}")
        uri = lab.export(1)
        check(uri in login.out, "the login does not name the export")
        path = re.search(r"socket=([^&\s]+)", uri).group(1)
        check(os.path.exists(path), f"no socket at {path}")
        check(path.startswith(lab.root), f"the socket lies outside the root: {path}")
        links = by_path_links(lab)
        check(any(f"ip-127.0.0.1:{target.port}-iscsi-{TARGET}-lun-1" in link for link in links), f"links: {links}")
        session = lab.session()
        for line in (f"Target: {TARGET} (non-flash)", f"Current Portal: {target.portal},1",
                     f"Persistent Portal: {target.portal},1", "Iface Name: default", "Iface Transport: tcp",
                     "SID: 1", "iSCSI Connection State: LOGGED IN", "iSCSI Session State: LOGGED_IN"):
            check(line in session.text, f"-P 3 lacks '{line}'")
        check(lab.adm("-m", "session").out == f"tcp: [1] {target.portal},1 {TARGET} (non-flash)\n", "-m session")
        lab.logout()
        check(not os.path.exists(path), "the socket is left behind after logout")
        check(not by_path_links(lab), "links are left behind after logout")
        lab.adm("-m", "session", ok=21)


def by_path_links(lab):
    return [os.path.join(place, name) for place, folders, names in os.walk(os.path.join(lab.root, "run"))
            for name in folders + names if "-iscsi-" in name and os.path.islink(os.path.join(place, name))]


def read_only_lun():
    need("nbdinfo", "nbdcopy")
    with Lab() as lab:
        image = lab.random_image("image", 8 * MIB)
        target = lab.tgtd()
        target.add(TARGET, [Lun(lab.random_image("disk", 8 * MIB), read_only=True)])
        disk = os.path.join(lab.data, "disk")
        lab.run("cp", disk, disk + ".before")
        lab.iscsid()
        lab.discover(target.portal)
        lab.login()
        uri = lab.export()
        info = json.loads(lab.run("nbdinfo", "--json", uri).out)["exports"][0]
        check(info["is_read_only"], "the export is not read-only")
        back = os.path.join(lab.data, "back")
        lab.run("nbdcopy", uri, back)
        check_same(disk, back, 8 * MIB, "what was read")
        check(lab.run("nbdcopy", image, uri, ok=None).status != 0, "a write to a read-only export succeeded")
        check_same(disk + ".before", disk, 8 * MIB, "the target's file after a refused write")


def two_luns():
    need("nbdcopy")
    with Lab() as lab:
        luns = [Lun(lab.disk("one", 16 * MIB), 1), Lun(lab.disk("two", 32 * MIB), 2, block_bytes=4096)]
        target = lab.tgtd()
        target.add(TARGET, luns)
        lab.iscsid()
        lab.discover(target.portal)
        lab.login()
        exports = lab.session().exports
        check(sorted(exports) == [1, 2], f"exports: {exports}")
        for lun, size in zip(luns, (16 * MIB, 32 * MIB)):
            image = lab.random_image(f"image{lun.number}", size)
            lab.run("nbdcopy", "--flush", image, exports[lun.number])
            check_same(image, lun.path, size, f"LUN {lun.number}")


def chap_algorithms():
    """Each digest that CHAP may use, with a target that computes it by itself, in Python, both ways."""
    chap = Chap("lab-user", "secret-of-the-lab-1", "lab-target", "secret-of-target-2")
    names = {"5": "MD5", "6": "SHA1", "7": "SHA256", "8": "SHA3-256"}
    with Lab() as lab:
        lab.iscsid()
        for algorithm, name in names.items():
            server = Discovery(lab, listing((TARGET, "127.0.0.1:3260,1")), chap, algorithm)
            for algorithms in (name, "SHA3-256,SHA256,SHA1,MD5"):
                shown = discover_with(lab, server.portal, chap, algorithms)
                check(TARGET in shown.out, f"{name} of {algorithms}: no list")
                check(server.offered[0] == next(k for k, v in names.items() if v == algorithms.split(",")[0]),
                      f"{algorithms} was offered as {server.offered}")
            wrong = dataclasses.replace(chap, secret="not-the-secret-at-all")
            discover_with(lab, server.portal, wrong, name, ok=24)
            wrong = dataclasses.replace(chap, secret_in="not-the-secret-at-all")
            discover_with(lab, server.portal, wrong, name, ok=24)


def discover_with(lab, portal, chap, algorithms, **options):
    lab.configure({**chap_settings(chap, "discovery.sendtargets"), "node.session.auth.chap_algs": algorithms})
    return lab.discover(portal, **options)


def discovery_chap():
    """A target that shows its list only to who knows the secret."""
    chap = Chap("lab-user", "secret-of-the-lab-1")
    with Lab() as lab:
        target = lab.istgt(TARGET, [Lun(lab.disk("disk", 256 * MIB), 0)], chap, discovery_chap=True)
        lab.iscsid()
        lab.discover(target.portal, ok=24)
        lab.configure(chap_settings(chap, "discovery.sendtargets"))
        found = lab.discover(target.portal)
        check(TARGET in found.out, "the target is not in the list")


def twenty_logins():
    """Records of one command go out together, and all of them come up."""
    with Lab() as lab:
        target = lab.tgtd()
        for number in range(20):
            target.add(f"{TARGET}{number}", [Lun(lab.disk(f"disk{number}", 4 * MIB))])
        lab.iscsid()
        lab.discover(target.portal)
        done = lab.login()
        check(done.out.count(" successful.") == 20, "not all logins succeeded")
        check(len(lab.adm("-m", "session").out.splitlines()) == 20, "not all sessions are listed")
        lab.logout()
        lab.adm("-m", "session", ok=21)
        print(f"twenty logins took {done.seconds:.2f} s")


def daemon_restart():
    """Killed or stopped, the next daemon brings sessions back by itself: same number, same address of the export. One
    that was logged out of stays away."""
    need("nbdcopy")
    with Lab() as lab:
        target, disk, uri = one_disk(lab)
        target.add(f"{TARGET}2", [Lun(lab.disk("disk2", 4 * MIB))])
        lab.discover(target.portal)
        lab.login(f"{TARGET}2")
        lab.logout(f"{TARGET}2")
        before = lab.adm("-m", "session").out
        for number in (signal.SIGKILL, signal.SIGTERM):
            daemon = [process for name, process in lab.processes if name == "iscsid"][-1]
            daemon.send_signal(number)
            daemon.wait(20)
            lab.processes = [(name, process) for name, process in lab.processes if process is not daemon]
            lab.iscsid()
            wait_until(lambda: lab.session().exports, 20, "the export to be back")
            check(lab.adm("-m", "session").out == before, "another session than before came back")
            check(lab.export() == uri, "the export has another address")
            there_and_back(lab, uri, disk, 64 * MIB)
        lab.logout()


if __name__ == "__main__":
    main(globals()[sys.argv[1]])
