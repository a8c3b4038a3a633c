"""A rough reading of C++: where statements and blocks begin and end. Enough for house rules, not a parser."""

import re

CONTROL = re.compile(r"^\s*(?:(?:\}\s*)?else\b|if\b|for\b|while\b|switch\b|do\b|try\b|catch\b|case\b[^?]*:|default\s*:|$)")
SCOPE = re.compile(r"\b(?:namespace|struct|class|union|enum|extern)\b")
LAMBDA = re.compile(r"\[[^\[\]]*\]\s*(?:<[^{}]*>\s*)?(?:\([^{}]*\))?\s*(?:mutable\b|noexcept\b|\s)*(?:->[^{}()]*)?$")


class Block:
    """Text from `start` (of its header) over `open` (its brace) to `close`; kind: scope, control, lambda, function."""

    def __init__(self, kind, header, start, opened, parent):
        self.kind, self.header, self.start, self.open, self.parent = kind, header, start, opened, parent
        self.close = None

    def owner(self):
        """The nearest function or lambda that this block is, or lies in."""
        block = self
        while block and block.kind == "control":
            block = block.parent
        return block


class Statement:
    def __init__(self, text, start, block):
        self.text, self.start, self.block = text, start, block


def _opens_block(header):
    """Whether a brace behind `header`, outside parentheses, opens a block and not an initialiser."""
    text = header.rstrip()
    if not text or text.endswith((";", "{", "}", ")", ":")) and not text.endswith("::"):
        return True
    if CONTROL.match(text) or SCOPE.search(text.split("(")[0]) and "=" not in text.split("<")[0]:
        return True
    if re.search(r"(?:\bnoexcept|\bconst|\boverride|\bfinal|\bmutable|\belse|\bdo|\btry|&)$", text) and ")" in text:
        return True
    return re.search(r"\)[^()=;]*->\s*[\w:<>,&* ]+$", text) is not None or LAMBDA.search(text) is not None


def _kind(header):
    if LAMBDA.search(header.rstrip()) and not re.match(r"^\s*\[\[", header):
        return "lambda"
    if CONTROL.match(header):
        return "control"
    before = header.split("(")[0]
    if SCOPE.search(before):
        return "scope"
    return "function" if "(" in header else "control"


def parse(code):
    """(blocks, statements) of code that tree.code_of has blanked. A statement's text includes initialisers."""
    code = re.sub(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", lambda m: re.sub(r"[^\n]", " ", m.group(0)), code, flags=re.M)
    blocks, statements = [], []
    stack = []  # of Block, or of "{" for an initialiser
    parens = 0
    saved = []  # paren depth outside each open brace
    start = 0

    def inner():
        return next((b for b in reversed(stack) if isinstance(b, Block)), None)

    for at, char in enumerate(code):
        if char in "([":
            parens += 1
        elif char in ")]":
            parens = max(0, parens - 1)
        elif char == "{":
            header = code[start:at]
            lambda_inside = parens > 0 and LAMBDA.search(header.rstrip()) is not None
            if (parens == 0 and "{" not in stack and _opens_block(header)) or lambda_inside:
                block = Block(_kind(header), header, start + len(header) - len(header.lstrip()), at, inner())
                blocks.append(block)
                statements.append(Statement(header, block.start, inner()))
                stack.append(block)
                saved.append((parens, start))
                parens, start = 0, at + 1
            else:
                stack.append("{")
                saved.append((parens, start))
                parens = 0
        elif char == "}" and stack:
            if stack[-1] != "{":
                rest = code[start:at]
                if rest.strip():
                    statements.append(Statement(rest, start + len(rest) - len(rest.lstrip()), inner()))
            opened = stack.pop()
            outside, before = saved.pop()
            parens = outside
            if opened != "{":
                opened.close = at
                # Behind a lambda its statement goes on; behind any other block a new one begins.
                start = before if opened.kind == "lambda" else at + 1
        elif char == ";" and parens == 0 and not (stack and stack[-1] == "{"):
            text = code[start:at]
            statements.append(Statement(text, start + len(text) - len(text.lstrip()), inner()))
            start = at + 1
    return blocks, statements
