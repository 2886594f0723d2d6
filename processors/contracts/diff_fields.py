"""What changes of a contract's fields and rules mean; `diff` tells of the contract as a whole."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

from processors.contracts.change import RANK, Change, period
from processors.contracts.narrower import Schema, narrower
from schemas.documents import ContractField, Rule
from schemas.printable import listed

Named = TypeVar("Named", ContractField, Rule)


def fields(old: tuple[ContractField, ...], new: tuple[ContractField, ...]) -> Iterator[Change]:
    """Every change of the fields."""
    return _named(old, new, _added_field, _removed_field, _field)


def rules(old: tuple[Rule, ...], new: tuple[Rule, ...]) -> Iterator[Change]:
    """Every change of the rules."""
    return _named(old, new, _added_rule, _removed_rule, _rule)


def _named(
    old: tuple[Named, ...],
    new: tuple[Named, ...],
    added: Callable[[Named], Change],
    removed: Callable[[Named], Change],
    changed: Callable[[Named, Named], Iterator[Change]],
) -> Iterator[Change]:
    """Changes of named things, whatever their order: first of those that were there."""
    before = {each.name: each for each in old}
    after = {each.name: each for each in new}
    for name, was in before.items():
        if name in after:
            yield from changed(was, after[name])
        else:
            yield removed(was)
    for name, now in after.items():
        if name not in before:
            yield added(now)


def _added_rule(rule: Rule) -> Change:
    reason = "what was well may fail it"
    return Change(f"rules.{rule.name}", f"a new rule ({rule.severity})", reason, ("sender",))


def _removed_rule(rule: Rule) -> Change:
    return Change(f"rules.{rule.name}", "removed", "nobody is asked for it any more")


def _rule(old: Rule, new: Rule) -> Iterator[Change]:
    at = f"rules.{old.name}"
    if old.expr != new.expr:
        reason = "cannot tell whether it is stricter: what was well may fail it"
        yield Change(f"{at}.expr", "another expression", reason, ("sender",))
    if old.message != new.message:
        yield Change(f"{at}.message", "another text", "only people read it")
    if old.severity != new.severity:
        what = f"{old.severity} -> {new.severity}"
        if RANK[new.severity] > RANK[old.severity]:
            yield Change(f"{at}.severity", what, "it weighs more than before", ("sender",))
        else:
            yield Change(f"{at}.severity", what, "it weighs less than before")


def _added_field(field: ContractField) -> Change:
    at = f"fields.{field.name}"
    if field.required:
        reason = "who does not bring it is blamed"
        return Change(at, "a new required field", reason, ("sender",))
    return Change(at, "a new optional field", "nobody has to bring it")


def _removed_field(field: ContractField) -> Change:
    reason = "it is neither translated nor rebuilt any more, and comes, if at all, in other words"
    return Change(f"fields.{field.name}", "removed", reason, ("receiver",))


def _field(old: ContractField, new: ContractField) -> Iterator[Change]:
    at = f"fields.{old.name}"
    yield from _paths(f"{at}.from", old.from_, new.from_)
    yield from _shape(at, old, new)
    if old.required != new.required:
        what = "optional -> required" if new.required else "required -> optional"
        if new.required:
            yield Change(f"{at}.required", what, "who does not bring it is blamed", ("sender",))
        else:
            yield Change(f"{at}.required", what, "nobody is blamed when it does not come")
    yield from _rebuild(at, old, new)
    if old.weight != new.weight:
        what = f"{old.weight:g} -> {new.weight:g}"
        yield Change(f"{at}.weight", what, "fidelity and completeness weigh it otherwise")
    if old.classification != new.classification:
        reason = "the tags say something else"
        if old.classified != new.classified:
            masked, unmasked = "its values are masked now", "it masks its values no more"
            reason = masked if new.classified else unmasked
        elif old.public != new.public:
            reason = f"the console {'shows' if new.public else 'masks'} its values now"
        what = f"{', '.join(old.classification) or 'none'} -> "
        yield Change(
            f"{at}.classification", what + (", ".join(new.classification) or "none"), reason
        )
    yield from _translation(f"{at}.translate", old, new)
    yield from _sameness(at, old, new)


def _sameness(at: str, old: ContractField, new: ContractField) -> Iterator[Change]:
    for key, before, after in (
        ("same_as", old.same_as, new.same_as),
        ("region", old.region, new.region),
    ):
        if before == after:
            continue
        what = f"{before or 'none'} -> {after or 'none'}"
        if before is None:
            yield Change(f"{at}.{key}", what, "values that are spelled otherwise are the same, too")
        else:
            reason = "values that were the same may be different ones"
            yield Change(f"{at}.{key}", what, reason, ("sender", "receiver"))
    if old.stable != new.stable:
        if new.stable:
            reason = "who sends another value than before is blamed"
            yield Change(f"{at}.stable", "stable now", reason, ("sender",))
        else:
            yield Change(f"{at}.stable", "not stable any more", "it may change")


def _paths(at: str, old: tuple[str, ...], new: tuple[str, ...]) -> Iterator[Change]:
    if old == new:
        return
    if lost := [path for path in old if path not in new]:
        reason = "who sends it there is blamed for a dropped field"
        yield Change(at, f"without {listed(lost)}", reason, ("sender",))
    stayed = [path for path in old if path in new]
    more = [path for path in new if path not in old]
    if new[: len(stayed)] != tuple(stayed):
        reason = "where a task has several of these, another value comes first"
        what = f"{listed(more)} before others" if more else "another order"
        yield Change(at, what, reason, ("receiver",))
    elif more:
        yield Change(at, f"with {listed(more)}", "it is found there too")


def _shape(at: str, old: ContractField, new: ContractField) -> Iterator[Change]:
    if old.type == new.type and _json(old.schema_) == _json(new.schema_):
        return
    place = f"{at}.type" if old.schema_ is None and new.schema_ is None else f"{at}.schema"
    what = f"{_shape_words(old)} -> {_shape_words(new)}"
    why = narrower(_as_schema(old), _as_schema(new))
    if why is None:
        yield Change(place, what, "whatever fitted still does")
    else:
        yield Change(place, what, why, ("sender",))


def _as_schema(field: ContractField) -> Schema:
    if field.schema_ is not None:
        return field.schema_
    return True if field.type is None else {"type": list(field.type)}


def _shape_words(field: ContractField) -> str:
    if field.schema_ is not None:
        return "a schema"
    return "any" if field.type is None else ", ".join(field.type)


def _rebuild(at: str, old: ContractField, new: ContractField) -> Iterator[Change]:
    before, after = old.rebuild, new.rebuild
    if before.allowed != after.allowed:
        if after.allowed:
            yield Change(f"{at}.rebuild", "allowed", "it is rebuilt where it was dropped")
        else:
            reason = "it is missing where it was rebuilt"
            yield Change(f"{at}.rebuild", "forbidden", reason, ("sender", "receiver"))
    if before.max_age != after.max_age:
        what = f"{period(before.max_age)} -> {period(after.max_age)}"
        shorter = after.max_age is not None and (
            before.max_age is None or after.max_age < before.max_age
        )
        if shorter:
            reason = "older values are not rebuilt any more"
            yield Change(f"{at}.rebuild.max_age", what, reason, ("sender", "receiver"))
        else:
            yield Change(f"{at}.rebuild.max_age", what, "older values are rebuilt too")
    if before.pick != after.pick:
        what = f"{before.pick} -> {after.pick}"
        if after.pick == "unambiguous":
            reason = "it is missing where the task has held several values"
            yield Change(f"{at}.rebuild.pick", what, reason, ("sender", "receiver"))
        else:
            reason = "the last of several values is rebuilt, right or not"
            yield Change(f"{at}.rebuild.pick", what, reason)


def _translation(at: str, old: ContractField, new: ContractField) -> Iterator[Change]:
    before, after = old.translate, new.translate
    if _json(before) == _json(after):
        return
    if before is None or after is None:
        reason = "other terms are not understood, and these come in the receiver's words"
        if after is None:
            reason = "values come in the sender's terms"
            yield Change(at, "removed", reason, ("receiver",))
        else:
            yield Change(at, "new", reason, ("sender", "receiver"))
        return
    told = False
    meant, means = _meanings(before), _meanings(after)
    for term in list(dict.fromkeys([*meant, *means])):
        if meant.get(term) == means.get(term):
            continue
        told = True
        if term not in means:
            reason = "a value that was understood is untranslatable"
            yield Change(f"{at}.{term}", "removed", reason, ("sender",))
        elif term not in meant:
            yield Change(f"{at}.{term}", "new", "a value that was untranslatable is understood")
        else:
            reason = "the receiver gets another term for it"
            yield Change(f"{at}.{term}", "another term", reason, ("receiver",))
    if not told:
        yield Change(at, "written otherwise", "it means the same")


def _meanings(translate: dict[str, Any]) -> dict[str, str]:
    """What becomes of each term, as JSON text; one of the receiver's own terms passes as it is."""
    own = {
        value if isinstance(value, str) else _json(value): _json(value)
        for value in translate.values()
    }
    return own | {term: _json(value) for term, value in translate.items()}


def _json(value: Any) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()
