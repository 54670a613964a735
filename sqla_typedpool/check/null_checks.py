"""Columns that may be NULL x fields that may be None."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sqla_typedpool.check.labels import label_findings
from sqla_typedpool.check.locations import place_of_column, sent_column
from sqla_typedpool.check.model import Finding, Location
from sqla_typedpool.check.rules import finding
from sqla_typedpool.describe.model import ColumnDescription, Description
from sqla_typedpool.mapping.plan import ColumnPlan, ObjectPlan, PartialPlan, mark_of
from sqla_typedpool.mapping.rowtype import RowType
from sqla_typedpool.mapping.typespec import Kind
from sqla_typedpool.queries import Cardinality, QueryInfo


def null_findings(
    info: QueryInfo, description: Description, draft: PartialPlan, impossible: Collection[int]
) -> Iterator[Finding]:
    """Every disagreement about NULL, and about the labels of an enum.

    :param impossible: columns of which something worse has been said already.
    """
    look = _Look(info, description, impossible)
    yield from look.at_parts(draft.root)


@dataclass(frozen=True)
class _Look:
    """At one query; its methods say what they find."""

    info: QueryInfo
    description: Description
    impossible: Collection[int]

    def at_parts(self, make: ObjectPlan) -> Iterator[Finding]:
        """Of an object that is there."""
        for part in make.parts:
            if isinstance(part, ColumnPlan):
                yield from self.at_read(part, make)
            elif part.is_optional:
                yield from self.at_optional(part, make)
            else:
                yield from self.at_parts(part)

    def at_read(self, read: ColumnPlan, owner: ObjectPlan) -> Iterator[Finding]:
        if read.position in self.impossible:
            return
        column = self.column(read)
        yield from self.at_labels(read)
        if mark_of(column.name):
            yield from self.at_marked(read, owner)
        elif read.spec.kind is Kind.NULL and not column.nullable:
            message = f'"{column.name}" is never NULL, and {_declared(read, owner.row_type)}'
            yield self.found("TP105", read, message, "declare its type")
        elif read.spec.kind not in (Kind.ANYTHING, Kind.NULL):
            yield from self.at_plain(read, owner)

    def at_plain(self, read: ColumnPlan, owner: ObjectPlan) -> Iterator[Finding]:
        column = self.column(read)
        if column.nullable and not read.spec.optional:
            message = f'"{column.name}" may be NULL, and {_declared(read, owner.row_type)}'
            yield self.found("TP101", read, message, self.way_out(read, owner))
        if not column.nullable and read.spec.optional and not self.may_be_none(read, owner):
            message = f'"{column.name}" is never NULL, and {_declared(read, owner.row_type)}'
            bare = read.spec.text.removesuffix(" | None")
            yield self.found("TP107", read, message, f"declare it {bare}")

    def way_out(self, read: ColumnPlan, owner: ObjectPlan) -> str:
        column, declared = self.column(read), read.spec.text
        if owner.field is not None and column.missing_with is not None:
            declared = owner.row_type.text  # the whole object is missing, not its parts
        name = column.name if column.name.isidentifier() else "name"  # not ?column?
        asserted = f'AS "{name}!"' if self.info.is_text else f'.label("{name}!")'
        return f"declare {declared} | None; or, if you know better, select it {asserted}"

    def may_be_none(self, read: ColumnPlan, owner: ObjectPlan) -> bool:
        """``-> str | None``: the None is for no row at all; or it is for JSON's null."""
        is_lone = owner.row_type.kind == "scalar" and self.info.cardinality is Cardinality.OPTIONAL
        return is_lone or self.column(read).db_type.json

    def at_marked(self, read: ColumnPlan, owner: ObjectPlan) -> Iterator[Finding]:
        column = self.column(read)
        name, mark = column.name[:-1], column.name[-1]
        if column.nullable == (mark == "?"):
            knows = "may be NULL" if column.nullable else "is never NULL"
            message = f'"{name}" {knows} anyway: the `{mark}` is needless'
            yield self.found("TP109", read, message, f"select it without the `{mark}`")
        elif mark == "!":
            message = f'"{name}" may be NULL, and `!` says that it is not'
            hint = "nothing, if you are sure: a NULL raises RowValueError"
            yield self.found("TP108", read, message, hint)
        if mark == "?" and not read.spec.optional and read.spec.kind is not Kind.ANYTHING:
            message = f'"{name}" may be NULL, says its `?`, and {_declared(read, owner.row_type)}'
            yield self.found("TP101", read, message, f"declare it {read.spec.text} | None")

    # ------------------------------------------------------------- optional Flatten()

    def at_optional(self, make: ObjectPlan, owner: ObjectPlan) -> Iterator[Finding]:
        """An object that is None if and only if all its columns are NULL."""
        needed = [each for each in _needed(make) if not self.is_trusted(each[0])]
        missing = {self.column(read).missing_with for read, _ in needed if self.may_miss(read)}
        for read, part in needed:
            if not self.column(read).nullable or self.may_miss(read):
                yield from self.at_labels(read)
            else:
                yield from self.at_read(read, part)
        for read, part in _others(make):
            yield from self.at_optional_part(read, part)
        there = [read for read in make.column_plans() if not self.column(read).nullable]
        if len(missing) > 1 or (missing and there):
            yield self.ambiguous(make, owner, there)
        elif needed and not missing and not any(self.column(read).nullable for read, _ in needed):
            yield self.always_there(make, owner, needed[0][0])
        for part, part_owner in _optional_makes(make):
            yield from self.at_optional(part, part_owner)

    def at_optional_part(self, read: ColumnPlan, owner: ObjectPlan) -> Iterator[Finding]:
        """A field that may be None, or is trusted not to be: TP107 would be wrong where the
        whole object may be missing."""
        column = self.column(read)
        yield from self.at_labels(read)
        if mark_of(column.name) and read.position not in self.impossible:
            yield from self.at_marked(read, owner)

    def ambiguous(self, make: ObjectPlan, owner: ObjectPlan, there: list[ColumnPlan]) -> Finding:
        field = _field_of(make, owner)
        columns = [self.column(read) for read, _ in _needed(make)]
        columns += [self.column(read) for read in there if self.column(read) not in columns]
        reason = "; ".join(f'"{each.name}": {each.why}' for each in columns)
        together = "are not NULL together" if there else "may be missing with different rows"
        message = f"{field} is None if all its columns are NULL, and they {together}"
        hint = "select all of them from the joined table, its own key included"
        culprit = there[0] if there else next(iter(make.column_plans()))
        return self.found("TP110", culprit, message, hint, reason)

    def always_there(self, make: ObjectPlan, owner: ObjectPlan, read: ColumnPlan) -> Finding:
        field = _field_of(make, owner)
        message = f"{field} is there in every row, and is declared {make.row_type.text} | None"
        return self.found("TP107", read, message, f"declare it {make.row_type.text}")

    def may_miss(self, read: ColumnPlan) -> bool:
        """Whether a missing row is all that can make it NULL."""
        column = self.column(read)
        return column.nullable and column.missing_with is not None

    def is_trusted(self, read: ColumnPlan) -> bool:
        return self.column(read).name.endswith("!")

    # --------------------------------------------------------------------- findings

    def column(self, read: ColumnPlan) -> ColumnDescription:
        return self.description.columns[read.position]

    def place(self, read: ColumnPlan) -> Location:
        return place_of_column(self.info, read.position, len(self.description.columns))

    def found(
        self, code: str, read: ColumnPlan, message: str, hint: str, reason: str | None = None
    ) -> Finding:
        column = self.column(read)
        facts = {"type": column.type, "declared": read.spec.text}
        if column.origin:
            facts["origin"] = column.origin
        if not self.info.is_text:
            sql, count = self.description.sql, len(self.description.columns)
            facts |= sent_column(sql, read.position, count)
        return finding(
            code,
            message,
            self.place(read),
            query=self.info.name,
            reason=column.why if reason is None else reason,
            hint=hint,
            subject=column.name,
            details=facts,
        )

    def at_labels(self, read: ColumnPlan) -> Iterator[Finding]:
        column = self.column(read)
        return label_findings(self.info, read.field.spec, column, lambda: self.place(read))


