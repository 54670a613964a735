"""Compare columns that may be NULL with fields that can be None, and enum labels with members."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from sqla_typedpool.check import rules
from sqla_typedpool.check.locations import location_of_column, sent_column
from sqla_typedpool.check.model import Finding, Severity
from sqla_typedpool.check.rules import Rule, finding
from sqla_typedpool.describe.model import ColumnDescription, Description
from sqla_typedpool.mapping.enums import literal_keys, member_keys
from sqla_typedpool.mapping.plan import ColumnPlan, ObjectPlan, PartialPlan, mark_of
from sqla_typedpool.mapping.rowtype import RowType, class_row_type
from sqla_typedpool.mapping.typespec import Kind, TypeSpec
from sqla_typedpool.queries import Cardinality, QueryInfo

_MAX_LABELS = 8  # labels in one message


def null_findings(
    info: QueryInfo, description: Description, plan: PartialPlan, impossible: Collection[int]
) -> Iterator[Finding]:
    """Yield every disagreement about NULL, and about the labels of an enum.

    :param impossible: positions of columns whose type is wrong. They have a finding already.
    """
    checks = _NullChecks(info, description, impossible)
    yield from checks.check_parts(plan.root)


@dataclass(frozen=True)
class _NullChecks:
    """The checks of one query."""

    info: QueryInfo
    description: Description
    impossible: Collection[int]

    def check_parts(self, plan: ObjectPlan) -> Iterator[Finding]:
        """Check the parts of an object that is always present."""
        for part in plan.parts:
            if isinstance(part, ColumnPlan):
                yield from self.check_column(part, plan)
            elif part.is_optional:
                yield from self.check_optional_object(part, plan)
            else:
                yield from self.check_parts(part)

    def check_column(self, plan: ColumnPlan, owner: ObjectPlan) -> Iterator[Finding]:
        if plan.position in self.impossible:
            return
        column = self.column(plan)
        yield from self.check_labels(plan)
        yield from self.check_fields(plan)
        if mark_of(column.name):
            yield from self.check_marked(plan, owner)
        elif plan.spec.kind is Kind.NULL and not may_be_none(column):
            message = f'"{column.name}" is never NULL, but {_declared(plan, owner.row_type)}'
            yield self.finding(
                rules.IMPOSSIBLE_COLUMN, plan, message, "declare the type of the column"
            )
        elif plan.spec.kind not in (Kind.ANYTHING, Kind.NULL):
            yield from self.check_unmarked(plan, owner)

    def check_unmarked(self, plan: ColumnPlan, owner: ObjectPlan) -> Iterator[Finding]:
        column = self.column(plan)
        if column.nullable and not plan.spec.optional:
            message = f'"{column.name}" may be NULL, but {_declared(plan, owner.row_type)}'
            yield self.finding(rules.NULLABLE_COLUMN, plan, message, self.null_hint(plan, owner))
        if column.converted_by is not None and not plan.spec.optional:
            yield self.conversion_finding(plan, owner)
        if not may_be_none(column) and plan.spec.optional and not self.none_has_use(plan, owner):
            message = f'"{column.name}" is never NULL, but {_declared(plan, owner.row_type)}'
            hint = f"declare it {plan.spec.text.removesuffix(' | None')}"
            yield self.finding(rules.NEEDLESS_OPTIONAL, plan, message, hint)

    def check_fields(self, plan: ColumnPlan) -> Iterator[Finding]:
        """Compare the fields of a composite value with those of its class."""
        column, spec = self.column(plan), plan.spec
        if not column.nullable_fields or spec.kind is not Kind.NESTED or spec.is_marked:
            return
        for field in class_row_type(spec.annotation).fields:
            if field.column in column.nullable_fields and not field.spec.optional:
                message = (
                    f'the field {field.column} of "{column.name}" may be NULL, but '
                    f"{spec.text.removesuffix(' | None')}.{field.name} is {field.spec.text}"
                )
                reason = f"the fields of {column.type}, a composite type, cannot be NOT NULL"
                hint = f"nothing, if it never is; otherwise declare it {field.spec.text} | None"
                yield self.finding(
                    rules.NULLABLE_COLUMN, plan, message, hint, reason, Severity.NOTE
                )

    def conversion_finding(self, plan: ColumnPlan, owner: ObjectPlan) -> Finding:
        """Return a note for a value that an application's type may convert to None."""
        column = self.column(plan)
        message = (
            f'"{column.name}" is never NULL in the database, but {column.converted_by} may return '
            f"None, and {_declared(plan, owner.row_type)}"
        )
        hint = f"nothing, if it never does; otherwise declare it {plan.spec.text} | None"
        return self.finding(rules.NULLABLE_COLUMN, plan, message, hint, severity=Severity.NOTE)

    def null_hint(self, plan: ColumnPlan, owner: ObjectPlan) -> str:
        column, declared = self.column(plan), plan.spec.text
        if owner.field is not None and column.missing_with is not None:
            declared = owner.row_type.text  # the whole object is missing, not one of its parts
        name = column.name if column.name.isidentifier() else "name"  # not ?column?
        asserted = f'AS "{name}!"' if self.info.is_text else f'.label("{name}!")'
        return (
            f"declare it {declared} | None, or select it {asserted} if you know that it is "
            "never NULL"
        )

    def none_has_use(self, plan: ColumnPlan, owner: ObjectPlan) -> bool:
        """Return whether None stands for something other than NULL.

        The None of ``-> str | None`` stands for no row. A JSON document can be ``null``.
        """
        is_single = (
            owner.row_type.kind == "scalar" and self.info.cardinality is Cardinality.OPTIONAL
        )
        is_document = self.column(plan).db_type.json or plan.spec.json is not None
        return is_single or is_document

    def check_marked(self, plan: ColumnPlan, owner: ObjectPlan) -> Iterator[Finding]:
        """Check a column whose name ends with ``!`` or ``?``."""
        column = self.column(plan)
        name, mark = column.name[:-1], column.name[-1]
        if may_be_none(column) == (mark == "?"):
            known = "may be NULL" if may_be_none(column) else "is never NULL"
            message = f'"{name}" {known} without the `{mark}` too'
            yield self.finding(rules.NEEDLESS_MARK, plan, message, f"remove the `{mark}`")
        elif mark == "!":
            message = f'"{name}" may be NULL, but its `!` declares that it is never NULL'
            hint = "nothing, if you are sure; at run time a NULL raises RowValueError"
            yield self.finding(rules.TRUSTED_COLUMN, plan, message, hint)
        if mark == "?" and not plan.spec.optional and plan.spec.kind is not Kind.ANYTHING:
            declared = _declared(plan, owner.row_type)
            message = f'"{name}" may be NULL because of its `?`, but {declared}'
            yield self.finding(
                rules.NULLABLE_COLUMN, plan, message, f"declare it {plan.spec.text} | None"
            )

    # ------------------------------------------------------------ optional Flatten()

    def check_optional_object(self, plan: ObjectPlan, owner: ObjectPlan) -> Iterator[Finding]:
        """Check an object that is None if and only if all its columns are NULL."""
        required = [each for each in _required(plan) if not self.is_trusted(each[0])]
        missing = {self.column(part).missing_with for part, _ in required if self.can_miss(part)}
        for part, part_owner in required:
            if not self.column(part).nullable or self.can_miss(part):
                yield from self.check_labels(part)
            else:
                yield from self.check_column(part, part_owner)
        for part, part_owner in _not_required(plan):
            yield from self.check_part_of_optional(part, part_owner)
        present = [part for part in plan.column_plans() if not self.column(part).nullable]
        if len(missing) > 1 or (missing and present):
            yield self.ambiguous(plan, owner, present)
        elif required and not missing and not any(may_be_none(self.column(p)) for p, _ in required):
            yield self.always_present(plan, owner, required[0][0])
        for inner, inner_owner in _optional_objects(plan):
            yield from self.check_optional_object(inner, inner_owner)

    def check_part_of_optional(self, plan: ColumnPlan, owner: ObjectPlan) -> Iterator[Finding]:
        """Check a field that can be None, or that has a ``!``.

        TP107 would be wrong here, because the whole object can be missing.
        """
        yield from self.check_labels(plan)
        if mark_of(self.column(plan).name) and plan.position not in self.impossible:
            yield from self.check_marked(plan, owner)

    def ambiguous(
        self, plan: ObjectPlan, owner: ObjectPlan, present: Sequence[ColumnPlan]
    ) -> Finding:
        columns = [self.column(part) for part, _ in _required(plan)]
        columns += [self.column(part) for part in present if self.column(part) not in columns]
        reason = "; ".join(f'"{each.name}": {each.why}' for each in columns)
        together = "are not NULL together" if present else "may be missing with different rows"
        message = (
            f"{_field_of(plan, owner)} is None if all its columns are NULL, but they {together}"
        )
        hint = "select all of them from the joined table, including its primary key"
        culprit = present[0] if present else next(iter(plan.column_plans()))
        return self.finding(rules.AMBIGUOUS_FLATTEN, culprit, message, hint, reason)

    def always_present(self, plan: ObjectPlan, owner: ObjectPlan, part: ColumnPlan) -> Finding:
        declared = plan.row_type.text
        message = f"{_field_of(plan, owner)} is never None, but it is declared {declared} | None"
        return self.finding(rules.NEEDLESS_OPTIONAL, part, message, f"declare it {declared}")

    def can_miss(self, plan: ColumnPlan) -> bool:
        """Return whether a missing row is the only reason for which it may be NULL."""
        column = self.column(plan)
        return column.nullable and column.missing_with is not None

    def is_trusted(self, plan: ColumnPlan) -> bool:
        return mark_of(self.column(plan).name) == "!"

    # ------------------------------------------------------------------------ labels

    def check_labels(self, plan: ColumnPlan) -> Iterator[Finding]:
        """Compare the labels of a database enum with the members of an Enum or a Literal."""
        declared, db_type = plan.field.spec, self.column(plan).db_type
        while declared.kind is Kind.ARRAY and declared.of and db_type.element is not None:
            (declared,), db_type = declared.of, db_type.element
        known = labels_of(declared)
        if known is None or not db_type.labels:
            return
        name, text = self.column(plan).name, declared.text
        reason = f"the labels of {db_type.name} are {listed(db_type.labels)}"
        if unknown := [label for label in db_type.labels if label not in known]:
            message = f'"{name}" can be {listed(unknown)}, but {text} has no such value'
            hint = f"add {listed(unknown)} to {text}"
            yield self.finding(rules.ENUM_LABELS, plan, message, hint, reason)
        if unused := [label for label in known if label not in db_type.labels]:
            message = f'"{name}" is never {listed(unused)}, but {text} has this value'
            hint = f"remove it, or run ALTER TYPE {db_type.name} ADD VALUE"
            yield self.finding(rules.ENUM_LABELS, plan, message, hint, reason, Severity.WARNING)

    # ---------------------------------------------------------------------- findings

    def column(self, plan: ColumnPlan) -> ColumnDescription:
        return self.description.columns[plan.position]

    def finding(
        self,
        rule: Rule,
        plan: ColumnPlan,
        message: str,
        hint: str,
        reason: str | None = None,
        severity: Severity | None = None,
    ) -> Finding:
        column, count = self.column(plan), len(self.description.columns)
        details = {"type": column.type, "declared": plan.spec.text}
        if column.origin:
            details["origin"] = column.origin
        if not self.info.is_text:
            details |= sent_column(self.description.sql, plan.position, count)
        return finding(
            rule,
            message,
            location_of_column(self.info, plan.position, count),
            query=self.info.name,
            severity=severity,
            reason=column.why if reason is None else reason,
            hint=hint,
            subject=column.name,
            column=plan.position,
            details=details,
        )


