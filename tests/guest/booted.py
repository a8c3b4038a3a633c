"""A Debian with its own init under qemu, told what to do from outside; its disks come from targets on this machine.

    with Lab() as lab:
        target = lab.tgtd()
        guest = Booted(lab)             # boots what tests/guest/disk has made
        guest.up()
        guest.run("iscsiadm -m node ...")    # as root; the guest sees this machine's loopback as HOST
        guest.reboot()
        guest.power_off()               # and nothing was denied to the daemon

Its own disk is as it was made at each start of qemu, and keeps what is written over reboots. What it prints on its serial
port is in `guest.serial`. Networks are qemu's own (user mode): nothing of this machine's is touched.
"""

import base64
import json
import os
import re
import socket
import time

from lab import PATIENCE, Again, Failure, check, need, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
HOST = "10.0.2.2"
UP_SECONDS = 150
# norandmaps: the emulator translates a page's code once for each address that it is seen at, and then takes seconds to let
# the kernel clear the page: a minute in all for what dracut's initramfs has left.
CONSOLE = ("console=ttyS0 loglevel=6 panic=-1 mitigations=off nokaslr nowatchdog security=apparmor "
           "sysctl.kernel.printk_ratelimit=0 random.trust_cpu=1 idle=halt tsc=reliable no_timer_check maxcpus=1 "
           "net.ifnames=0 norandmaps systemd.show_status=1")

# As in tests/guest/run, which says of the second what it is.
COMPLAINT = re.compile(r"^.*(BUG: |kernel BUG at|Oops|general protection fault|Kernel panic|blocked for more than)", re.M)
EMULATOR_ERRED = "int3: 0000 [#"
GUESSED = re.compile(r"^\[ *\d+[.]\d+\]  [?] ")


def load(place):
    """A script that writes to a file system there and compares what it reads; /run/round has how often."""
    return f"""set -e
for round in $(seq 10000); do
  head -c 1M /dev/urandom >/var/tmp/piece
  dd if=/var/tmp/piece of={place}/piece bs=64k oflag=direct conv=notrunc status=none
  sync {place}/piece
  cmp /var/tmp/piece <(dd if={place}/piece bs=64k iflag=direct status=none)
  echo $round >/run/round
done"""


