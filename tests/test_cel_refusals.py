# ruff: noqa: E501 (a refusal is one line)
"""What is refused when an expression is read: in which words, and at which place."""

import pytest

from schemas.cel.expression import ExpressionError, compile_expression
from schemas.cel.syntax import MAX_DEPTH
from schemas.cel.tokens import MAX_LENGTH

# The expression, a caret under the place that is meant, and the words.
REFUSED = r"""
context.name.matches("x")
             ^
no such function 'matches'; these are known: contains, endsWith, has, size, startsWith

context.name.startswith("x")
             ^
no such function 'startswith'; did you mean 'startsWith'?

context.items.all(i, i > 0)
              ^
'all' is not in this subset of CEL, which has no loops; let a tool compute it; these are known: contains, endsWith, has, size, startsWith

timestamp(context.at) > 1
^
no such function 'timestamp'; these are known: contains, endsWith, has, size, startsWith

context.score(1)
        ^
no such function 'score'; these are known: contains, endsWith, has, size, startsWith

contains("ab", "a")
^
'contains' is asked of a text; write it behind, as in context.name.contains("...")

context.a.has(b)
          ^
'has' stands before its argument; write has(x.y)

context.a.contains()
          ^
contains has one argument here, not 0; write x.contains(...)

context.a.size(1) > 0
          ^
size has no arguments here, not 1; write x.size()

size(context.a, context.b) > 0
^
size has one argument, not 2; write size(x)

has(context["a-b"])
^
has asks for a member that is named behind a dot; write has(context.a.b); for other names "a-b" in context

has(context.a == 1)
^
has asks for a member that is named behind a dot; write has(context.a.b); for other names "a-b" in context

score >= 80
^
no such name 'score'; write context.score for a member of the context, or text in quotes

contxt.score >= 80
^
no such name 'contxt'; did you mean 'context'?

if == 1
^
no such name 'if'; write context.if for a member of the context, or text in quotes

size(context) > 0
     ^
the context as a whole is no value here; name a member, such as context.score, or ask "score" in context

context == context.a
^
the context as a whole is no value here; name a member, such as context.score, or ask "score" in context

context.a in context
             ^
the context as a whole is no value here; name a member, such as context.score, or ask "score" in context

context[context.name] == 1
        ^
which member of the context is read must stand in the expression; write its name in quotes, such as context["first-name"]

context.in == 1
        ^
'in' is a word of CEL; write ["in"] instead

context.`first-name` == ''
        ^
'`' means nothing here; write a member with other characters than letters as context["..."]

context.first.0 == ''
             ^
a member's name does not begin with a digit; write x[0], or x['0']

context.5 == 1
       ^
a member's name does not begin with a digit; write x[0], or x['0']

context.a = 1
          ^
'=' means nothing here; compare with '=='

context.a & context.b
          ^
'&' means nothing here; write 'and' as '&&'

context.a | context.b
          ^
'|' means nothing here; write 'or' as '||'

{"a": 1} == context.a
^
'{' means nothing here; map literals are not in this subset of CEL; compare member by member

context.a == #1
             ^
'#' means nothing here; remove it, or put text in quotes

context.a and context.b
          ^
'and' stands where an operator or the end should follow; write &&

context.a b
          ^
'b' stands where an operator or the end should follow; correct it

context.a == True
             ^
no such name 'True'; write true

not context.a
^
no such name 'not'; write !

context.a == 1u
              ^
unsigned numbers are not in this subset of CEL; leave the 'u' out

context.a == b'x'
             ^
bytes are not in this subset of CEL; leave the 'b' out

context.a == 9223372036854775808
             ^
this whole number does not fit into 64 bits; write a smaller one, or a double such as 1e19

context.a == -9223372036854775809
              ^
this whole number does not fit into 64 bits; write a smaller one, or a double such as 1e19

context.a == 1e999
             ^
this number is too large for a double; write a smaller one

context.a == 'it
             ^
this string has no end; close it with '

context.a == '''it'
             ^
this string has no end; close it with '''

context.a == 'a\sb'
               ^
this backslash begins no escape that CEL knows; write \\ for a backslash itself, or the string as r'...'

context.a == '\400'
              ^
this backslash begins no escape that CEL knows; write \\ for a backslash itself, or the string as r'...'

context.a == '\ud83d\ude00'
              ^
this escape names no character; give the code point of a whole one, such as \U0001F600

context.a == '\U00110000'
              ^
this escape names no character; give the code point of a whole one, such as \U0001F600

context.a >=
            ^
the expression ends where a value should follow; complete it

(context.a == 1
               ^
the expression ends where ')' should follow; complete it

context.a == 1)
              ^
')' stands where an operator or the end should follow; correct it

context.a ? 1 == 1
                  ^
the expression ends where ':' should follow; complete it

context.a[] == 1
          ^
']' stands where a value should follow; correct it

context.a ! 1
          ^
'!' stands where an operator or the end should follow; correct it

!-context.a == 1
 ^
'-' stands where a value should follow; correct it

context.a.contains('x',)
                       ^
')' stands where a value should follow; correct it

context..a
        ^
'.' stands where the name of a member should follow; correct it

in == 1
^
'in' has nothing on its left; write a value before it, as in x in y

1 + "a" == 2
  ^
'+' is not defined for an int and a string; correct one of them

1 + 1.5 == 2.5
  ^
'+' is not defined for an int and a double; write both numbers alike, such as 2.0 and 1.5

context.a + true == 2
          ^
'+' is not defined for a bool; correct one of them

'a' < 1
    ^
'<' is not defined for a string and an int; correct one of them

context.a + 1 < 'a'
              ^
'<' is not defined for an int and a string; correct one of them

1 in 'abc'
  ^
'in' is not defined for an int and a string; correct one of them

7.5 % context.a == 1
    ^
'%' is not defined for a double; correct one of them

-'a' == 1
^
'-' needs a number, and this is a string; correct it

!size(context.a)
^
'!' needs true or false, and this is an int; correct it

size(1) == 1
^
size needs a string, a list or a map, and this is an int; correct it

context.a && 'b'
             ^
'&&' needs true or false, and this is a string; correct it

'less filling' || context.a
^
'||' needs true or false, and this is a string; correct it

context.a + 1 ? true : false
^
'?' needs true or false, and this is an int; correct it

[1].a == 1
   ^
.a needs a map, and this is a list; correct it

has('a'.b)
^
has needs a map, such as context.crm, and this is a string; correct it

[1]['a'] == 1
   ^
an index needs an int, and this is a string; correct it

'abc'[0] == 'a'
     ^
[...] needs a list or a map, and this is a string; correct it

1.startsWith('1')
  ^
startsWith needs strings, and this is an int; correct it

context.a.contains(1)
          ^
contains needs strings, and this is an int; correct it

context.score + 1
^
this gives an int, never true or false; compare it with something

'yes'
^
this gives a string, never true or false; compare it with something

size(context.a)
^
this gives an int, never true or false; compare it with something

true ? 1 : null
^
this gives an int or null, never true or false; compare it with something
"""


