"""A restricted evaluator of Python expressions: an AST whitelist with limits, never exec or eval.

It computes over whole numbers, booleans, short strings and lists, with
comprehensions and a few functions. There are no attributes, no imports, no
lambdas and no names but those given, so nothing outside can be reached.
"""

import ast
import math
import operator
from collections.abc import Iterator

MAX_CHARACTERS, MAX_NODES, MAX_DEPTH = 400, 120, 24
MAX_STEPS, MAX_SIZE, MAX_BITS = 20_000, 10_000, 256


class Refused(ValueError):
    """The expression is malformed, uses something outside the whitelist, or exceeds a limit."""


BINARY = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod, ast.Pow: operator.pow, ast.Div: operator.truediv,
}  # fmt: skip
COMPARE = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge, ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b
}  # fmt: skip
FAULTS = (
    SyntaxError, ValueError, TypeError, ArithmeticError, LookupError, RecursionError, MemoryError,
)  # fmt: skip
UNARY = {ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_}
FUNCTIONS = {
    "sum": sum, "max": max, "min": min, "len": len, "sorted": sorted, "list": list, "abs": abs,
    "range": range, "reversed": lambda x: list(reversed(x)), "set": lambda x: sorted(set(x)), "all": all,
    "any": any
}  # fmt: skip


def evaluate(text: str, names: dict[str, object]) -> object:
    """Return the value of the expression `text` with `names` as its variables.

    Raises Refused for anything but a whitelisted expression within the limits,
    also where Python itself would raise (division by zero, a wrong type).
    """
    if len(text) > MAX_CHARACTERS:
        raise Refused(f"the expression has more than {MAX_CHARACTERS} characters")
    try:
        tree = ast.parse(text, mode="eval").body
        if sum(1 for _ in ast.walk(tree)) > MAX_NODES or depth(tree) > MAX_DEPTH:
            raise Refused("the expression is too large")
        return Evaluation(dict(names)).value(tree)
    except Refused:
        raise
    except FAULTS as error:
        raise Refused(str(error)) from error


def depth(node: ast.AST) -> int:
    """Return the height of the tree below `node`."""
    return 1 + max((depth(child) for child in ast.iter_child_nodes(node)), default=0)


class Evaluation:
    """One evaluation: its variables, and the steps used so far."""

    def __init__(self, names: dict[str, object]) -> None:
        self.names, self.steps = names, 0

    def value(self, node: ast.AST) -> object:
        """Return the value of a node, within the limits."""
        self.tick(1)
        handler = getattr(self, f"_{type(node).__name__.lower()}", None)
        if handler is None:
            raise Refused(f"{type(node).__name__} is not allowed")
        return self.sized(handler(node))

    def tick(self, count: int) -> None:
        """Count steps; raise Refused beyond the limit."""
        self.steps += count
        if self.steps > MAX_STEPS:
            raise Refused(f"more than {MAX_STEPS} steps")

    def sized(self, value: object) -> object:
        """Return the value if it is small and of a known type; a range or list costs its length in steps."""
        if isinstance(value, bool) or (isinstance(value, float) and math.isfinite(value)):
            return value
        if isinstance(value, int) and value.bit_length() <= MAX_BITS:
            return value
        if isinstance(value, str | list | tuple | range) and len(value) <= MAX_SIZE:
            self.tick(len(value) if isinstance(value, list | range) else 0)
            return value
        raise Refused(f"a value of type {type(value).__name__} is too large or not allowed")

    def _constant(self, node: ast.Constant) -> object:
        return node.value

    def _name(self, node: ast.Name) -> object:
        if node.id not in self.names:
            raise Refused(f"the name {node.id!r} is not defined")
        return self.names[node.id]

    def _list(self, node: ast.List) -> list:
        return [self.value(item) for item in node.elts]

    def _tuple(self, node: ast.Tuple) -> tuple:
        return tuple(self.value(item) for item in node.elts)

    def _unaryop(self, node: ast.UnaryOp) -> object:
        return UNARY[type(node.op)](self.value(node.operand))

    def _boolop(self, node: ast.BoolOp) -> object:
        stop = isinstance(node.op, ast.Or)
        for item in node.values:
            result = self.value(item)
            if bool(result) == stop:
                break
        return result

    def _binop(self, node: ast.BinOp) -> object:
        left, right = self.value(node.left), self.value(node.right)
        if not all(isinstance(side, int | float) for side in (left, right)):
            if not (isinstance(node.op, ast.Add) and isinstance(left, list) and isinstance(right, list)):
                raise Refused("arithmetic is for numbers")
        if isinstance(node.op, ast.Pow) and not (abs(right) <= 16 and abs(left) <= 1_000_000):
            raise Refused("the power is too large")
        return BINARY[type(node.op)](left, right)

    def _compare(self, node: ast.Compare) -> bool:
        left = self.value(node.left)
        for kind, item in zip(node.ops, node.comparators, strict=True):
            right = self.value(item)
            if not COMPARE[type(kind)](left, right):
                return False
            left = right
        return True

    def _ifexp(self, node: ast.IfExp) -> object:
        return self.value(node.body if self.value(node.test) else node.orelse)

    def _subscript(self, node: ast.Subscript) -> object:
        return self.value(node.value)[self.value(node.slice)]

    def _call(self, node: ast.Call) -> object:
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS or node.keywords:
            raise Refused("this call is not allowed")
        return FUNCTIONS[node.func.id](*[self.value(item) for item in node.args])

    def _listcomp(self, node: ast.ListComp) -> list:
        return list(self._comprehension(node.elt, node.generators))

    _generatorexp = _listcomp

    def _setcomp(self, node: ast.SetComp) -> list:
        return sorted(set(self._comprehension(node.elt, node.generators)))

    def _comprehension(self, element: ast.AST, generators: list[ast.comprehension]) -> Iterator[object]:
        first, *rest = generators
        if not isinstance(first.target, ast.Name) or first.is_async:
            raise Refused("a comprehension runs over one plain name")
        kept = dict(self.names)
        for value in self.value(first.iter):
            self.names[first.target.id] = value
            if all(self.value(condition) for condition in first.ifs):
                if rest:
                    yield from self._comprehension(element, rest)
                else:
                    yield self.value(element)
        self.names = kept
