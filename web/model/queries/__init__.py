"""What the pages ask of the read model. Each function takes a connection of `reader.Model.read`,
is bounded in what it reads and returns, and says what it found in structs of its own.

`now` is epoch ms and decides where a range that has no end is. Pages ask by
`Model.ask(question, ...)`, with `now` by its name.
"""
