#!/usr/bin/env python3
"""A root of its own for one iscsiadm: a mount and a network namespace and, in a tmpfs, the few files that it may see.
The program runs under the paths that it was built with, so that what it prints and links to is compared as it is.

World(program, libraries, daemon, sessions) starts a process in those namespaces (this file as a program) and talks with it; one
JSON object a line. It is the process' only user; everything in it ends with it."""

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading

import daemons
import sysfs

DATABASE = "/etc/iscsi"
PORTALS = "!portals"  # no command: with JSON of what the next discoveries find
LOCKS = "/run/lock/iscsi"

# The kernel's transports, without which open-iscsi takes an interface for one of no driver.
TRANSPORTS = {f"/sys/class/iscsi_transport/{name}/{file}": content for name in ("tcp", "iser")
              for file, content in (("handle", "281473902971904\n"), ("caps", "0x39\n"))}

ADDRESSES = ["10.0.0.1/32", "10.0.0.2/32", "fd00::1/128"]

FILES = {
    **TRANSPORTS,
    "/sys/module/iscsi_tcp/version": "1\n",
    "/etc/passwd": "root:x:0:0:root:/:/bin/sh\n",
    "/etc/group": "root:x:0:\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "/etc/hosts": "127.0.0.1 localhost\n10.0.0.1 storage1 storage1.example.com\n10.0.0.2 storage2\n",
}


class World:
    """`daemon` is "theirs" or "ours": whose requests are answered, see daemons.py. `sessions`: there are some, and the
    daemon does what it is asked for."""

    def __init__(self, program, libraries="", daemon="ours", sessions=False):
        command = ["unshare", "--mount", "--net", "--", sys.executable, "-B", os.path.abspath(__file__)]
        if os.geteuid() != 0:
            command[1:1] = ["--map-root-user"]
        # Ours, not the other process': what it mounts there is seen by itself alone, and goes with it.
        self._root = tempfile.TemporaryDirectory(prefix="iscsi-oracle-")
        self._process = subprocess.Popen([*command, self._root.name, program, libraries, daemon, str(int(sessions))],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.receive()

    def send(self, **request):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def receive(self):
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the private root of an iscsiadm ended; its complaint stands above")
        return json.loads(line)

    def run(self, words):
        self.send(run=words)
        return self.receive()

    def write(self, tree):
        """Makes the database and the lock directory exactly `tree`, as run() gives it."""
        self.send(write=tree)
        return self.receive()

    def close(self):
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()
        self._root.cleanup()


# ---- inside ----

def text(data):
    return data.decode("utf-8", "backslashreplace")


def describe(path):
    """Kind, mode and content of a path, as they are compared."""
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return ["link", 0, os.readlink(path)]
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        return ["directory", mode, ""]
    with open(path, "rb") as stream:
        return ["file", mode, text(stream.read())]


def read_tree():
    tree = {}
    for top in (DATABASE, LOCKS):
        for directory, names, files in os.walk(top):
            for path in [directory, *(os.path.join(directory, name) for name in names + files)]:
                tree[path] = describe(path)
    return tree


def clear(directory):
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def write_tree(tree):
    for top in (DATABASE, LOCKS):
        shutil.rmtree(top, ignore_errors=True)
    for path in sorted(tree):
        kind, mode, content = tree[path]
        if kind == "link":
            os.symlink(content, path)
            continue
        if kind == "directory":
            os.makedirs(path)
        else:
            with open(path, "w", encoding="utf-8") as stream:
                stream.write(content)
        os.chmod(path, mode)


def mount(*words):
    subprocess.run(["mount", *words], check=True)


def make_root(root, program, sessions):
    """Builds the root on the folder `root` and makes it this process' own; gives the path of the program in it."""
    mount("--make-rprivate", "/")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", root)
    for name in ("usr", "lib", "lib32", "lib64", "bin", "sbin", "proc", "dev"):
        if os.path.islink("/" + name):
            os.symlink(os.readlink("/" + name), f"{root}/{name}")
        elif os.path.isdir("/" + name):
            os.mkdir(f"{root}/{name}")
            mount("--rbind", "/" + name, f"{root}/{name}")
    for name in ("etc", "run/lock", "sys", "tmp", "program"):
        os.makedirs(f"{root}/{name}")
    for name in ("ld.so.cache", "ld.so.conf"):
        if os.path.exists("/etc/" + name):
            shutil.copy("/etc/" + name, f"{root}/etc/{name}")
    for path, content in FILES.items():
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        with open(root + path, "w", encoding="ascii") as stream:
            stream.write(content)
    if sessions:
        sysfs.make(root)
    folder, name = os.path.split(program)
    # The whole package, for its libraries; of our own build the folder of the program.
    while os.path.basename(folder) in ("sbin", "bin"):
        folder, name = os.path.dirname(folder), os.path.join(os.path.basename(folder), name)
    mount("--bind", folder, f"{root}/program")
    os.chroot(root)
    os.chdir("/")
    return f"/program/{name}"


def run(program, libraries, words):
    if words[:1] == [PORTALS]:
        daemons.portals[:] = json.loads(words[1])
        return {"code": 0, "out": "", "err": "", "tree": read_tree()}
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "ISCSI_ORACLE": "1"}
    if libraries:
        environment["LD_LIBRARY_PATH"] = libraries
    try:
        done = subprocess.run(["iscsiadm", *words], executable=program, env=environment, capture_output=True,
                              stdin=subprocess.DEVNULL, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return {"code": "no end after 60 s", "out": "", "err": "", "tree": read_tree()}
    return {"code": done.returncode, "out": text(done.stdout), "err": text(done.stderr), "tree": read_tree()}


def serve(root, program, libraries, kind, sessions):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in ADDRESSES:
        subprocess.run(["ip", "address", "add", address, "dev", "lo", "nodad"] if ":" in address else
                       ["ip", "address", "add", address, "dev", "lo"], check=True)
    path = make_root(root, program, sessions == "1")
    inside = ":".join(f"/program/{part}" for part in libraries.split(":") if part)
    os.umask(0o022)
    threading.Thread(target=daemons.serve, args=(kind, sessions == "1"), daemon=True).start()
    daemons.ready.wait()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "run" in request:
            answer = run(path, inside, request["run"])
        else:
            write_tree(request["write"])
            answer = "written"
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