_Owned = tuple[ColumnPlan, ObjectPlan]


def _required(plan: ObjectPlan) -> Iterator[_Owned]:
    """Yield the columns whose fields cannot be None in an object that is present."""
    for part in plan.parts:
        if isinstance(part, ColumnPlan):
            if not part.spec.optional:
                yield part, plan
        elif not part.is_optional:
            yield from _required(part)


def _not_required(plan: ObjectPlan) -> Iterator[_Owned]:
    """Yield the columns whose fields can be None, and those that have a ``!``."""
    for part in plan.parts:
        if isinstance(part, ColumnPlan):
            if part.spec.optional or part.column.is_asserted:
                yield part, plan
        elif not part.is_optional:
            yield from _not_required(part)


def _optional_objects(plan: ObjectPlan) -> Iterator[tuple[ObjectPlan, ObjectPlan]]:
    """Yield the optional objects inside an object, each with the object that contains it."""
    for part in plan.parts:
        if isinstance(part, ObjectPlan):
            if part.is_optional:
                yield part, plan
            else:
                yield from _optional_objects(part)


def may_be_none(column: ColumnDescription) -> bool:
    """Return whether a value may be None: it may be NULL, or be converted to None."""
    return column.nullable or column.converted_by is not None


def _field_of(plan: ObjectPlan, owner: ObjectPlan) -> str:
    return f"{owner.row_type.text}.{plan.field.name if plan.field else ''}"


