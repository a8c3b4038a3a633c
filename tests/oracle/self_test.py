#!/usr/bin/env python3
"""The oracle is able to fail: each of these programs makes one mistake, and the oracle must find it and print the few
commands that show it.

    self_test.py ISCSIADM"""

import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
T1 = "iqn.2001-04.com.example:t1"

# What is wrong, and commands among which some show it.
MUTANTS = {
    "an exit code": ('/program/real "$@"; code=$?; [ $code = 21 ] && exit 1; exit $code', ["-m node"]),
    "a line on stderr": ('echo hint >&2; exec /program/real "$@"', ["-V"]),
    "a file's mode": ('/program/real "$@"; code=$?; chmod -f 644 /etc/iscsi/nodes/*/*; exit $code',
                      [f"-m node -T {T1} -p 10.0.0.1 -o new"]),
    "a byte of a record": ('/program/real "$@"; code=$?; for f in /etc/iscsi/ifaces/*; do echo >>"$f"; done; exit $code',
                           ["-m iface", "-m iface -I if0 -o new"]),
    "a link": ('/program/real "$@"; code=$?; rm -f /etc/iscsi/static/*; exit $code',
               ["-m node", f"-m node -T {T1} -p 10.0.0.1,1 -o new"]),
    "a lock left behind": ('/program/real "$@"; code=$?; mkdir -p /run/lock/iscsi; : >/run/lock/iscsi/lock.write; exit $code',
                           ["-m iface"]),
    "a valid value refused": (
        'case "$*" in *update*) echo "iscsiadm: bad value for node.startup; allowed is nothing" >&2; exit 7; esac\n'
        'exec /program/real "$@"',
        [f"-m node -T {T1} -p 10.0.0.1 -o new", "-m node -o update -n node.startup -v automatic"]),
    "a valid portal refused": (
        'case "$*" in *10.0.0.9*) echo "iscsiadm: portal \'10.0.0.9\': not today" >&2; exit 7; esac\n'
        'exec /program/real "$@"', [f"-m node -T {T1} -p 10.0.0.9 -o new"]),
    "the order of a sorted list": ('/program/real "$@" | tac', [f"-m node -T {T1} -p 10.0.0.1 -o new",
                                                                 f"-m node -T {T1} -p 10.0.0.2 -o new", "-m node"]),
    "a logout in place of a rescan": ('case "$*" in *-R*) set -- -m session -u ;; esac; exec /program/real "$@"',
                                      ["--sessions", "-m session", "-m session -r 1 -u -R"]),
    "a host too few": ('/program/real "$@" | tail -n +2', ["--sessions", "-m host -H 2"]),
    "a record lost": ('/program/real "$@"; code=$?; rm -rf /etc/iscsi/nodes/*t2; exit $code',
                      [f"-m node -T {T1} -p 10.0.0.1 -o new", f"-m node -T {T1[:-1]}2 -p 10.0.0.1 -o new"]),
}


def run(program, commands):
    return subprocess.run([sys.executable, "-B", os.path.join(HERE, "oracle_test.py"), program, *commands],
                          capture_output=True, text=True, timeout=100, check=False)


def main():
    folder = tempfile.mkdtemp(prefix="iscsi-oracle-mutants-")
    failed = 0
    try:
        shutil.copy(sys.argv[1], os.path.join(folder, "real"))
        program = os.path.join(folder, "iscsiadm")
        for name, (script, commands) in MUTANTS.items():
            with open(program, "w", encoding="ascii") as stream:
                stream.write(f"#!/bin/sh\n{script}\n")
            os.chmod(program, 0o755)
            done = run(program, commands)
            if done.returncode != 1 or "A difference that is not listed" not in done.stdout:
                failed += 1
                print(f"{name}: not found (exit code {done.returncode})\n{done.stdout}{done.stderr}")
        unchanged = run(os.path.join(folder, "real"), ["-V", "-m node", "-m iface"])
        if unchanged.returncode != 0:
            failed += 1
            print(f"the program itself:\n{unchanged.stdout}{unchanged.stderr}")
    finally:
        shutil.rmtree(folder)
    print(f"{len(MUTANTS)} mistakes, {failed} not found")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
