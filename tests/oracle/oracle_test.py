#!/usr/bin/env python3
"""Random sequences of commands through Debian's iscsiadm and ours, each in a root of its own. After every command both
streams, the exit code and the whole database (names, modes, links, bytes) are compared; what differs must be one of the
differences that iscsiadm/differences.txt lists, as differences.py tells them.

    oracle_test.py ISCSIADM [--sessions] [--keep] [COMMAND...]
        COMMAND: one command line a word, instead of random ones
        --sessions: in the worlds with sessions; --keep: without iscsid.rediscovery = overwrite

ISCSI_ORACLE_STEPS    commands in all (default 2400)
ISCSI_ORACLE_SEED     of the random commands (default: 1, so that a test of the whole tree is the same every time; clock:
                      another one each time; it is printed)
ISCSI_ORACLE_ALL=1    do not stop at the first difference; print each, not shrunk
"""

import os
import random
import re
import shlex
import subprocess
import sys
import time

import commands
import differences
from world import DATABASE, LOCKS, World

HERE = os.path.dirname(os.path.abspath(__file__))
SEQUENCE = 60  # commands to one database
LIBRARIES = "usr/lib/x86_64-linux-gnu:lib/x86_64-linux-gnu"


class Pair:
    """Theirs and ours, with the same files; with `sessions` those of sysfs.py run in both."""

    def __init__(self, oracle, program, sessions):
        self.theirs = World(os.path.join(oracle, "sbin/iscsiadm"), LIBRARIES, "theirs", sessions)
        self.ours = World(program, sessions=sessions)
        with open(os.path.join(oracle, "etc/iscsi/iscsid.conf"), encoding="utf-8") as stream:
            self._config = stream.read()
        self.sessions = sessions
        self.tree = {}

    def reset(self, keep=False):
        """An empty database. `keep`: with the setting that discoveries keep what was set, which is the default."""
        self.tree = {
            DATABASE: ["directory", 0o755, ""], LOCKS: ["directory", 0o700, ""],
            f"{DATABASE}/iscsid.conf": ["file", 0o644, self._config + ("" if keep else differences.OVERWRITE)],
            f"{DATABASE}/initiatorname.iscsi": ["file", 0o600, "InitiatorName=iqn.1993-08.org.debian:01:oracle\n"],
        }
        self.theirs.write(self.tree)
        self.ours.write(self.tree)

    def step(self, words):
        """Runs one command in both. Gives the step and the name of what explains it: "" when they are equal, None when
        nothing does. The databases are equal afterwards, whatever happened."""
        self.theirs.send(run=words)
        self.ours.send(run=words)
        step = differences.Step(words, self.tree, self.theirs.receive(), self.ours.receive(), self.theirs)
        explained = differences.explain(step)
        if step.theirs["tree"] != step.ours["tree"] or step.asked_again:
            self.theirs.write(step.ours["tree"])
        self.tree = step.ours["tree"]
        return step, explained

    def close(self):
        self.theirs.close()
        self.ours.close()


class Sequence(list):
    """Commands for one database, and which pair and setting they are for."""

    def __init__(self, commands_of_it, pair, keep=False):
        super().__init__(commands_of_it)
        self.pair, self.keep = pair, keep

    def of(self, commands_of_it):
        return Sequence(commands_of_it, self.pair, self.keep)

    def steps(self):
        """Each step and what explains it, see Pair.step()."""
        self.pair.reset(self.keep)
        for words in self:
            yield self.pair.step(words)

    def failure(self):
        """The step that nothing explains, or None."""
        return next((step for step, explained in self.steps() if explained is None), None)


def shrunk(sequence):
    """A shorter sequence that still ends in a difference: whole parts are left out as long as that helps."""
    size = len(sequence) // 2
    while size > 0:
        start = 0
        while start < len(sequence):
            shorter = sequence.of(sequence[:start] + sequence[start + size:])
            if shorter and shorter.failure():
                sequence = shorter
            else:
                start += size
        size //= 2
    return sequence


def report(sequence):
    short = shrunk(sequence)
    step = short.failure()
    options = "".join(f" {option}" for option, is_so in (("--sessions", sequence.pair.sessions), ("--keep", sequence.keep))
                      if is_so)
    print(f"A difference that is not listed. To run it again:\n  tests/oracle/oracle_test.py ISCSIADM{options} \\")
    for words in short:
        print(f"    {shlex.quote(shlex.join(words))} \\")
    print()
    print(differences.describe(step) if step else "It did not come again.")


def sequences(seed, steps, pairs):
    """Of three one is for the pair with sessions, and of the others every second keeps what was set."""
    for number in range(0, steps, SEQUENCE):
        place = number // SEQUENCE % 6
        pair = pairs[place % 3 == 2]
        kind = commands.SessionCommands if pair.sessions else commands.Commands
        source = kind(random.Random(f"{seed}/{number}"))
        yield Sequence([source.next() for _ in range(min(SEQUENCE, steps - number))], pair, keep=place >= 3)


def unlisted():
    """Rules without an entry in the list."""
    with open(os.path.join(HERE, "..", "..", "iscsiadm", "differences.txt"), encoding="ascii") as stream:
        listed = set(re.findall("(?m)^id: (.*)$", stream.read()))
    names = [name for name, *_ in [*differences.RULES, *differences.LINES]]
    return [name for name in names if name not in listed]


def play(chosen):
    """Runs the sequences; gives how many commands there were, {what explains: how often} and what nothing explains."""
    done, seen, unexplained = 0, {}, 0
    for sequence in chosen:
        for step, explained in sequence.steps():
            done += 1
            if explained is None:
                unexplained += 1
                if not os.environ.get("ISCSI_ORACLE_ALL"):
                    report(sequence)
                    return done, seen, unexplained
                print(differences.describe(step))
            elif explained:
                seen[explained] = seen.get(explained, 0) + 1
    return done, seen, unexplained


def main():
    if unlisted():
        sys.exit(f"not in iscsiadm/differences.txt: {unlisted()}")
    program, options = os.path.abspath(sys.argv[1]), {"--sessions", "--keep"} & set(sys.argv[2:])
    given = [shlex.split(line) for line in sys.argv[2:] if line not in options]
    steps = int(os.environ.get("ISCSI_ORACLE_STEPS", "2400"))
    seed = os.environ.get("ISCSI_ORACLE_SEED") or "1"
    if seed == "clock":
        seed = str(time.time_ns() % 1000000)
    fetched = subprocess.run([os.path.join(HERE, "fetch")], stdout=subprocess.PIPE, text=True, check=False)
    if fetched.returncode != 0:
        sys.exit("Debian's open-iscsi could not be fetched")
    pairs = [Pair(fetched.stdout.strip(), program, sessions) for sessions in (False, True)]
    print(f"ISCSI_ORACLE_SEED={seed} ISCSI_ORACLE_STEPS={steps}", flush=True)
    chosen = ([Sequence(given, pairs["--sessions" in options], "--keep" in options)] if given
              else sequences(seed, steps, pairs))
    done, seen, unexplained = play(chosen)
    for pair in pairs:
        pair.close()
    print(f"{done} commands, {done - sum(seen.values()) - unexplained} with equal results; listed differences:")
    for name, count in sorted(seen.items()):
        print(f"  {count:5} {name}")
    if unexplained or not done:
        sys.exit(1)


if __name__ == "__main__":
    main()
