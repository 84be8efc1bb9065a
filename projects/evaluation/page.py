"""The page of an evaluation: tables, curves and the worst cases as pictures. One file, no scripts, nothing from elsewhere."""
import base64
import html
import struct
import zlib

import numpy as np

import figures

COLOURS = ["#1f5fa8", "#c2571a", "#2b7d4f", "#8a3ffc", "#555555"]
STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1b1b1b}
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2rem}table{border-collapse:collapse;margin:.5rem 0}
th,td{padding:.2rem .7rem;border-bottom:1px solid #ddd;text-align:right}th:first-child,td:first-child{text-align:left}
figure{display:inline-block;margin:0 1.5rem 1rem 0;vertical-align:top}figcaption{font-size:.85rem;max-width:20rem}
.notice{background:#fff3d6;padding:.4rem .8rem}.soft{color:#666}"""
NOTICE = "Research use only - not a medical device"
PLOT = 260
NAMES = {
    "series": "series", "truth": "annotated bodies", "hits": "found", "false_positives": "false boxes", "recall": "recall",
    "precision": "precision", "centre_error_mm": "centre error, mm", "iou": "IoU", "iou50": "share with IoU >= 0.5",
    "endplates": "endplates", "nodes": "nodes", "coverage": "share examined", "auc": "AUC",
    "auc_strict": "AUC, unexamined count as wrong", "average_precision": "average precision", "sensitivity": "sensitivity",
    "specificity": "specificity", "localised": "nodes localised", "false_per_series": "false findings per series",
    "width_error_mm": "width error, mm", "depth_error_mm": "depth error, mm", "look_alikes": "look-alikes",
    "look_alikes_taken": "share taken for nodes", "calibration_error": "calibration error", "brier": "Brier score"}


def cell(value):
    """Returns a figure as text."""
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else html.escape(str(value))


def table(columns):
    """Returns a table of {column: {row: figure}}."""
    lines = ["<table><tr><th></th>" + "".join(f"<th>{html.escape(name)}</th>" for name in columns) + "</tr>"]
    rows = {}
    for name, group in columns.items():
        for key, value in flattened(group):
            rows.setdefault(key, {})[name] = value
    for key, values in rows.items():
        cells = "".join(f"<td>{cell(values.get(name))}</td>" for name in columns)
        lines.append(f"<tr><td>{html.escape(key)}</td>{cells}</tr>")
    return "\n".join(lines) + "</table>"


def flattened(group):
    """Yields (name of a row, figure)."""
    for key, value in group.items():
        if key == "localised_at":
            yield from ((f"share localised at {at} false per series", found) for at, found in value.items())
        elif key == "look_alikes_taken_by_kind":
            yield from ((f"{kind.replace('_', ' ')} taken for nodes", taken) for kind, taken in value.items())
        else:
            yield NAMES[key], value


def plot(title, across, up, lines, across_end=1.0, diagonal=False):
    """Returns a figure with {name: [(x, y)]} as lines; y is 0..1."""
    x = lambda value: 40 + PLOT * min(value / across_end, 1)
    y = lambda value: 10 + PLOT * (1 - value)
    parts = [f'<svg viewBox="0 0 {PLOT + 130} {PLOT + 50}" width="{PLOT + 130}" font-size="11" role="img">'
             f'<title>{html.escape(title)}</title>']
    for step in range(6):
        at = step / 5
        parts.append(f'<path d="M{x(0)} {y(at)}H{x(across_end)}M{x(at * across_end)} {y(0)}V{y(1)}" stroke="#ddd"/>'
                     f'<text x="36" y="{y(at) + 4}" text-anchor="end">{at:.1f}</text>'
                     f'<text x="{x(at * across_end)}" y="{y(0) + 14}" text-anchor="middle">{at * across_end:.1f}</text>')
    if diagonal:
        parts.append(f'<path d="M{x(0)} {y(0)}L{x(1)} {y(1)}" stroke="#999" stroke-dasharray="4 3"/>')
    for index, (name, points) in enumerate(lines.items()):
        colour = COLOURS[index % len(COLOURS)]
        path = " ".join(f"{x(px):.1f},{y(py):.1f}" for px, py in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
                     f'<text x="{PLOT + 50}" y="{24 + 16 * index}" fill="{colour}">{html.escape(name)}</text>')
    parts.append(f'<text x="{40 + PLOT / 2}" y="{PLOT + 42}" text-anchor="middle">{html.escape(across)}</text>'
                 f'<text transform="translate(11 {10 + PLOT / 2}) rotate(-90)" text-anchor="middle">{html.escape(up)}</text>'
                 "</svg>")
    return f"<figure>{''.join(parts)}<figcaption>{html.escape(title)}</figcaption></figure>"


def by_stratum(records):
    """Returns {stratum: records} and all together last."""
    return {**figures.grouped(records, "stratum"), "all": records}


def curves(title, lines_of, across, up, records, **more):
    """Returns a plot with a line per stratum."""
    return plot(title, across, up, {name: lines_of(group) for name, group in by_stratum(records).items()}, **more)


def reliability(rows):
    """Returns the points (predicted, observed) of a calibration plot."""
    return [(entry["predicted"], entry["observed"]) for entry in figures.calibration(rows)["bins"]]


def png(grey):
    """Returns `[row, column]` u8 as the bytes of a PNG."""
    rows, columns = grey.shape
    chunk = lambda kind, content: (struct.pack(">I", len(content)) + kind + content
                                   + struct.pack(">I", zlib.crc32(kind + content)))
    lines = b"".join(b"\0" + line.tobytes() for line in np.ascontiguousarray(grey))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b""))


