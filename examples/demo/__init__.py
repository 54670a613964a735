"""A demonstration: the stock pool and TypedPool under the same load on a real PostgreSQL.

Run it from the root of the repository with ``make demo``, or with ``python -m examples.demo``.

The modules, in the order in which a run uses them: ``__main__`` (the command line), ``run`` (the
order of the output), ``database`` (which database), ``load`` (the concurrent callers),
``pool_run`` (the load on one pool), ``figures`` (what was measured), ``captured_log`` (what was
logged), ``report`` (the table and its explanation), ``overload`` (more requests than the
connections can serve), ``timeout_error``, ``typed_rows`` and ``checked_query`` (the three short
examples), ``output`` and ``terminal`` (printing), ``interrupt`` (stopping on a signal).
"""
