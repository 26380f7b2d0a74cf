# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Files of topics with what they hold; Pyserini's answers to the same files are compared in integrations/."""

import gzip
from pathlib import Path
from typing import NamedTuple


class TopicFile(NamedTuple):
    name: str
    content: str
    topics: list[tuple[str, str]]
    topics_format: str = "default"


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


TREC = """
<top>

<num> Number: 301
<title> Topic: International: Organized
  Crime\t

<desc> Description:
Identify organizations

<narr> Narrative:
A relevant document: <title>
must name them.
</top>

<top lang='en'>
<num>12</num>
<title>Poliomyelitis and Post-Polio</title>
<desc>Is it under control?</desc>
<narr>One line.</narr>
<top>
<num> Number: MB07
<title>
 below its tag
<desc>
<narr>
</top>
"""

CACM = """<DOC>
<DOCNO> 10 </DOCNO>
 What articles exist
which deal with TSS\u0020

</DOC>
between
  <DOC>
<DOCNO>09</DOCNO> rest of the line
I am interested
</DOC>
"""

# What Pyserini reads, with the order and ids that it gives.
READ_BY_BOTH = [
    TopicFile("ints.tsv", "2\tb\n10\tc\n1\ta", [("1", "a"), ("2", "b"), ("10", "c")]),
    TopicFile("strings.tsv", "x2\tb\nx10\tc\nX1\ta\n", [("X1", "a"), ("x10", "c"), ("x2", "b")]),
    TopicFile("mixed.tsv", "x\tq\n5\ta\n40\tb\n", [("40", "b"), ("5", "a"), ("x", "q")]),
    TopicFile("zeros.tsv", "010\tb\n9\ta\n0\tc\n", [("0", "c"), ("9", "a"), ("10", "b")]),
    TopicFile("zeros-mixed.tsv", "x\tq\n010\tb\n2\ta\n", [("10", "b"), ("2", "a"), ("x", "q")]),
    TopicFile("columns.tsv", "2\tb\textra\tmore\n1\t a \t\n", [("1", "a"), ("2", "b")]),
    TopicFile("spaces.tsv", " 1\tb c  d \x0c\n", [("1", "b c  d")]),
    TopicFile("signs.tsv", "-5\tb\n+6\ta\n-07\tc\n", [("-5", "b"), ("-7", "c"), ("6", "a")]),
    TopicFile("signs-mixed.tsv", "-05\tb\n+6\ta\nx\tc\n", [("+6", "a"), ("-05", "b"), ("x", "c")]),
    TopicFile(
        "large.tsv", "99999999999\tb\n2147483648\tc\n+1\ta\n", [("+1", "a"), ("2147483648", "c"), ("99999999999", "b")]
    ),
    TopicFile("ends.tsv", "1\ta\r2\tb\r\n3\tc\n", [("1", "a"), ("2", "b"), ("3", "c")]),
    TopicFile(
        "odd.tsv",
        "1\t\u00a0a\u2028b\u0085c\U0001f600\x1fd\u3000\n",
        [("1", "\u00a0a\u2028b\u0085c\U0001f600\x1fd\u3000")],
    ),
    TopicFile("arabic.tsv", "x\tq\n\u0661\u0662\ta\n", [("12", "a"), ("x", "q")]),
    TopicFile("arabic-ints.tsv", "\u0661\u0662\ta\n", [("12", "a")]),
    TopicFile("quotes.tsv", '1\t"a\n2\tb"\n', [("1", '"a'), ("2", 'b"')]),
    TopicFile("packed.tsv.gz", "2\tb\n1\ta\n", [("1", "a"), ("2", "b")]),
    TopicFile("text.txt", "2\tb\n1\ta\n", [("1", "a"), ("2", "b")]),
    TopicFile("text.txt.gz", "x2\tb\nx1\ta\n", [("x1", "a"), ("x2", "b")]),
    TopicFile("beir/topics.tsv", "10\tb\n9\ta\n", [("9", "a"), ("10", "b")]),
    TopicFile("beir/signs.tsv", "+6\ta\n-05\tb\n", [("+6", "a"), ("-05", "b")]),
    TopicFile("mybeir.odd", "PLAIN-2\tb\nPLAIN-1\ta\n", [("PLAIN-1", "a"), ("PLAIN-2", "b")]),
    TopicFile("beir/topics.json", '{"2": {"title": "b"}, "1": {"title": "a"}}', [("1", "a"), ("2", "b")]),
    TopicFile("beir-cacm.tsv", "1\ta\n", [("1", "a")]),
    TopicFile(
        "a.json",
        '{"2": {"title": "b"}, "10": {"title": " c "}, "010": {"title": "a", "narrative": 3}}',
        [("010", "a"), ("10", " c "), ("2", "b")],
    ),
    TopicFile(
        "a.jsonl",
        '{"id": "2", "title": "b"}\n{"qid": "1", "title": " a ", "x": []}\n{"id": 10, "qid": 9, "title": 4}',
        [("1", " a "), ("2", "b"), ("10", "4")],
    ),
    TopicFile(
        "zeros.jsonl",
        '{"id": "x", "title": "b"}\n{"id": "010", "title": "a\\n\\ud83d\\ude00"}\n',
        [("10", "a\n\U0001f600"), ("x", "b")],
    ),
    TopicFile(
        "a.trec",
        TREC,
        [("7", "below its tag"), ("12", "Poliomyelitis and Post-Polio"), ("301", "International: Organized Crime")],
    ),
    TopicFile("last.trec", "<top>\n<num> 1\n<title> a\n<desc>\nb\n</top>\n", [("1", "a")]),
    TopicFile(
        "cacm.query", CACM, [("9", "I am interested\n"), ("10", " What articles exist\nwhich deal with TSS \n\n")]
    ),
    TopicFile(
        "a.kilt",
        '{"id": "b", "input": " x [START_ENT] y [END_ENT] z "}\n{"id": "010", "input": "q", "output": []}\n',
        [("b", "x  y  z"), ("010", "q")],
        "kilt",
    ),
    TopicFile(
        "ints.kilt.jsonl", '{"id": 7, "input": "x"}\n{"id": 3, "input": "y"}\n', [("7", "x"), ("3", "y")], "kilt"
    ),
    TopicFile(
        "raw.jsonl",
        '{"query_id": "b", "query": " x "}\n{"qid": "01", "_id": "9", "query": "q"}\n{"id": 5, "query": "z"}',
        [("b", " x "), ("01", "q"), ("5", "z")],
        "raw_jsonl",
    ),
]

# What Pyserini refuses though nothing is in doubt.
READ_BY_US = [
    TopicFile("blank.tsv", "\n2\tb\n\n1\ta\n\n", [("1", "a"), ("2", "b")]),
    TopicFile("mark.tsv", "\ufeff2\tb\n1\ta\n", [("1", "a"), ("2", "b")]),
    TopicFile("blank.jsonl", '{"id": "1", "title": "a"}\n\n', [("1", "a")]),
    TopicFile("packed.jsonl.gz", '{"id": "1", "title": "a"}\n', [("1", "a")]),
    TopicFile("mark.json", '\ufeff{"1": {"title": "a"}}', [("1", "a")]),
    TopicFile("blank.kilt", '\ufeff{"id": "1", "input": "x"}\n\n', [("1", "x")], "kilt"),
    TopicFile("msmarco-passage-dev-subset.tsv", "2\tb\n1\ta\n", [("1", "a"), ("2", "b")]),
]
