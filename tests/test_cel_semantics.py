"""What expressions mean: tables that follow the sections of CEL's language definition and the
conformance tests of cel-spec (tests/simple/testdata), in the subset."""

import json
from typing import Any

import pytest

from schemas.cel.expression import EvaluationError, compile_expression
from schemas.cel.operators import MAX_CONCATENATION
from schemas.cel.values import MAX_VALUE_DEPTH

# What the expressions below read. Spelled as JSON, because the spelling of a number decides.
CONTEXT: dict[str, bytes] = {
    "one": b"1",
    "two": b"2",
    "one_point": b"1.0",
    "half": b"0.5",
    "zero": b"0",
    "big": b"9007199254740993",
    "max": b"9223372036854775807",
    "min": b"-9223372036854775808",
    "beyond": b"9223372036854775808",
    "beyond_next": b"9223372036854775809",
    "far_beyond": b"-100000000000000000000000000",
    "exponent": b"1e2",
    "yes": b"true",
    "no": b"false",
    "nothing": b"null",
    "name": '"Zoë 😀"'.encode(),
    "empty": b'""',
    "digits": b'"1234567890123456789012345"',
    "numbers": b"[3, 1, 2]",
    "mixed": b'[1, "1", 1.5, true, null, [1], {"k": 1}]',
    "none": b"[]",
    "crm": b'{"tier": "gold", "score": 80, "note": null, "tags": ["a"], "in": 1, "": 2}',
    "bare": b"{}",
    "a-b": b"7",
    "long": b'{"x": [1, 9223372036854775809], "y": {"z": -9223372036854775809}}',
    "half_a_character": b'"\\ud800"',
    "not_json": b"{",
    "not_utf8": b'"\xff"',
    "infinite": b"1e400",
    "endless": b"1" + b"0" * 400,
    "deep": b"[" * (MAX_VALUE_DEPTH + 1) + b"]" * (MAX_VALUE_DEPTH + 1),
    "deep_enough": b"[" * MAX_VALUE_DEPTH + b"]" * MAX_VALUE_DEPTH,
    "very_deep": b"[" * 100_000 + b"]" * 100_000,
    "flat": b"[" + b",".join([b"[]"] * 200) + b"]",
    "wide": b'"' + b"x" * (MAX_CONCATENATION // 2 + 1) + b'"',
}

TRUE = """
# Values and literals
7 == 7
-7 == 0 - 7
0x1F == 31
0xaB == 171
-0x8000000000000000 == context.min
-9223372036854775808 == context.min
- 9223372036854775808 == context.min
.5 == 0.5
1e2 == 100.0
1E+2 == 100.0
25e-1 == 2.5
'abc' == "abc"
'it"s' == "it\\"s"
'\\a\\b\\f\\n\\r\\t\\v' == '\\x07\\x08\\x0c\\x0A\\x0d\\x09\\X0b'
'\\?\\`\\'\\"\\\\' == "?`'\\"\\\\"
'\\101\\x41\\u0041\\U00000041' == 'AAAA'
'\\U0001F600' == '😀'
size('\\303\\277') == 2
r'\\n' == '\\\\n'
R"a\\" == 'a\\\\'
'''x''x''' == "x''x"
\"\"\"x"y\"\"\" == 'x"y'
'''\\x41''' == 'A'
r'''a\\n''' == 'a\\\\n'
'' == ""
null == null
[1, 2,] == [1, 2]
[] == []
[[1], ['a', null]] == [[1], ['a', null]]
true // what follows is a comment

# JSON: an integer within 64 bits is an int, every other number a double
context.one + 1 == 2
context.one_point + 1.0 == 2.0
context.exponent / 8.0 == 12.5
context.max - 1 == 9223372036854775806
context.beyond == 9223372036854775808.0
context.beyond == context.beyond_next
context.beyond + 0.0 == 9223372036854775808.0
context.far_beyond == -1e26
context.long.x[1] == context.beyond
context.long == context.long
context.long.y.z + 0.0 == -9223372036854775808.0
context.long.x[0] + 1 == 2
context.digits.startsWith('1234567890123456789012345')
context.deep_enough == context.deep_enough
size(context.flat) == 200

# Members
context.crm.tier == 'gold'
context["crm"]["tier"] == 'gold'
context.crm["in"] == 1
context.crm[""] == 2
context["a-b"] == 7
(context).crm.tier == 'gold'
(context.crm).tier == 'gold'
context.crm[context.crm.tags[0] + ''] == 1 || true
context.crm['ti' + 'er'] == 'gold'
context.crm.note == null
context.numbers[0] == 3
context.numbers[1 + 1] == 2
context.numbers[0.0] == 3
context.mixed[6].k == 1
[7, 8, 9][1] == 8
[[[1]]][0][0][0] == 1

# has, and the presence of a name
has(context.crm)
has(context.nothing)
has(context.crm.tier)
has(context.crm.note)
has(context["crm"].tier)
has(context.mixed[6].k)
has(context.half_a_character)
!has(context.gone)
!has(context.crm.gone)
!has(context.bare.gone)
"crm" in context
!("gone" in context)
"crm" in context == true
"a-b" in context && !("a_b" in context)

# Equality: numbers by their value, else within a type
1 == 1.0
context.one == context.one_point
context.one == 1.0 && 1.0 == context.one
context.big != 9007199254740992.0
context.big == 9007199254740993
9007199254740992 == 9007199254740992.0
context.max != 9223372036854775807.0
-0.0 == 0.0
'1' != 1
true != 1
context.yes != context.one
false != 0
null != 0
null != false
null != ''
context.none != null
context.none != context.bare
context.empty != null
[1] == [1.0]
[1] != [true]
[[1, 2], [3]] == [[1.0, 2.0], [3.0]]
[[1, 2], [3]] != [[1.0, 2.0], [true]]
[1, 2] != [2, 1]
[1] != [1, 1]
['case'] != ['cAse']
context.crm == context.crm
context.crm != context.bare
context.mixed == [1, "1", 1.5, true, null, [1.0], context.mixed[6]]
context.mixed != [1, "1", 1.5, 1, null, [1.0], context.mixed[6]]
'Am\\u00E9lie' != 'Ame\\u0301lie'
0.0 / 0.0 != 0.0 / 0.0
!(0.0 / 0.0 == 0.0 / 0.0)
[0.0 / 0.0] != [0.0 / 0.0]
1 != 0.0 / 0.0
1 == 1 == true
1 != 2 == true

# Ordering
1 < 2 && 2 <= 2 && 3 > 2 && 2 >= 2
1 < 1.5 && 1.5 > 1
context.big > 9007199254740992.0
context.max < 9223372036854775807.0
context.max < 1e19
-1 < context.half
'a' < 'b' && 'B' < 'a' && 'a' < 'aa'
'\\uFFFD' < '\\U00010000'
false < true && !(true < true) && false <= false
!(1.0 < 0.0 / 0.0) && !(1.0 >= 0.0 / 0.0) && !(0.0 / 0.0 <= 0.0 / 0.0)
1 < 0.0 / 0.0 == false

# Integer arithmetic
40 + 2 == 42
42 - -22 == 64
-30 * -2 == 60
7 / 2 == 3
-7 / 2 == -3
7 / -2 == -3
-7 / -2 == 3
47 % 5 == 2
43 % -5 == 3
-42 % -5 == -2
-3 % 5 == -3
context.min / 1 == context.min
9223372036854775807 - 1 + 1 == context.max
2 + 3 * 4 == 14
(2 + 3) * 4 == 20
20 / 4 / 5 == 1
10 - 4 - 3 == 3
--19 == 19
---19 == -19
-(-42) == 42
-context.one == -1
--context.one == 1
- -context.one == 1

# Double arithmetic
4.25 + 15.25 == 19.5
0.0625 / 0.002 == 31.25
-3.0 * -2.5 == 7.5
-(4.5) == -4.5
15.75 / 0.0 > 1e308
-15.75 / 0.0 < -1e308
15.75 / -0.0 < -1e308
1e308 * 10.0 == 1.0 / 0.0
1.0 / context.half == 2.0

# Text
'he' + 'llo' == 'hello'
'¢' + 'ÿ' + '😀' == '¢ÿ😀'
[2] + [2] == [2, 2]
[] + context.numbers == [3, 1, 2]
size('') == 0
size('ÿ') == 1
size('πέντε') == 5
size(context.name) == 5
context.name.size() == 5
'four'.size() == 4
size([1, 2, 3]) == 3 && [1, 2, 3].size() == 3
size(context.crm) == 6 && size(context.bare) == 0
'foobar'.startsWith('foo') && !'foobar'.startsWith('bar')
'foobar'.endsWith('bar') && !'foobar'.endsWith('foo')
'hello'.contains('ell') && !'hello'.contains('ol')
'hello'.contains('') && ''.contains('') && ''.startsWith('') && ''.endsWith('')
!''.contains('x') && !''.startsWith('x')
'Straße'.contains('aß')
'😀😁'.startsWith('😀') && '😀😁'.endsWith('😁')
context.name.contains(context.empty)

# in
3 in [5, 4, 3]
!(7 in [])
3.0 in [5, 4, 3] && 3 in [5.0, 3.0]
!(true in [1]) && !(1 in [true]) && true in [1, true]
null in [null] && !(null in [0, '', false])
[1] in [[2], [1.0]]
!([true] in [[2], [1]])
context.one in context.mixed
'tier' in context.crm && !('gone' in context.crm)
!(1 in context.crm) && !(null in context.crm) && !([] in context.crm)
'x' in ['x'] in [true]

# Logic: commutative over errors
true && true && true
!(true && false)
false || false || true
!(false && context.gone) && !(context.gone && false)
true || context.gone
context.gone || true
!(context.gone && context.zero / 0 == 1 && false)
context.one / 0 == 1 || context.gone || true
!(false && context.one)
!(context.one && false)
context.name || true
!!true
!!!false
!context.no
!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!true

# Conditionals: only the branch taken
true ? true : context.gone
false ? context.gone : true
(true ? 1 : 2) == 1
(true ? 'cows' : 17) == 'cows'
false ? false : false ? false : true
(context.yes ? 1 : context.no ? 2 : 3) == 1
context.one == 1 ? has(context.crm) : 1 / 0 == 1
"""

ERRORS = """
# no_such_member
context.gone == 1
context["first-name"] == 1
context.crm.gone == 1
context.crm["gone"] == 1
context.crm[1] == 1
context.crm[null] == 1
context.bare.a.b == 1
has(context.gone.b)
context.numbers[3] == 1
context.numbers[-1] == 1
context.numbers[0.1] == 1
context.numbers[1e300] == 1
context.numbers[0.0 / 0.0] == 1
context.none[0] == 1
true && context.gone
context.gone && true
false || context.gone
context.gone || false
context.gone ? true : true
[context.gone] == [1] || false
context.gone in [1]
!context.gone
size(context.gone) == 0

# no_such_overload
context.one + 1.0 == 2.0
context.one_point + 1 == 2.0
context.half * context.two == 1.0
context.half % context.half == 0.5
context.yes + context.yes == 2
context.name + 1 == ''
context.name * 2 == ''
context.nothing + context.nothing == null
context.crm + context.crm == context.crm
context.one < '2'
context.one < context.yes
context.nothing < 1
context.nothing >= context.nothing
context.numbers < context.numbers
context.crm.tier.x == 1
context.nothing.x == 1
context.name[0] == 'Z'
context.numbers['0'] == 1
context.numbers[true] == 1
context.numbers.size.x == 1
has(context.name.x)
has(context.numbers.x)
has(context.nothing.x)
1 in context.name
'Z' in context.name
size(context.one) == 1
context.one.size() == 1
size(context.nothing) == 0
context.one.startsWith('1')
context.name.startsWith(context.one)
context.nothing.contains('')
!context.one
!context.nothing
!!context.name
-context.name == 1
-context.yes == -1
context.one && true
true && context.one
context.nothing || false
false || context.empty
context.name ? true : false
context.one ? true : false

# overflow
context.max + 1 == 0
context.min - 1 == 0
context.min + -1 == 0
1 - -9223372036854775807 == 0
context.max * 2 == 0
5000000000 * 5000000000 == 0
-5000000000 * 5000000000 == 0
-context.min == 0
--context.min == 0
-(-9223372036854775808) == 0
--9223372036854775808 == 0
context.min * -1 == 0
context.min / -1 == 0
context.min % -1 == 0

# divide_by_zero
15 / 0 == 0
15 % 0 == 0
context.one / context.zero == 1
context.min % 0 == 0

# too_large
context.wide + context.wide == ''

# not_boolean
context.one
context.nothing
context.name
context.crm.tags
context.yes ? context.one : true

# unreadable
context.half_a_character == ''
context.not_json == 1
context.not_utf8 == ''
context.infinite > 1.0
context.endless > 1
size(context.deep) == 1
size(context.very_deep) == 1
"""


def lines(table: str) -> list[str]:
    return [line for line in table.splitlines() if line and not line.startswith("#")]


def errors() -> list[tuple[str, str]]:
    kind, found = "", []
    for line in ERRORS.splitlines():
        if line.startswith("#"):
            kind = line[2:]
        elif line:
            found.append((line, kind))
    return found


@pytest.mark.parametrize("text", lines(TRUE))
def test_true(text: str) -> None:
    assert compile_expression(text).evaluate(CONTEXT) is True


@pytest.mark.parametrize(("text", "kind"), errors())
def test_errors(text: str, kind: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        compile_expression(text).evaluate(CONTEXT)
    assert caught.value.kind == kind


def test_the_smallest_expressions() -> None:
    assert compile_expression("true").evaluate({}) is True
    assert compile_expression("false").evaluate({}) is False
    assert compile_expression("context.a").evaluate({"a": b"false"}) is False
    assert compile_expression(" context\n.a // b\n ").evaluate({"a": b" true "}) is True


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("true", set()),
        ("size(context.objections) > 0 || context.score > 95", {"objections", "score"}),
        ('context["a-b"].c == context.d[context.e]', {"a-b", "d", "e"}),
        ("has(context.a) && has(context.b.c)", {"a", "b"}),
        ('"a" in context ? [context.b] == [1] : !context.c', {"a", "b", "c"}),
        ("context.a.startsWith(context.b) && -context.c == 1", {"a", "b", "c"}),
        ('context["context"] == "context.x"', {"context"}),
    ],
)
def test_reads(text: str, reads: set[str]) -> None:
    assert compile_expression(text).reads == reads


