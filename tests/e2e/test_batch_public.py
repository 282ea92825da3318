"""Files of prompts, captions, questions and recordings as the public ones are made: each runs with one option at most.

Their shapes are those of the data sets that the cases name: container, separator, header, quotes, gaps. Their words
are new.
"""

from __future__ import annotations

import gzip
import io
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from replicate_job.testing import Script, openapi_schema
from replicate_job.testing.models import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.e2e.conftest import Command

    from replicate_job.testing import ScriptedAPI

TEXT, URI = {"type": "string"}, {"type": "string", "format": "uri"}
IMAGES, CHAT, SPEECH, EARS, EYES = "acme/images", "acme/chat", "acme/speech", "acme/ears", "acme/eyes"
MODELS: Mapping[str, dict[str, Any]] = {
    IMAGES: openapi_schema(
        {"prompt": TEXT, "seed": {"type": "integer"}, "width": {"type": "integer"}, "height": {"type": "integer"}},
        required=["prompt"],
    ),
    CHAT: openapi_schema(
        {
            "prompt": TEXT,
            "system_prompt": TEXT,
            "turns": {"type": "array", "items": TEXT},
            "max_tokens": {"type": "integer"},
        }
    ),
    SPEECH: openapi_schema({"text": TEXT, "speaker": TEXT, "speed": {"type": "number"}}, required=["text"]),
    EARS: openapi_schema({"audio": URI, "language": TEXT, "translate": {"type": "boolean"}}, required=["audio"]),
    EYES: openapi_schema({"image": URI, "question": TEXT}, required=["image"]),
}


class Case(msgspec.Struct, frozen=True):
    """A file, the model and the one option that it runs with, and the inputs that come of it."""

    name: str
    content: bytes | str
    model: str
    sent: list[dict[str, Any]]
    option: tuple[str, ...] = ()


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


def table(kind: str, rows: dict[str, list[Any]]) -> bytes:
    sink = io.BytesIO()
    (parquet.write_table if kind == "parquet" else feather.write_feather)(pa.table(rows), sink)
    return sink.getvalue()


def prompts(*texts: str, **more: Any) -> list[dict[str, Any]]:
    return [{"prompt": text, **more} for text in texts]


