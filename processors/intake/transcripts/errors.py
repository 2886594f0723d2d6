"""What is raised for foreign records that cannot be read."""


class TranscriptError(Exception):
    """A record cannot be imported. The message says what is wrong and never quotes a value."""
