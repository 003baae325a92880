"""qcourse progress: what a learner has predicted, and which exercises are passed."""

from qcourse.cli.options import Answer, AsJson, answer


def command(json: AsJson = False) -> Answer:
    """List by lesson the exercises passed and the predictions beside what was measured, from QCOURSE_HOME."""
    from qcourse.course import progress
    from qcourse.course.check import identifiers

    rows = progress.by_lesson(identifiers())
    return answer(rows, json, "\n".join(map(progress.told, rows)))
