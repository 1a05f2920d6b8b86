"""The grammars of the RFCs, as patterns, written down apart from the parsers that they judge.

What a parser takes must be in them: each is the strict one, without what a recipient may forgive.
Where the proxy is wider on purpose, the place says so.
"""

from __future__ import annotations

import re

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'  # RFC 9110 section 5.6.4

# RFC 9110 section 5.5, RFC 9112 section 5: no obs-fold, no white space before the colon.
FIELD = re.compile(
    rb"(" + TOKEN + rb"):[ \t]*((?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?)[ \t]*"
)

# RFC 9112 section 3. Of the target, visible characters; what is in it is checked by its own parser.
REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([!-~]+) HTTP/1\.([0-9])")
STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-5][0-9]{2})(?: [\t -~\x80-\xff]*)?")

# RFC 9112 section 7.1. An extension is any text without control characters.
CHUNKED = re.compile(
    rb"(?:0*[1-9A-Fa-f][0-9A-Fa-f]*(?:[ \t]*;[\t -~\x80-\xff]*)?\r\n.*?\r\n)*"
    rb"0+(?:[ \t]*;[\t -~\x80-\xff]*)?\r\n((?:" + TOKEN + rb":[\t -~\x80-\xff]*\r\n)*)\r\n",
    re.DOTALL,
)

# RFC 3986, as far as a target of a request may go: no userinfo, no fragment, no control characters.
# The characters that browsers send without escaping ("<>^`{|}) are let through on purpose.
TARGET = re.compile(rb"(?:/|[Hh][Tt][Tt][Pp][Ss]?://[A-Za-z0-9_~.:\[\]-]+)[!\"$-~]*|\*")
AUTHORITY = re.compile(
    rb"(?:[A-Za-z0-9_~-]+(?:\.[A-Za-z0-9_~-]+)*\.?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?"
)

# RFC 7617 section 2, RFC 4648 section 4: exactly one spelling of each pair.
BASIC = re.compile(rb"[Bb][Aa][Ss][Ii][Cc] +[A-Za-z0-9+/]+={0,2} *")

# RFC 9110 section 14.2; empty members are a list's (section 5.6.1).
RANGES = re.compile(
    rb"[Bb][Yy][Tt][Ee][Ss]=[ \t,]*(?:[0-9]+-[0-9]*|-[0-9]+)"
    rb"(?:[ \t]*,[ \t]*(?:(?:[0-9]+-[0-9]*|-[0-9]+))?)*[ \t,]*"
)

# RFC 7239 section 4.
_PAIR = TOKEN + rb"=(?:" + TOKEN + rb"|" + QUOTED + rb")"
FORWARDED_ELEMENT = re.compile(rb"(?:" + _PAIR + rb")?(?:;(?:" + _PAIR + rb")?)*")

# The PROXY protocol, version 1.
PROXY_1 = re.compile(
    rb"PROXY (?:UNKNOWN[^\r\n]*|TCP4(?: [0-9.]{7,15}){2}(?: [0-9]{1,5}){2}"
    rb"|TCP6(?: [0-9A-Fa-f:.]{2,45}){2}(?: [0-9]{1,5}){2})\r\n"
)