CASES = {
    "PartiPrompts": Case(
        "PartiPrompts.tsv",
        'Prompt\tCategory\tChallenge\tNote\n"Ahoy" on a sail\tAbstract\tBasic\t\n'
        'a bear, drawn\tAnimals\t"Fine\tcolour\na cup with "tea"\tFood\tBasic\tends" here\n',
        IMAGES,
        prompts('"Ahoy" on a sail', "a bear, drawn", 'a cup with "tea"'),
        ("--ignore-columns", "*"),
    ),
    "DrawBench": Case(
        "DrawBench.csv",
        'Prompts,Category\nA green hat.,Colors\n"One dog, two cats.",Counting\n',
        IMAGES,
        prompts("A green hat.", "One dog, two cats."),
        ("--rename", "Prompts=prompt,Category="),
    ),
    "DiffusionDB": Case(
        "metadata.parquet",
        table(
            "parquet",
            {
                "image_name": ["a.png", "b.png"],
                "prompt": ["a mill at dusk", "a red barn"],
                "part_id": [1, 1],
                "seed": pa.array([4, None], pa.uint32()),
                "cfg": [7.0, 8.5],
                "width": [512, 768],
                "height": [512, 512],
                "timestamp": pa.array([0, None], pa.timestamp("us", "UTC")),
            },
        ),
        IMAGES,
        [
            {"prompt": "a mill at dusk", "seed": 4, "width": 512, "height": 512},
            {"prompt": "a red barn", "width": 768, "height": 512},
        ],
        ("--ignore-columns", "*"),
    ),
    "Lexica": Case(
        "lexica.json",
        b'{"images": '
        + msgspec.json.encode(
            [{"id": "u1", "gallery": "https://x/1", "prompt": "an owl", "seed": "77", "nsfw": False, "model": "m"}]
        )
        + b"}",
        IMAGES,
        [{"prompt": "an owl", "seed": 77}],
        ("--ignore-columns", "*"),
    ),
    "a column named Prompt alone": Case(
        "train.csv", 'Prompt\na fox, asleep\n"a hen, awake"\n', IMAGES, prompts("a fox, asleep", "a hen, awake")
    ),
    "a list of prompts": Case(
        "prompts.txt",
        "\ufeff\na tin robot\n\n  a wet street, neon  \n",
        IMAGES,
        prompts("a tin robot", "a wet street, neon"),
    ),
    "a DataFrame's CSV": Case(
        "out.csv",
        ",prompt,seed\n0,a loom,3.0\n1,a kiln,\n",
        IMAGES,
        [{"prompt": "a loom", "seed": 3}, {"prompt": "a kiln"}],
        ("--ignore-columns", "1"),
    ),
    "a spreadsheet's CSV": Case(
        "Tabelle.csv",
        "sep=;\r\nPrompt ;Seed; ;\r\nein Schloß;4;;\r\n".encode("cp1252"),
        IMAGES,
        [{"prompt": "ein Schloß", "seed": 4}],
        ("--encoding", "cp1252"),
    ),
    "awesome-chatgpt-prompts": Case(
        "prompts.csv",
        '"act","prompt"\n"Baker","Act as a baker.\nSay ""dough"", then\nwait, please."\n"Pilot","Act as a pilot."\n',
        CHAT,
        prompts('Act as a baker.\nSay "dough", then\nwait, please.', "Act as a pilot."),
        ("--ignore-columns", "act"),
    ),
    "MT-Bench": Case(
        "question.jsonl",
        lines(
            {"question_id": 1, "category": "writing", "turns": ["Write a haiku.", "Now a longer one."]},
            {"question_id": 2, "category": "math", "turns": ["2+2?", "+1?"], "reference": ["4", "5"]},
            {"question_id": 3, "category": "math", "turns": ["3*3?", "-1?"], "reference": ["9", "8"]},
        ),
        CHAT,
        [{"turns": ["2+2?", "+1?"]}, {"turns": ["3*3?", "-1?"]}, {"turns": ["Write a haiku.", "Now a longer one."]}],
        ("--ignore-columns", "question_id,category,reference"),
    ),
    "Alpaca": Case(
        "alpaca_data.json",
        msgspec.json.format(
            msgspec.json.encode([{"instruction": "Name three trees.", "input": "", "output": "…"}]), indent=4
        ),
        CHAT,
        prompts("Name three trees."),
        ("--rename", "instruction=prompt,input=,output="),
    ),
    "Dolly": Case(
        "dolly.jsonl",
        lines({"instruction": "Who digs?", "context": "", "response": "…", "category": "open_qa"}),
        CHAT,
        prompts("Who digs?"),
        ("--rename", "instruction=prompt,*="),
    ),
    "GSM8K": Case(
        "test.jsonl",
        lines({"question": "Ann has 3 pears. …?", "answer": "… #### 3"}),
        CHAT,
        prompts("Ann has 3 pears. …?"),
        ("--rename", "question=prompt,answer="),
    ),
    "HumanEval": Case(
        "HumanEval.jsonl.gz",
        gzip.compress(
            lines({"task_id": "T/0", "prompt": "def f():\n", "entry_point": "f", "test": "assert f"}), mtime=0
        ),
        CHAT,
        prompts("def f():\n"),
        ("--ignore-columns", "*"),
    ),
    "HellaSwag": Case(
        "hellaswag_val.jsonl",
        lines(
            {
                "ind": 24,
                "activity_label": "Roof",
                "ctx_a": "A man sits.",
                "ctx_b": "he",
                "ctx": "A man sits. he",
                "label": 3,
            },
            {
                "ind": 25,
                "activity_label": "Roof",
                "ctx_a": "A dog runs.",
                "ctx_b": "",
                "ctx": "A dog runs.",
                "label": 0,
            },
        ),
        CHAT,
        prompts("A dog runs.", "A man sits. he"),
        ("--rename", "ctx=prompt,*="),
    ),
    "TruthfulQA": Case(
        "TruthfulQA.csv",
        'Type,Category,Question,Best Answer,Correct Answers,Source\nAdversarial,Law,"Is it legal, here?",No,"No; never",https://x\n',
        CHAT,
        prompts("Is it legal, here?"),
        ("--rename", "Question=prompt,*="),
    ),
    "SQuAD": Case(
        "train.parquet",
        table(
            "parquet", {"id": ["1"], "context": ["…"], "question": ["Who?"], "answers": [{"text": ["I"], "start": [0]}]}
        ),
        CHAT,
        prompts("Who?"),
        ("--rename", "question=prompt,*="),
    ),
    "MMLU": Case(
        "anatomy_test.csv",
        'What beats?,lung,heart,skin,bone,B\n"Which, if any?",a,b,c,d,A\n',
        CHAT,
        prompts("What beats?", "Which, if any?"),
        ("--header", "prompt,,,,,"),
    ),
    "MS MARCO": Case(
        "queries.tsv",
        '1\thow tall is "it\n2\twhere is it"\n',
        CHAT,
        prompts('how tall is "it', 'where is it"'),
        ("--header", ",prompt"),
    ),
    "Quora pairs": Case(
        "quora.tsv",
        'id\tqid1\tquestion1\tquestion2\tis_duplicate\n0\t1\tWhat is "x"?\t"What\t0\n1\t3\tWhy?\tHow?"\t1\n',
        CHAT,
        prompts('What is "x"?', "Why?"),
        ("--rename", "question1=prompt,*="),
    ),
    "AG News": Case(
        "test.csv",
        '"3","Rain, again","It rained."\n"4","Sun","It shone, \\"much\\"."\n'.replace('\\"', '""'),
        CHAT,
        prompts("It rained.", 'It shone, "much".'),
        ("--header", ",,prompt"),
    ),
    "LJSpeech": Case(
        "metadata.csv",
        'LJ1|Printing, in 3 parts, is old|Printing, in three parts, is old\nLJ2|"Stop," he said|"Stop," he said\n'
        'LJ3|he said "no|he said "no\n',
        SPEECH,
        [{"text": '"Stop," he said'}, {"text": "Printing, in three parts, is old"}, {"text": 'he said "no'}],
        ("--header", ",,text"),
    ),
    "Common Voice": Case(
        "validated.tsv",
        'client_id\tpath\tsentence\tup_votes\tage\tlocale\n9f\ta.mp3\t"Go," she said.\t2\t\ten\n'
        '9e\tb.mp3\t"Wait\t2\ttwenties\ten\n'
        "9d\tc.mp3\tShe ran.\t3\t\ten\n",
        SPEECH,
        [{"text": '"Go," she said.'}, {"text": '"Wait'}, {"text": "She ran."}],
        ("--rename", "sentence=text,*="),
    ),
    "LAION": Case(
        "laion.feather",
        table(
            "feather", {"URL": ["https://x/a%20b.jpg", "https://x/b.jpg"], "TEXT": ["a jug", None], "WIDTH": [10, 20]}
        ),
        EYES,
        [{"image": "https://x/a%20b.jpg"}, {"image": "https://x/b.jpg"}],
        ("--rename", "URL=image,*="),
    ),
    "Flickr30k": Case(
        "results.csv",
        "image_name| comment_number| comment\n1.jpg| 0| A man , alone , walks .\n1.jpg| 1| Two dogs .\n",
        IMAGES,
        prompts("A man , alone , walks .", "Two dogs ."),
        ("--rename", "comment=prompt,*="),
    ),
    "recordings by their addresses": Case(
        "calls.txt",
        "https://x/1.mp3\nhttps://x/2.wav\n",
        EARS,
        [{"audio": "https://x/1.mp3"}, {"audio": "https://x/2.wav"}],
    ),
    "a table of recordings": Case(
        "calls.csv",
        "Audio;Language;Translate\nhttps://x/1.mp3;de;yes\nhttps://x/2.mp3;;no\n",
        EARS,
        [
            {"audio": "https://x/1.mp3", "language": "de", "translate": True},
            {"audio": "https://x/2.mp3", "translate": False},
        ],
    ),
    "pictures in the folder": Case(
        "vqa.jsonl",
        lines({"image": "@a.png", "question": "How many?", "answer": None}),
        EYES,
        [{"question": "How many?"}],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_a_file_in_the_form_of_a_public_data_set_runs_with_at_most_one_option(
    api: ScriptedAPI, command: Command, case: Case
) -> None:
    api.models[case.model] = ScriptedModel(
        name=case.model, official=True, script=Script(duration=0), schema=MODELS[case.model]
    )
    file = command.folder / case.name
    file.write_bytes(case.content.encode() if isinstance(case.content, str) else case.content)
    (command.folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    call = ["batch", case.model, file.name, "--results", "results.jsonl", *case.option]

    checked = command(*call, "--dry-run")
    assert checked.code == 0, checked
    assert checked.json["to_run"] == len(case.sent)
    assert command(*call).code == 0

    sent = [dict(prediction.input) for prediction in api.predictions]
    if case.model == EYES and "question" in sent[0]:
        assert sent[0].pop("image").startswith("data:image/png;base64,")
    assert sorted(sent, key=str) == sorted(case.sent, key=str)


def test_the_error_for_a_json_document_with_several_lists_names_them(api: ScriptedAPI, command: Command) -> None:
    captions = [{"image_id": 1, "id": 2, "caption": "A cat on a mat."}]
    coco = {"info": {"year": 2014}, "images": [{"id": 1}], "licenses": [{"id": 1}], "annotations": captions}
    (command.folder / "captions.json").write_bytes(msgspec.json.encode(coco))
    api.models[IMAGES] = ScriptedModel(name=IMAGES, official=True, script=Script(duration=0), schema=MODELS[IMAGES])

    refused = command("batch", IMAGES, "captions.json", "--results", "results.jsonl")
    piped = command(
        "batch", IMAGES, "-", "--results", "results.jsonl", "--rename", "caption=prompt,*=", typed=lines(*captions)
    )

    assert refused.code == 2
    assert "has several lists: images, licenses, annotations; jq -c '.images[]' captions.json |" in refused.error
    assert piped.code == 0
    assert [prediction.input for prediction in api.predictions] == prompts("A cat on a mat.")