Owned = tuple[ColumnPlan, ObjectPlan]


def _needed(make: ObjectPlan) -> Iterator[Owned]:
    """What is never NULL in an object that is there."""
    for part in make.parts:
        if isinstance(part, ColumnPlan):
            if not part.spec.optional:
                yield part, make
        elif not part.is_optional:
            yield from _needed(part)


def _others(make: ObjectPlan) -> Iterator[Owned]:
    """What may be NULL in an object that is there, or is only said not to be."""
    for part in make.parts:
        if isinstance(part, ColumnPlan):
            if part.spec.optional or part.column.is_asserted:
                yield part, make
        elif not part.is_optional:
            yield from _others(part)


def _optional_makes(make: ObjectPlan) -> Iterator[tuple[ObjectPlan, ObjectPlan]]:
    """The objects inside one that may be missing on their own, with their owners."""
    for part in make.parts:
        if isinstance(part, ObjectPlan):
            if part.is_optional:
                yield part, make
            else:
                yield from _optional_makes(part)


def _field_of(make: ObjectPlan, owner: ObjectPlan) -> str:
    return f"{owner.row_type.text}.{make.field.name if make.field else ''}"


def _declared(read: ColumnPlan, target: RowType) -> str:
    if target.kind == "scalar":
        return f"{read.field.spec.text} is declared"
    if target.kind == "tuple":
        number = "each" if target.repeats else f"part {read.position + 1}"
        return f"{number} of {target.text} is {read.field.spec.text}"
    return f"{target.text}.{read.field.name} is {read.field.spec.text}"
