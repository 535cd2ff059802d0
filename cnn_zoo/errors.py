"""The one exception for what a person can mend; the commands print it as one sentence and exit with status 2."""


class UserError(Exception):
    """Says what was wrong, what is accepted and how to mend it, in one sentence."""
