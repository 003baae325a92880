"""qcourse doctor: what this machine can run."""

from qcourse.cli.options import Answer, AsJson, answer


def command(json: AsJson = False) -> Answer:
    """Say what this machine can run, which lessons, and the command that mends each lack."""
    from qcourse.doctor import examine

    found = examine()
    return answer(found.to_dict(), json, str(found), 0 if found.usable else 1)