def test_only_what_is_read_is_decoded() -> None:
    values = {"a": b"1", "b": b"no JSON", "c": b"nor this"}
    assert compile_expression("context.a == 1 || context.b == 2").evaluate(values) is True
    assert compile_expression("has(context.c) && context.a == 1").evaluate(values) is True


ERROR_TEXTS = {
    "context.crm.score > 'x'": "'>' is not defined for an int (context.crm.score) and a string",
    "context.gone > 1": "context.gone is not there",
    'context["first name"] > 1': 'context["first name"] is not there',
    "context.crm.gone > 1": "a map (context.crm) has no member 'gone'",
    "context.numbers[5] > 1": "a list (context.numbers) has no item at this index",
    "context.crm[context.name] > 1": "a map (context.crm) has no member of this name",
    "context.name.size() + context.half > 1.0": (
        "'+' is not defined for an int and a double (context.half)"
    ),
    "context.mixed[6].k.x": "'.x' needs a map, and got an int (context.mixed[...].k)",
    "context.one && true": "'&&' needs true or false, and got an int (context.one)",
    "context.max + 1 > 0": "the result of '+' does not fit into 64 bits",
    "context.one": "the expression has a result that is neither true nor false",
}


@pytest.mark.parametrize(("text", "message"), ERROR_TEXTS.items())
def test_what_an_error_says(text: str, message: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        compile_expression(text).evaluate(CONTEXT)
    assert str(caught.value) == message


def marked(value: Any) -> Any:
    """The value with every text and number replaced by one that no message could have."""
    match value:
        case str():
            return "SECRET" + value
        case list():
            return [marked(item) for item in value]
        case dict():
            return {key: marked(item) for key, item in value.items()}
        case bool() | None:
            return value
        case int():
            return 77_700_000 + value % 1000
        case _:
            return 777.25


def test_an_error_never_holds_a_value() -> None:
    context = {
        name: json.dumps(marked(json.loads(raw))).encode()
        for name, raw in CONTEXT.items()
        if b"\\ud" not in raw and len(raw) < 100 and not name.startswith("not_")
    }
    context["half_a_character"] = b'"SECRET\\ud800"'
    context["not_json"] = b'{"SECRET":'
    context["not_utf8"] = b'"SECRET\xff"'
    told: list[str] = []
    for text in [text for text, _ in errors()] + [*ERROR_TEXTS]:
        try:
            compile_expression(text).evaluate(context)
        except EvaluationError as error:
            told.append(str(error))
    assert len(told) > 70  # the others were errors of values, which are no longer there
    assert [each for each in told if "SECRET" in each or "777" in each] == []
