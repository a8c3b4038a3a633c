#!/usr/bin/env python3
"""Runs the commands of pages, in order, and holds what they print against what the page says they do.

  run.py guest PAGE...   in a guest (tests/guest/run --udev): its own /etc/iscsi, /dev and ports; the programs are this
                         build's, and where a page wants open-iscsi, Debian's (tests/oracle/fetch)
  run.py host PAGE       on this machine, in a network of its own: for a page whose commands stay in /tmp/first-session
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading

import pages

PATIENCE = float(os.environ.get("ISCSI_PATIENCE", "1"))
LIMIT = 120  # seconds, of a command, or of an `until`
PRELUDE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "prelude.sh")
OURS = "/tmp/first-session"  # of README's first session; in a test another place, which nobody else has


class Failure(Exception):
    """What a page says and is not so."""


class Shell:
    """One bash, as a reader's terminal: directories, variables and exit statuses pass from command to command."""

    LOOP = '. "$PRELUDE"; status=0; while read -r file; do (exit $status); . "$file" </dev/null 2>&1; status=$?; ' \
           'printf "\\n%s %d\\n" "$MARK" $status; done'

    def __init__(self, folder, env, cwd=None):
        self.folder, self.mark = folder, "end-of-" + os.path.basename(folder)
        self.process = subprocess.Popen(["bash", "-c", self.LOOP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=cwd,
                                        env={**env, "MARK": self.mark, "PRELUDE": PRELUDE}, text=True, errors="replace")

    def run(self, text):
        """What the command prints, on both ways out, and its exit status."""
        path = os.path.join(self.folder, "command")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        late = threading.Timer(LIMIT * PATIENCE, self.process.kill)
        late.daemon = True  # nobody waits for it when the shell is gone
        late.start()
        print(path, file=self.process.stdin, flush=True)
        said = ""
        for line in self.process.stdout:
            ended = re.fullmatch(rf"{self.mark} (\d+)\n", line)
            if ended:
                late.cancel()
                return said[:-1], int(ended.group(1))  # without the line's end that is the marker's
            said += line
        raise Failure(f"no end after {LIMIT * PATIENCE:g} s, or the shell is gone: {text}\n{said}")

    def close(self):
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()


def judge(command, said, status, next_text):
    """An error's line, or nothing. A command that fails has to show it: the next one prints its exit status."""
    if status and next_text != "echo $?":
        return f"exit status {status}"
    return "" if command.pattern().fullmatch(said) else "it prints something else than"


def run_command(shell, block, command, following, again, change):
    end = threading.Event()
    timer = threading.Timer(LIMIT * PATIENCE, end.set)
    timer.start()
    while True:
        said, status = shell.run(change(command.text))
        said = change(said, True)
        wrong = judge(command, said, status, following)
        if not wrong or not again or end.wait(0.2):
            break
    timer.cancel()
    print(f"# {command.text}\n{said}", end="", flush=True)
    if wrong:
        wanted = "".join(f"  {line}\n" for line in command.printed)
        raise Failure(f"{block.page}:{command.line}: {wrong}\n{wanted}  # {command.text}")


def run_page(page, shell, change=lambda text, back=False: text):
    """How many commands were run, and how many were not."""
    ran = left = 0
    for block in pages.blocks(page):
        if block.kind != "console":
            continue
        if block.instead():
            print(f"instead of {block.where()}: {block.instead()}", flush=True)
            said, status = shell.run(change(block.instead()))
            if status:
                raise Failure(f"{block.where()}: instead: exit status {status}\n{said}")
        if block.what not in ("", "until"):
            left += len(block.commands)
            print(f"-- {block.where()}: {block.what}: {block.reason()}", flush=True)
            continue
        following = [command.text for command in block.commands[1:]] + [""]
        for command, next_text in zip(block.commands, following):
            again = block.what == "until" and command is block.commands[-1]
            run_command(shell, block, command, next_text, again, change)
            ran += 1
    return ran, left


def environment(**more):
    build = os.environ["ISCSI_BUILD"]
    return {**os.environ, "LC_ALL": "C", "PATH": f"{build}:{os.environ['PATH']}:/usr/sbin:/sbin", "HOME": "/tmp", **more}


def wrap_open_iscsi(folder):
    """A folder with Debian's programs, which want their own libraries. Their iscsid ends its whole process group."""
    place = os.environ["ISCSI_ORACLE"]
    os.mkdir(folder)
    for name, before in (("iscsiadm", "exec"), ("iscsid", "modprobe -a iscsi_tcp sd_mod && setsid")):
        with open(f"{folder}/{name}", "w", encoding="ascii") as file:
            file.write("#!/bin/sh\nmkdir -p /run/lock/iscsi\nexport LD_LIBRARY_PATH=$(echo "
                       f"{place}/usr/lib/*-linux-gnu)\n{before} {place}/sbin/{name} \"$@\"\n")
        os.chmod(f"{folder}/{name}", 0o755)
    return folder


def in_a_guest(page, folder):
    """What the page makes it takes away again: the next one finds the machine as this one did."""
    for entry in os.scandir("/etc/iscsi"):
        shutil.rmtree(entry.path) if entry.is_dir() else os.unlink(entry.path)
    shutil.copy(os.path.join(pages.TREE, "etc/iscsid.conf"), "/etc/iscsi/iscsid.conf")
    shell = Shell(folder, environment(OPEN_ISCSI=wrap_open_iscsi(f"{folder}/open-iscsi")), "/run/home")
    try:
        counts = run_page(page, shell)
        said, _ = shell.run("iscsiadm -m session; ls -A /etc/iscsi/nodes /etc/iscsi/send_targets; cat /etc/fstab")
        if re.search(r"iqn\.|127\.0|/mnt", said):
            raise Failure(f"{page} leaves behind:\n{said}")
        shell.run("pkill -x -KILL tgtd; end_daemon")
        return counts
    finally:
        shell.close()


def on_the_host(page, folder):
    """In a place that has no machine's network, and with another folder and tgtd's socket than a reader's."""
    def change(text, back=False):
        return text.replace(folder, OURS) if back else text.replace(OURS, folder)

    os.mkdir(f"{folder}.cwd")
    os.mkdir(f"{folder}.cwd/build")
    os.symlink(os.environ["ISCSI_BUILD"], f"{folder}.cwd/build/release")
    shell = Shell(f"{folder}.cwd", environment(TGT_IPC_SOCKET=f"{folder}.cwd/tgtd"), f"{folder}.cwd")
    try:
        shell.run("ip link set lo up")
        return run_page(page, shell, change)
    finally:
        shell.run(f"ISCSI_ROOT={folder} iscsiadm -k 0; tgtadm -C 9 --op delete --mode system")
        shell.close()
        shutil.rmtree(f"{folder}.cwd")


def enter_a_guest(words):
    """In the place of this process."""
    fetch = [f"{pages.TREE}/tests/oracle/fetch"]
    oracle = subprocess.run(fetch, stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
    command = f"ISCSI_ORACLE='{oracle}' python3 -B '{os.path.abspath(__file__)}' {' '.join(words)}"
    os.execv(f"{pages.TREE}/tests/guest/run", ["run", "-b", os.environ["ISCSI_BUILD"], "-m", "1024", "-t", "840", "--udev",
                                               command])


def main(place, names):
    if place == "guest" and not os.path.isdir("/run/guest"):
        enter_a_guest(sys.argv[1:])
    if place == "host" and os.environ.get("DOCS_INSIDE") != "yes":
        os.environ["DOCS_INSIDE"] = "yes"
        own = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]  # what a page starts ends with it
        os.execvp("unshare", ["unshare", *own, "--", sys.executable, "-B", *sys.argv])
    for page in names:
        folder = tempfile.mkdtemp(prefix="docs-", dir="/tmp")
        try:
            ran, left = (in_a_guest if place == "guest" else on_the_host)(page, folder)
        except (Failure, pages.Wrong) as wrong:
            print(f"FAILED: {wrong}")
            sys.exit(1)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print(f"{page}: {ran} commands run, {left} not run here", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