def _declared(plan: ColumnPlan, row_type: RowType) -> str:
    declared = plan.field.spec.text
    if row_type.kind == "scalar":
        return f"{declared} is declared"
    if row_type.kind == "tuple":
        number = "each part" if row_type.repeats else f"part {plan.position + 1}"
        return f"{number} of {row_type.text} is {declared}"
    return f"{row_type.text}.{plan.field.name} is {declared}"


def labels_of(declared: TypeSpec) -> list[str] | None:
    """Return the strings that a type accepts; None if it is not an Enum or a Literal."""
    if declared.json or declared.decode:
        return None
    if declared.kind is Kind.LITERAL:
        values = [value for _, value in literal_keys(declared)]
    elif declared.kind is Kind.ENUM and declared.by_name:
        values = list(declared.annotation.__members__)
    elif declared.kind is Kind.ENUM:
        values = [value for _, value in member_keys(declared.annotation)]
    else:
        return None
    return [value for value in values if isinstance(value, str)]


def listed(labels: Sequence[str]) -> str:
    """Return the first few of many labels, in quotes."""
    more = len(labels) - _MAX_LABELS
    shown = ", ".join(f"'{label}'" for label in labels[:_MAX_LABELS])
    return f"{shown} and {more} more" if more > 0 else shown
