"""Says what a ctest run gave: a line `passed: ...`, `failed: ...` or `skipped: ...` a test, and what a failed
test printed. Arguments: the name of the run, ctest's JUnit file."""

import sys
import xml.etree.ElementTree

LINES = 60

run, junit = sys.argv[1:3]
for case in xml.etree.ElementTree.parse(junit).getroot().iter("testcase"):
    name = f"{run}/{case.get('name')}"
    output = (case.findtext("system-out") or "").rstrip().splitlines()
    if case.get("status") == "run":
        print(f"passed: {name}")
    elif case.find("skipped") is not None and case.find("skipped").get("message", "").startswith("SKIP_"):
        print(f"skipped: {name}: {output[-1] if output else 'no reason given'}")
    else:
        # Not found, timed out, crashed or disabled: none of them is a pass.
        print(f"-- {name}, last {LINES} lines:")
        print("\n".join("   " + line for line in output[-LINES:]))
        print(f"failed: {name}")