def cases() -> list[tuple[str, int, str]]:
    found = []
    for block in REFUSED.strip().split("\n\n"):
        text, caret, words = block.split("\n")
        found.append((text, caret.index("^"), words))
    return found


@pytest.mark.parametrize(("text", "position", "words"), cases())
def test_refused(text: str, position: int, words: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text)
    assert str(caught.value) == f"{words}\n  {text}\n  {' ' * position}^"
    assert caught.value.position == position


@pytest.mark.parametrize("text", ["", "  ", "\n\t\n"])
def test_empty(text: str) -> None:
    with pytest.raises(ExpressionError, match=r"^the expression is empty; write one"):
        compile_expression(text)


def test_the_place_in_several_lines() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression("context.a == 1\n  &&\tcontext.b = 2\n  && context.c")
    assert caught.value.position == 15 + 15
    assert caught.value.place == "    && context.b = 2\n                 ^"


def test_the_place_in_a_long_line() -> None:
    text = " && ".join(["context.a"] * 50) + " && ?" + " && context.a" * 50
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text)
    line, caret = caught.value.place.split("\n")
    assert line[caret.index("^")] == "?"
    assert len(line) < 110


def test_no_text_is_longer_than_the_limit() -> None:
    longest = "context.a == '" + "x" * (MAX_LENGTH - 15) + "'"
    assert compile_expression(longest).evaluate({"a": b"1"}) is False
    with pytest.raises(ExpressionError, match=r"has 4,097 characters, the limit is 4,096"):
        compile_expression(longest + " ")


@pytest.mark.parametrize("inner", ["true", "!false", "1 + 2 * -3 == -5 && true"])
@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("(", ")"),
        ("!(", ")"),
        ("[", "][0]"),
        ("true && false == (", " || false)"),
        ("true ? (", ") : false"),
    ],
)
def test_brackets_nest_to_the_limit_and_no_deeper(opening: str, closing: str, inner: str) -> None:
    def nested(depth: int) -> str:
        return opening * depth + inner + closing * depth

    assert compile_expression(nested(MAX_DEPTH)).evaluate({}) is True
    with pytest.raises(ExpressionError, match=f"nests deeper than {MAX_DEPTH} brackets"):
        compile_expression(nested(MAX_DEPTH + 1))


@pytest.mark.parametrize(
    "text",
    [
        "true" + " && true" * 500,
        "false" + " || false" * 400 + " || true",
        "0" + " + 0" * 1000 + " == 0",
        "1" + " == 1" + " == true" * 400,
        "!" * 4000 + "true",
        "-" * 4000 + "1 == 1",
        "false ? false : " * 250 + "true",
        "[" + "1," * 2000 + "] != []",
        "context" + ".a" * 2000 + " || true",
        "context.a" + "[0]" * 1000 + " || true",
    ],
    ids=lambda text: text[:20],
)
def test_repetition_does_not_nest(text: str) -> None:
    assert compile_expression(text).evaluate({"a": b"{}"}) is True
