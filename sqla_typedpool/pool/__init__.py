"""The pool: see :mod:`sqla_typedpool.pool.pool` for its face."""
