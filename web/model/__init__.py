"""The read model of the console: summaries and Kafka coordinates in SQLite, built from the topics.

`apply` says what rows follow from one record; it is pure. `store` writes them, and the positions
that were read to, in one transaction. `builder` reads the topics. `reader` and `queries` answer
the pages. The file holds no context value and no words that a person typed, and can be deleted
at any time: it is built again.
"""
