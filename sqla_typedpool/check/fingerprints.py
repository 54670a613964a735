"""Names of findings that stay the same when lines are added or removed above them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter

from sqla_typedpool.check.model import Finding
from sqla_typedpool.check.report import Report, shown_path


def fingerprinted(report: Report) -> list[tuple[Finding, str]]:
    """Return the findings in order, each with a fingerprint that no other one has.

    It is a digest of the file, the query, the code, the subject and the message. Lines and
    columns are left out. Findings that have all of that in common are numbered.
    """
    seen: Counter[tuple[str, ...]] = Counter()
    found = []
    for each in report.in_order():
        file = "" if each.location is None else shown_path(each.location.file)
        key = (file, each.query or "", each.code, each.subject, each.message)
        digest = hashlib.sha256(json.dumps([*key, seen[key]]).encode()).hexdigest()
        found.append((each, digest))
        seen[key] += 1
    return found
