"""Correct the annotations that findings are about, where only one correction is possible.

- TP101: ``| None`` is added to a field, or to a type in a return annotation.
- TP107: ``| None`` is removed from it.
- TP105, TP201: the type of a field, a column or a parameter is replaced by the only right one.

SQL is never changed.
"""

from __future__ import annotations

import typing
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqla_typedpool.check import rules
from sqla_typedpool.check.annotation_code import AnnotationCode, add_none, remove_none
from sqla_typedpool.check.annotation_places import AnnotationPlaces
from sqla_typedpool.check.compare import compare
from sqla_typedpool.check.discovery import Discovered
from sqla_typedpool.check.edits import Edit, NotFixable
from sqla_typedpool.check.file_changes import FileChange
from sqla_typedpool.check.fix_uses import Use, uses_of
from sqla_typedpool.check.model import Finding, Severity
from sqla_typedpool.check.report import Report
from sqla_typedpool.check.suppressions import Selection
from sqla_typedpool.check.type_names import import_edits, name_of_type
from sqla_typedpool.describe.model import Description
from sqla_typedpool.mapping.typespec import Kind, TypeSpec, type_name
from sqla_typedpool.queries import QueryInfo, declared

_NULLABLE, _NEEDLESS = rules.NULLABLE_COLUMN.code, rules.NEEDLESS_OPTIONAL.code
_TYPES = (rules.IMPOSSIBLE_COLUMN.code, rules.PARAMETER_TYPE.code)


@dataclass(frozen=True)
class Fixes:
    """The corrections for the findings of a report."""

    changes: tuple[FileChange, ...]

    # The number of findings that the changes correct.
    fixed: int

    # The report on the other findings, with the reasons for which they are not corrected.
    left: Report

    def left_after(self) -> Report:
        """Return the report on the other findings, with their places in the new texts."""
        findings = self.left.findings
        for change in self.changes:
            findings = tuple(_moved(each, change) for each in findings)
        return replace(self.left, findings=findings)


def _moved(each: Finding, change: FileChange) -> Finding:
    return each if each.location is None else replace(each, location=change.moved(each.location))


def fixes_for(report: Report, selection: Selection, found: Discovered) -> Fixes:
    """Return the corrections for the findings of a report.

    :param selection: that of the report. A type that is replaced loses a needless None only if
        TP107 is selected.
    :param found: the checked modules. Only their files, and those below the working directory, are
        corrected.
    """
    places = AnnotationPlaces(found.files)
    run = _Run(frozenset(report.findings), selection.includes(_NEEDLESS), places)
    for info, description in report.descriptions:
        run.add(info, description)
    for info in set(declared()) - set(found.queries):  # of modules that checked ones import
        run.add(info, None)
    changes = tuple(run.changes())
    left = [each for each in report.findings if each not in run.fixed or each in run.reasons]
    explained = tuple(replace(each, not_fixed=run.reasons.get(each, "")) for each in left)
    fixed = len(report.findings) - len(left)
    return Fixes(changes, fixed, replace(report, findings=explained))


@dataclass(eq=False)
class _Group:
    """An annotation, all its uses, and the findings about it."""

    code: AnnotationCode
    uses: list[Use] = field(default_factory=list)
    findings: list[tuple[Use, Finding]] = field(default_factory=list)


@dataclass(frozen=True)
class _Correction:
    """The edit of one annotation."""

    code: AnnotationCode
    edit: Edit
    findings: tuple[Finding, ...]

    # The types to import for it.
    imports: frozenset[type] = frozenset()


