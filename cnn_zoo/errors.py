"""The exception for every mistake that a user can correct."""


class UserError(Exception):
    """An error whose text is one sentence: what is wrong, what is accepted, what to type.

    A command prints it as `error: …` and exits with status 2.
    """
