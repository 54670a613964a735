"""Random statements that write: what is found in them is compared with their execution.

`tables` makes a random schema, `values` random values, `statements` the statements, and `run`
describes and executes them.
"""