def picture(image, boxes, caption, margin=45):
    """Returns a part of a slice around its first box, with boxes as [(box in px of the slice, colour)]."""
    middle = [(boxes[0][0][i] + boxes[0][0][i + 2]) / 2 for i in (0, 1)]
    x0, y0 = (max(0, int(value) - margin) for value in middle)
    part = image[y0: y0 + 2 * margin, x0: x0 + 2 * margin]
    source = base64.b64encode(png(part)).decode()
    drawn = "".join(
        f'<rect x="{box[0] - x0:.1f}" y="{box[1] - y0:.1f}" width="{box[2] - box[0] + 1:.1f}" '
        f'height="{box[3] - box[1] + 1:.1f}" fill="none" stroke="{colour}" stroke-width="0.8"/>' for box, colour in boxes)
    return (f'<figure><svg viewBox="0 0 {part.shape[1]} {part.shape[0]}" width="270" role="img">'
            f'<image href="data:image/png;base64,{source}" width="{part.shape[1]}" height="{part.shape[0]}"/>{drawn}</svg>'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>")


def document(title, facts, scores, records, pictures):
    """Returns the page; `facts` are lines of text, `pictures` what `picture` returned."""
    body = [f"<h1>{html.escape(title)}</h1>", f'<p class="notice">{NOTICE}</p>',
            *(f"<p>{html.escape(line)}</p>" for line in facts)]
    if records["vertebrae"]:
        rows = records["vertebrae"]
        found = lambda group: [(recall, precision) for recall, precision, _ in figures.precision_recall(with_missed(group))]
        body += ["<h2>Vertebrae</h2>", table(scores["vertebrae"]["strata"]),
                 curves("Precision and recall of vertebrae", found, "recall", "precision", rows),
                 curves("Do the scores mean what they say?", lambda group: reliability(figures.scored_vertebrae(group)),
                        "score", "share that is right", rows, diagonal=True)]
    if records["findings"]:
        rows = records["findings"]
        found = lambda group: [(recall, precision) for recall, precision, _ in
                               figures.precision_recall(figures.scored_endplates(group))]
        body += ["<h2>Schmorl's nodes</h2>", table(scores["findings"]["strata"])]
        if scores["findings"]["groups"]:
            body += ["<h3>By painter</h3>", table(scores["findings"]["groups"])]
        body += [curves("Precision and recall of endplates with a node", found, "recall", "precision", rows),
                 curves("Free response: nodes localised", figures.free_response, "false findings per series",
                        "share localised", rows, across_end=2.0),
                 curves("Do the probabilities mean what they say?",
                        lambda group: reliability(figures.scored_endplates(group)), "probability", "share with a node", rows,
                        diagonal=True)]
    if pictures:
        body += ["<h2>The worst cases</h2>", '<p class="soft">Green: truth. Orange: what was found.</p>', *pictures]
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
            f"<style>{STYLE}</style><body>" + "\n".join(body) + "</body></html>\n")


def with_missed(records):
    """Returns [(score, right)] of vertebrae; those that were missed have score 0."""
    return figures.scored_vertebrae(records) + [(0.0, True) for record in records for _ in record["missed"]]
