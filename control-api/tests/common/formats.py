"""Reads what the API exported, with the packages that others wrote for each format; prints what they saw as JSON.

Usage: formats.py srt|vtt|md|json FILE [SCHEMA]
"""
import json
import sys

kind, path = sys.argv[1:3]

if kind == "srt":
    import pysubs2
    import webvtt

    subtitles = pysubs2.load(path, encoding="utf-8", format_="srt", keep_html_tags=True)
    cues = [[cue.start, cue.end, cue.text] for cue in subtitles]
    # Another reader must see the same.
    other = webvtt.from_srt(path)
    assert len(other) == len(cues), (len(other), len(cues))
    seen = {"cues": cues, "others": [[cue.start, cue.end, cue.text] for cue in other]}
elif kind == "vtt":
    import html

    import pysubs2
    import webvtt

    # The package takes tags away, and leaves escapes to its user.
    cues = [[cue.start, cue.end, html.unescape(cue.text), cue.voice] for cue in webvtt.read(path)]
    other = pysubs2.load(path, encoding="utf-8", format_="vtt")
    assert len(other) == len(cues), (len(other), len(cues))
    seen = {"cues": cues, "times": [[cue.start, cue.end] for cue in other]}
elif kind == "md":
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").enable("table").enable("strikethrough").parse(open(path, encoding="utf-8").read())
    kinds, lines = set(), []
    for token in tokens:
        kinds.add(token.type)
        if token.type != "inline":
            continue
        line = ""
        for child in token.children:
            kinds.add(child.type)
            line += "\n" if child.type in ("hardbreak", "softbreak") else child.content
        lines.append(line)
    seen = {"kinds": sorted(kinds), "lines": lines}
elif kind == "json":
    import fastjsonschema

    document = json.load(open(path, encoding="utf-8"))
    validate = fastjsonschema.compile(json.load(open(sys.argv[3], encoding="utf-8")))
    try:
        validate(document)
        seen = {"refusal": None}
    except fastjsonschema.JsonSchemaException as refusal:
        seen = {"refusal": str(refusal)}
else:
    sys.exit("unknown format")

json.dump(seen, sys.stdout)
