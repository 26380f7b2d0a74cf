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
    #: Where Pyserini makes numbers of ids that we keep as they are.
    pyserini_ids: tuple[str, ...] | None = None

    @property
    def pyserini_topics(self) -> list[tuple[str, str]]:
        ids = self.pyserini_ids or tuple(topic for topic, _ in self.topics)
        return list(zip(ids, (text for _, text in self.topics), strict=True))


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

TREC_OTHERS = [("12", "Poliomyelitis and Post-Polio"), ("301", "International: Organized Crime")]

# Layouts of the tracks that Pyserini's reader takes for something else, or loses topics of.
TREC_LAYOUTS = [
    TopicFile(
        "trec1.trec",
        """<top>
<head> Tipster Topic Description
<num> Number:  052
<dom> Domain:  International Economics
<title> Topic:  Airbus Subsidies
<desc> Description:
Document will discuss government assistance.
<smry> Summary:
It will.
<con> Concept(s):
1. Airbus
</top>
""",
        [("52", "Airbus Subsidies")],
    ),
    TopicFile(
        "tags.trec",
        "<top>\n<num> Number: 1\n<title> wind energy in\nDenmark\n<geo> Denmark\n<desc> d\n</top>\n",
        [("1", "wind energy in Denmark")],
    ),
    TopicFile(
        "colon.trec",
        "<top>\n<num> 139\n<title> Iran and the Iran-Contra affair: who paid\n<desc> d\n</top>\n"
        "<top>\n<num> 140\n<title>\nTOPIC : COVID-19: symptoms\n\n<narr> n\n</top>\n",
        [("139", "Iran and the Iran-Contra affair: who paid"), ("140", "COVID-19: symptoms")],
    ),
    TopicFile(
        "no-ends.trec",
        "<top>\n<num> 2\n<title> b\n<TOP>\n <NUM>1</NUM> <TITLE>a < c</TITLE>\n",
        [("1", "a < c"), ("2", "b")],
    ),
    TopicFile("comment.trec", "<top>\n<num> 2\n<title> b\n<!-- not this -->\nnor this\n</top>\n", [("2", "b")]),
    TopicFile(
        "microblog.trec",
        "<top>\n<num> Number: MB111 </num>\n<query> water shortages </query>\n"
        "<querytime> Fri 10:15:03 </querytime>\n</top>\n",
        [("111", "water shortages")],
    ),
    TopicFile(
        "trec4.trec",
        "<top>\n<num> Number: 202\n<desc> Description:\nStatus of\n  treaties\n</top>",
        [("202", "Status of treaties")],
    ),
    TopicFile(
        "clef.trec",
        "<top>\n<num>C041</num>\n<EN-title> Pesticides in\nBaby Food </EN-title>\n",
        [("41", "Pesticides in Baby Food")],
    ),
    TopicFile(
        "turns.trec", "<top>\n<num> 31_1\n<title> a\n<top>\n<num> 3_11\n<title> b\n", [("31_1", "a"), ("3_11", "b")]
    ),
    TopicFile(
        "web.xml",
        """<?xml version="1.0" encoding="UTF-8"?>
<webtrack2012>
  <topic number="151" type="single"><query>403b &amp; 401k</query><description>What is a
    403b plan?</description><subtopic number="1" type="inf">x</subtopic></topic>
  <topic number="152"><query> angular
     cheilitis </query></topic>
</webtrack2012>
""",
        [("151", "403b & 401k"), ("152", "angular cheilitis")],
    ),
    TopicFile(
        "covid.xml",
        '<topics task="COVIDSearch" batch="1">\n<topic number="1">\n<query>coronavirus origin</query>\n'
        "<question>what is the origin</question>\n<narrative>n</narrative>\n</topic>\n</topics>\n",
        [("1", "coronavirus origin")],
    ),
    TopicFile(
        "clinical.xml",
        '<topics>\n<topic number="1">\nPatient is a\n45-year-old man\n</topic>\n</topics>\n',
        [("1", "Patient is a 45-year-old man")],
    ),
    TopicFile(
        "genomics.xml",
        "<TOPICS>\n<TOPIC>\n<ID>1</ID>\n<TITLE>Ferroportin</TITLE>\n<NEED>n</NEED>\n</TOPIC>\n</TOPICS>",
        [("1", "Ferroportin")],
    ),
]

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
    TopicFile(
        "zeros.tsv",
        "010\tb\n9\ta\n0\tc\n",
        [("0", "c"), ("9", "a"), ("010", "b")],
        pyserini_ids=("0", "9", "10"),
    ),
    TopicFile(
        "zeros-mixed.tsv",
        "x\tq\n010\tb\n2\ta\n",
        [("010", "b"), ("2", "a"), ("x", "q")],
        pyserini_ids=("10", "2", "x"),
    ),
    TopicFile("trailing-tab.tsv", "2\tb\n1\t a \t\n", [("1", "a"), ("2", "b")]),
    TopicFile("spaces.tsv", " 1\tb c  d \x0c\n", [("1", "b c  d")]),
    TopicFile(
        "signs.tsv",
        "-5\tb\n+6\ta\n-07\tc\n",
        [("-5", "b"), ("-07", "c"), ("+6", "a")],
        pyserini_ids=("-5", "-7", "6"),
    ),
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
    TopicFile(
        "arabic.tsv",
        "x\tq\n\u0661\u0662\ta\n",
        [("\u0661\u0662", "a"), ("x", "q")],
        pyserini_ids=("12", "x"),
    ),
    TopicFile("arabic-ints.tsv", "\u0661\u0662\ta\n", [("\u0661\u0662", "a")], pyserini_ids=("12",)),
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
        [("010", "a\n\U0001f600"), ("x", "b")],
        pyserini_ids=("10", "x"),
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
    TopicFile("beir/queries.jsonl", '{"_id": "2", "text": "b", "metadata": {}}\n', [("2", "b")]),
    TopicFile("queries.jsonl.gz", '{"_id": "PLAIN-2", "title": "", "text": "b"}\n', [("PLAIN-2", "b")]),
    TopicFile("raw.beir.jsonl", '{"_id": "02", "text": "b"}\n', [("02", "b")], "raw_jsonl"),
    TopicFile("lines.json", '{"_id": "2", "text": "b"}\n{"_id": "1", "text": "a"}\n', [("1", "a"), ("2", "b")]),
    TopicFile("cacm/queries.tsv", "1\ta\n", [("1", "a")]),
    TopicFile("beir-cacm/forced.dat", "02\tb\n01\ta\n", [("01", "a"), ("02", "b")], "tsv"),
    TopicFile("queries.csv", "2\tb\n1\ta\n", [("1", "a"), ("2", "b")]),
    TopicFile("topics.301", TREC, [("7", "below its tag"), *TREC_OTHERS]),
    TopicFile("topics.robust04.txt", TREC, [("7", "below its tag"), *TREC_OTHERS]),
    TopicFile("superscript.tsv", "x\tb\n\u00b2\tc\n", [("x", "b"), ("\u00b2", "c")]),
    TopicFile("long-id.tsv", "9" * 5000 + "\tb\n", [("9" * 5000, "b")]),
    TopicFile("both.tsv", "010\tb\n10\ta\n", [("010", "b"), ("10", "a")]),
    *TREC_LAYOUTS,
    TopicFile("msmarco-passage-dev-subset.tsv", "2\tb\n1\ta\n", [("1", "a"), ("2", "b")]),
]
