#!/usr/bin/env python3
"""A file has at most 400 lines and a function at most 60. What is longer for a reason stands in LONGER with the
length it has; that number may only fall."""

import blocks
import tree

FILE_LINES = 400
FUNCTION_LINES = 60

# path, or path:function -> lines. A ratchet: lower it when the thing shrinks, remove it when it fits.
LONGER = {}


def name_of(header):
    words = header.split("(")[0].split()
    return words[-1].lstrip("*&") if words else "?"


def over(key, lines, bound, what):
    allowed = LONGER.get(key)
    if allowed is not None:
        if lines > allowed:
            return [f"{what} has {lines} lines, {allowed} were granted"]
        if lines < allowed:
            return [f"{what} has {lines} lines: lower its entry in LONGER from {allowed}" if lines > bound
                    else f"{what} has {lines} lines: remove its entry from LONGER"]
        return []
    return [f"{what} has {lines} lines, more than {bound}"] if lines > bound else []


def check_text(path, text):
    out = over(path, text.count("\n"), FILE_LINES, path)
    code = tree.code_of(text)
    for block in blocks.parse(code)[0]:
        if block.kind != "function" or block.close is None:
            continue
        first = tree.line_of(code, block.start)
        lines = tree.line_of(code, block.close) - first + 1
        name = name_of(block.header)
        out += over(f"{path}:{name}", lines, FUNCTION_LINES, f"{path}:{first}: {name}")
    return out


def check():
    paths = tree.cpp_files()
    stale = [f"LONGER names {key}, which is not there" for key in LONGER if key.split(":")[0] not in paths]
    return stale + [line for path in paths for line in check_text(path, tree.read(path))]


def self_test():
    def function(lines):
        return "namespace a {\nint C::f(int x) const {\n" + "    x += 1;\n" * (lines - 2) + "}\n}\n"

    table = "const int t[] = {\n" + "    1,\n" * 90 + "};\n"
    out = tree.expect("a function of 61 lines", check_text("x.cpp", function(61)), 1)
    out += tree.expect("a function of 60 lines", check_text("x.cpp", function(60)), 0)
    out += tree.expect("a file of 401 lines", check_text("x.cpp", "int a;\n" * 401), 1)
    out += tree.expect("a table", check_text("x.cpp", table), 0)
    LONGER["x.cpp:C::f"] = 70
    out += tree.expect("a grant that grew", check_text("x.cpp", function(71)), 1)
    out += tree.expect("a grant that may fall", check_text("x.cpp", function(65)), 1)
    out += tree.expect("a grant as it is", check_text("x.cpp", function(70)), 0)
    return out


if __name__ == "__main__":
    tree.main(check, self_test)
