"""What can go wrong with a command, and the exit code that says which kind it was."""

OK = 0
BAD_NEWS = 1  # it was told, and it is not good: a circuit is open, a budget is used up
USAGE = 2  # the command line, the configuration, or the name of something that is not there
NOT_REACHED = 3  # no tollhouse answered, or it cannot say now


class Trouble(Exception):
    """It cannot be done. The message says why and what to do, one line or several; never a key."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.code = code
