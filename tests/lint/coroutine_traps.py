#!/usr/bin/env python3
"""Forms of coroutine that GCC 12 miscompiles: in a statement with co_await no `{`, `[` or `?`; no default
arguments on a coroutine; no coroutine lambdas. Name things on the line above."""

import re

import blocks
import tree


def statement_traps(code, path):
    out = {}
    for statement in blocks.parse(code)[1]:
        if not re.search(r"\bco_(?:await|return|yield)\b", statement.text):
            continue
        owner = statement.block.owner() if statement.block else None
        where = f"{path}:{tree.line_of(code, statement.start)}"
        if owner is not None and owner.kind == "lambda":
            out[where] = f"{where}: a lambda is a coroutine"
        if "co_await" in statement.text:
            signs = [sign for sign in "{[?" if sign in statement.text]
            if signs:
                out[where] = f"{where}: '{' '.join(signs)}' in a statement with co_await"
    return list(out.values())


def matching(code, at, pair):
    depth = 0
    for end in range(at, len(code)):
        if code[end] == pair[0]:
            depth += 1
        elif code[end] == pair[1]:
            depth -= 1
            if depth == 0:
                return end
    return len(code)


def default_arguments(code, path):
    out = []
    for task in re.finditer(r"\bTask\s*<", code):
        behind = matching(code, task.end() - 1, "<>") + 1
        name = re.match(r"\s*[\w:~]+\s*\(", code[behind:])
        if not name:
            continue
        opened = behind + name.end() - 1
        arguments = code[opened : matching(code, opened, "()")]
        if re.search(r"(?<![=<>!])=(?!=)", arguments):
            out.append(f"{path}:{tree.line_of(code, task.start())}: a coroutine has default arguments")
    return out


def check_text(text, path):
    code = tree.code_of(text)
    return statement_traps(code, path) + default_arguments(code, path)


def check():
    return [line for path in tree.cpp_files() for line in check_text(tree.read(path), path)]


def self_test():
    body = "namespace n {\nTask<int> f(int a) {\n%s\n}\n}\n"
    plants = [
        ("braces in a call", body % "co_await g(Args{1, 2});", 1),
        ("braces behind a name", body % "Reply reply{co_await g()};", 1),
        ("braces over lines", body % "auto x = co_await g(\n    {.a = 1,\n     .b = 2});", 1),
        ("a subscript", body % "co_await tasks[0];", 1),
        ("a structured binding", body % "auto [a, b] = co_await g();", 1),
        ("a lambda argument", body % "co_await g([] { return 1; });", 1),
        ("a conditional", body % "int x = a ? co_await g() : 2;", 1),
        ("inside an if", body % "if (!co_await g(S{})) { co_return 1; }", 1),
        ("a coroutine lambda", body % "auto l = [](int q) -> Task<int> { co_return q; };", 1),
        ("a default argument", "Task<Result<int>> f(int a, int b = 2);", 1),
        ("a clean function", body % "if (co_await g(a)) {\n co_return 1;\n}\nS s{1};\nint v[3] = {1, a ? 2 : 3, 4};\nco_await s.h();", 0),
        ("a clean loop", body % "for (auto& x : xs) { co_await x.stop(); }\nwhile (co_await g(a)) { a = v[0]; }", 0),
        ("comments and strings", body % 'co_await g("{[?"); // co_await {[?', 0),
        ("a clean switch", body % "switch (co_await g(a)) { case 1: co_await h(a); break; default: v[1] = 2; }", 0),
    ]
    return [line for what, text, wanted in plants for line in tree.expect(what, check_text(text, what), wanted)]


if __name__ == "__main__":
    tree.main(check, self_test)
