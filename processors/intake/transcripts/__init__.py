"""Transcripts and traces of agents as tool outputs.

A format is read into messages (`messages`) or spans (`spans`), those become steps (`steps`), and
one builder (`building`) makes the tool outputs of them.
"""