class Booted:
    def __init__(self, lab, kernel="6.12", memory=1024, cpus=2, drives=(), root="", firmware=()):
        """drives: images that it has beside its own disk, as /dev/vdb and so on. root: what the kernel's command line says of
        it where the guest has no disk, and an initramfs of its own. firmware: qemu's words for more in its firmware."""
        need("qemu-system-x86_64", "qemu-img")
        self.lab, self.boot_id, self.said_before = lab, "", 0
        self.image = os.environ["ISCSI_GUEST_DISK"]
        self.serial, self.address = os.path.join(lab.root, "serial"), os.path.join(lab.root, "agent")
        initrd = lab.run(os.path.join(HERE, "kernels"), "-d", kernel, quiet=True).out.strip()
        vmlinuz = os.path.join(os.path.dirname(initrd), "vmlinuz")
        if root:
            initrd, own = f"{self.image}.initrd", []
        else:
            disk = os.path.join(lab.data, "system")
            lab.run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", os.path.abspath(self.image), disk)
            own = ["-drive", f"file={disk},if=virtio,format=qcow2,cache=unsafe"]
        more = [word for drive in drives for word in ("-drive", f"file={drive},if=virtio,format=raw")]
        # As in tests/guest/run.
        self.command = [
            "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max,la57=off", "-M", "q35", "-smp", str(cpus),
            "-m", str(memory), "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
            "-kernel", vmlinuz, "-initrd", initrd, "-append", f"{CONSOLE} {root}",
            "-chardev", f"file,id=serial,path={self.serial},append=on", "-serial", "chardev:serial", *own, *more,
            "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net",
            "-object", "rng-random,id=random,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=random",
            "-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,path={self.address},server=on,wait=off",
            "-device", "virtserialport,chardev=agent,name=agent", *firmware]
        self._switch_on()

    def _switch_on(self):
        self.said_before = len(self.said()) if os.path.exists(self.serial) else 0
        self.process = self.lab.start("qemu", self.command)
        self.agent, self.heard = socket.socket(socket.AF_UNIX), b""
        wait_until(lambda: self.agent.connect_ex(self.address) == 0, 10, "qemu")

    def _is_off(self, seconds):
        wait_until(lambda: self.process.poll() is not None, seconds, "the guest to go down")
        if self.process.returncode != 0 or self._complaint():
            self._fail(f"qemu ended with {self.process.returncode}")
        self.agent.close()

    def up(self, seconds=UP_SECONDS):
        """Waits until a boot that was not seen before has come to its agent."""
        end = time.monotonic() + seconds * PATIENCE
        while True:
            word, _, boot_id = self._line(end, "the guest to come up").partition(" ")
            if word == "up" and boot_id != self.boot_id:
                self.boot_id = boot_id
                return

    def run(self, script, ok=0, seconds=120, quiet=False):
        """What a shell prints there. ok: the exit status that it must have; None: any."""
        print(f"guest$ {script}", flush=True)
        self.agent.sendall(base64.b64encode(script.encode()) + b"\n")
        status, _, said = self._line(time.monotonic() + seconds * PATIENCE, script).partition(" ")
        output = base64.b64decode(said).decode(errors="replace")
        if not quiet:
            print("".join(f"     | {line}\n" for line in output.splitlines()[:40]), end="", flush=True)
        check(ok is None or int(status) == ok, f"in the guest, exit status {status}: {script}\n{output[-2000:]}")
        return output

    def reboot(self, seconds=UP_SECONDS):
        """Down and up again, each in that time. In an emulator of its own: one that goes on has been seen to hang there."""
        self._leave("reboot")
        self._is_off(seconds)
        self._switch_on()
        self.up(seconds)

    def power_off(self, seconds=UP_SECONDS):
        self._leave("poweroff")
        self._is_off(seconds)
        with open(self.serial, encoding="utf-8", errors="replace") as file:
            denied = [line for line in file if 'apparmor="DENIED"' in line and 'profile="iscsid' in line]
        check(not denied, f"iscsid's AppArmor profile denied: {denied[:3]}")

    def confined(self):
        """The daemon is there, and under its AppArmor profile."""
        label = self.run("cat /proc/$(pgrep -ox iscsid)/attr/current").strip()
        check(label == "iscsid (enforce)", f"iscsid runs under AppArmor's label {label}")

    def _leave(self, how):
        # When this was answered.
        self.run("if [ -d /run/systemd/system ]; then "
                 f"systemd-run -q --on-active=1s --timer-property=AccuracySec=100ms systemctl {how}; "
                 f"else setsid sh -c 'sleep 1; {how}' >/dev/null 2>&1 & fi")

    def journal(self, *options):
        """Entries as their fields, in order."""
        said = self.run("journalctl -q -o json --output-fields=MESSAGE,UNIT,_SYSTEMD_UNIT " + " ".join(options), quiet=True)
        return [json.loads(line) for line in said.splitlines()]

    def _line(self, end, what):
        while b"\n" not in self.heard:
            self.agent.settimeout(max(0.1, end - time.monotonic()))
            try:
                piece = self.agent.recv(1 << 16)
            except TimeoutError:
                piece = b""
            if not piece:
                self._fail(f"gave up waiting for {what}")
            self.heard += piece
        line, _, self.heard = self.heard.partition(b"\n")
        return line.decode(errors="replace").strip()

    def _complaint(self):
        """Of the kernel, since it was switched on, and what came then; without what it only guesses of its stack."""
        said = self.said()[self.said_before:]
        found = COMPLAINT.search(said)
        return found and "\n".join(line for line in said[found.start():].splitlines() if not GUESSED.search(line))

    def _fail(self, what):
        """With its last words, or the kernel's first complaint: the end alone does not say what it was."""
        complaint = self._complaint()
        words = complaint[:4000] if complaint else self.said()[-4000:]
        raise (Again if complaint and EMULATOR_ERRED in complaint else Failure)(f"{what}; its last words:\n{words}")

    def said(self):
        """All that it has printed."""
        with open(self.serial, "rb") as file:
            return file.read().decode(errors="replace").replace("\r", "")
