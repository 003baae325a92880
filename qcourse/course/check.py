"""Check a learner's answer by what it does, and name the misconception behind a wrong one."""

import copy
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from qcourse.common import QCourseError
from qcourse.common.display import show_markdown
from qcourse.course.answers import describe, first_difference, same, same_all
from qcourse.course.patterns import relation
from qcourse.course.progress import Records

MARKS = {"passed": "**Passed.**", "failed": "**Not yet.**", "not tried": "*Not tried yet.*"}
RETURNS_NOTHING = "The function returns nothing: end it with `return`; printing is not returning."


@dataclass(frozen=True)
class Misconception:
    """A wrong function that learners write, and the hint it deserves: the function's own docstring."""

    wrong: Callable

    @property
    def name(self) -> str:
        """Return the function's name in words."""
        return self.wrong.__name__.replace("_", " ")

    @property
    def hint(self) -> str:
        """Return the docstring as one line."""
        return " ".join((self.wrong.__doc__ or "").split())


def slips(hint: str, **wrong: Callable) -> tuple[Callable, ...]:
    """Return short wrong functions under their names, with the hint they deserve for a docstring."""

    def named(name: str, answer: Callable) -> Callable:
        def function(*case: object) -> object:
            return answer(*case)

        function.__name__, function.__doc__ = name, hint
        return function

    return tuple(named(name, answer) for name, answer in wrong.items())


@dataclass(frozen=True)
class Exercise:
    """One question answered by a function.

    cases: returns a list of argument tuples, small ones first, the same at each call.
    reference: the answer, written apart from the page that the lesson shows.
    wrong: functions that learners write, each with its hint for a docstring (see `slips`); one is recognized
    by giving what the learner's function gives on every case.
    tolerance: absolute, on numbers and tensors; relative as well.
    praise: what a right answer has shown.
    """

    cases: Callable[[], list[tuple]]
    reference: Callable
    wrong: tuple[Callable, ...]
    praise: str
    tolerance: float = 1e-5

    @property
    def misconceptions(self) -> list[Misconception]:
        """Return the wrong functions with their names and hints."""
        return [Misconception(function) for function in self.wrong]


@dataclass(frozen=True)
class Verdict:
    """Outcome of a check: state is "passed", "failed" or "not tried"."""

    state: str
    message: str
    misconception: str | None = None


def check(identifier: str, function: Callable) -> None:
    """Examine the learner's function, show the outcome and keep it if passed; never raises."""
    verdict = examine(find(identifier), function)
    if verdict.state == "passed":
        Records().note(identifier, passed=date.today().isoformat())
    plain = f"{identifier} {verdict.state}: {verdict.message}"
    show_markdown(f"{MARKS[verdict.state]} {verdict.message}", plain)


def require(identifier: str, function: Callable) -> None:
    """Raise AssertionError with the verdict unless the function passes: what a grader runs."""
    verdict = examine(find(identifier), function)
    if verdict.state != "passed":
        raise AssertionError(f"{identifier} {verdict.state}: {verdict.message}")


def find(identifier: str) -> Exercise:
    """Return the exercise "06.feed_back" from exercises/l06_feed_back.py; QCourseError names all ids."""
    if identifier not in identifiers():
        known = ", ".join(identifiers())
        raise QCourseError(f"no exercise {identifier}; there are {known}; check the spelling")
    return importlib.import_module(f"qcourse.course.exercises.l{identifier.replace('.', '_', 1)}").EXERCISE


def identifiers() -> list[str]:
    """List the ids of all exercises."""
    from qcourse.course import exercises

    names = [module.name for module in pkgutil.iter_modules(exercises.__path__)]
    return [name[1:].replace("_", ".", 1) for name in sorted(names) if name[0] == "l" and name[1:3].isdigit()]


def examine(exercise: Exercise, function: Callable) -> Verdict:
    """Compare the function with the reference on every case, and look for a known misconception."""
    answers = []
    for case in exercise.cases():
        try:
            answer = function(*copy.deepcopy(case))
        except NotImplementedError:
            return Verdict("not tried", "Write the function above, then run this cell again.")
        except Exception as error:  # whatever a learner's code raises belongs on the page, not in a traceback
            return Verdict("failed", f"Your function raised {type(error).__name__}: {error}.")
        answers.append(answer)
    if all(answer is Ellipsis or answer is None for answer in answers):
        return Verdict("not tried", RETURNS_NOTHING)
    return judge(exercise, answers)


def judge(exercise: Exercise, answers: list) -> Verdict:
    """Return passed, the hint of the misconception whose answers these are, or the case that differs.

    That case comes after what all answers have in common with the right ones, if anything.
    """
    cases = exercise.cases()
    expected = outputs(exercise.reference, cases)
    if same_all(answers, expected, exercise.tolerance):
        return Verdict("passed", exercise.praise)
    for known in exercise.misconceptions:
        if gives(known.wrong, cases, answers, exercise.tolerance):
            return Verdict("failed", known.hint, known.name)
    related = relation(answers, expected, cases, exercise.tolerance)
    pairs = zip(cases, answers, expected, strict=True)
    case, answer, right = next(pair for pair in pairs if not same(pair[1], pair[2], exercise.tolerance))
    where = first_difference(answer, right, exercise.tolerance)
    text = f"For {describe(case)} yours is {describe(answer)}, expected {describe(right)}{where}."
    return Verdict("failed", f"{related} {text}" if related else text)


def gives(function: Callable, cases: list[tuple], answers: list, tolerance: float) -> bool:
    """Say whether a function gives these answers; it stops at the first case that differs."""
    pairs = zip(cases, answers, strict=True)
    return all(same(answer, function(*copy.deepcopy(case)), tolerance) for case, answer in pairs)


def outputs(function: Callable, cases: list[tuple]) -> list:
    """Return the function's answer to each case, on copies of the arguments."""
    return [function(*copy.deepcopy(case)) for case in cases]