@dataclass(eq=False)
class _Run:
    """Collects the uses of all annotations, and corrects each annotation once."""

    reported: frozenset[Finding]
    may_remove: bool
    places: AnnotationPlaces
    fixed: set[Finding] = field(default_factory=set)

    # Why findings are not corrected.
    reasons: dict[Finding, str] = field(default_factory=dict)

    _groups: dict[Any, _Group] = field(default_factory=dict)

    def add(self, info: QueryInfo, description: Description | None) -> None:
        """Add the annotations that a query uses."""
        found = [] if description is None else list(filter(_is_fixable, compare(info, description)))
        for use in uses_of(info, description, self.places):
            findings = [each for each in found if _is_about(each, use)]
            try:
                code = use.find()
            except NotFixable as error:
                self.reasons.update(dict.fromkeys(findings, str(error)))
                continue
            group = self._groups.setdefault(code.place, _Group(code))
            group.uses.append(use)
            group.findings += [(use, each) for each in findings]

    def changes(self) -> Iterator[FileChange]:
        """Yield the new texts of the files."""
        by_file: defaultdict[Path, list[_Correction]] = defaultdict(list)
        for group in self._groups.values():
            findings = tuple(each for _, each in group.findings if each in self.reported)
            try:
                if findings:
                    found = self._correction(group, findings)
                    by_file[group.code.source.file].append(found)
            except NotFixable as error:
                self.reasons.update(dict.fromkeys(findings, str(error)))
        for file in sorted(by_file):
            yield from self._change(by_file[file])

    def _change(self, corrections: list[_Correction]) -> Iterator[FileChange]:
        source = corrections[0].code.source
        findings = [each for correction in corrections for each in correction.findings]
        needed = {each for correction in corrections for each in correction.imports}
        try:
            edits = [*(each.edit for each in corrections), *import_edits(source, needed)]
            source.edited(edits)
        except NotFixable as error:
            self.reasons.update(dict.fromkeys(findings, str(error)))
            return
        self.fixed.update(findings)
        yield FileChange(source, tuple(edits))

    def _correction(self, group: _Group, findings: tuple[Finding, ...]) -> _Correction:
        """Return the edit of an annotation.

        :raises NotFixable: it would be wrong for another query, or is not possible.
        """
        codes = {each.code for each in findings}
        for use, each in group.findings:
            if each.code in codes and each not in self.reported:
                raise NotFixable(f"a comment suppresses it for {use.query.name}")
        if reason := next((use.keeps_all for use in group.uses if use.keeps_all), ""):
            raise NotFixable(reason)
        if codes & set(_TYPES):
            edit, imports = _replace_type(group, may_remove=self.may_remove)
            import_edits(group.code.source, imports)  # raises, before other edits depend on it
            return _Correction(group.code, edit, findings, frozenset(imports))
        if _NULLABLE in codes:
            return _Correction(group.code, add_none(group.code), findings)
        if reason := _reason_to_keep_none(group):
            raise NotFixable(reason)
        return _Correction(group.code, remove_none(group.code), findings)


def _is_fixable(each: Finding) -> bool:
    """Return whether there may be a correction. A NULL that is a note may never occur."""
    is_null = each.code == _NULLABLE and each.severity is Severity.ERROR
    return is_null or each.code in (_NEEDLESS, *_TYPES)


def _is_about(each: Finding, use: Use) -> bool:
    return use.of == (each.subject if each.column is None else each.column)


def _reason_to_keep_none(group: _Group) -> str:
    """Return why None must stay part of a type; "" if it can be removed."""
    if group.code.has_default:
        return "there is a default value, which may be None"
    return next((use.keeps_none for use in group.uses if use.keeps_none), "")


# --------------------------------------------------------------------------- types


def _replace_type(group: _Group, *, may_remove: bool) -> tuple[Edit, set[type]]:
    """Return the edit that replaces a type by the right one, and the types to import for it."""
    right = _right_type(group)
    outer, inner = group.code.without_markers(), group.code.without_none()
    _check_replaceable(group, inner)
    text, imports = name_of_type(right, group.code)
    needs_none = any(use.needs_none for use in group.uses)
    if not outer.has_none():
        return inner.replaced(f"{text} | None" if needs_none else text), imports
    if not may_remove or _reason_to_keep_none(group):
        return inner.replaced(text), imports
    if "#" in outer.source.code(outer.node):
        raise NotFixable("there is a comment in the annotation")
    return outer.replaced(text), imports


def _right_type(group: _Group) -> Any:
    """Return the only type that is right for all uses.

    :raises NotFixable: there is none, or there are several.
    """
    uses = [use for use, each in group.findings if each.code in _TYPES]
    if unclear := next((use.no_right for use in uses if use.right is None), ""):
        raise NotFixable(unclear)
    rights = {use.right for use in uses}
    if len(rights) > 1:
        names = ", ".join(sorted(map(type_name, rights)))
        raise NotFixable(f"the queries need different types: {names}")
    (right,) = rights
    for use in group.uses:
        if not use.accepts(right):
            raise NotFixable(f"{type_name(right)} would be wrong for {use.query.name}")
    return right


def _check_replaceable(group: _Group, inner: AnnotationCode) -> None:
    """Make sure that an annotation is the name of a simple type, or a list.

    :raises NotFixable: it is anything else, such as an Enum or an alias, or has a default value.
    """
    spec = group.findings[0][0].declared
    if group.code.has_default and not group.code.is_none_default:
        raise NotFixable("there is a default value, which would have the wrong type")
    if spec.is_marked:
        raise NotFixable("Json() or Decode() converts the values")
    is_class = spec.kind is Kind.EXACT and inner.value(inner.node) is spec.annotation
    is_list = _is_simple_list(spec) and inner.arguments(list, typing.List)  # noqa: UP006
    if not is_class and not is_list:
        raise NotFixable(f"{inner.text} is not the name of a simple type")


def _is_simple_list(declared: TypeSpec) -> bool:
    is_list = declared.kind is Kind.ARRAY and bool(declared.of)
    return is_list and declared.of[0].kind is Kind.EXACT and not declared.of[0].optional
