"""The one error that a learner is meant to read."""


class QCourseError(ValueError):
    """A request that cannot be met, in one sentence: what was asked, the limit, and the fix.

    The command line prints the message alone and exits with code 1; any other
    exception is a bug and keeps its traceback.
    """
