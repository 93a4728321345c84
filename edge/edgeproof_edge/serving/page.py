"""The page that shows the model and takes a picture to try it: one file, nothing from outside, for desktop and phone."""

from __future__ import annotations

from html import escape

from edgeproof_edge.agent.loop import Agent

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 500; padding: .2rem 1rem .2rem 0; white-space: nowrap; vertical-align: top; opacity: .75; }
td { padding: .2rem 0; overflow-wrap: anywhere; }
form { margin: 1.5rem 0; padding: 1rem; border: 1px solid color-mix(in srgb, currentColor 25%, transparent); border-radius: .5rem; }
img { max-width: 100%; max-height: 16rem; display: block; margin: 1rem 0; }
.bar { height: .5rem; background: #2a7; border-radius: .25rem; min-width: 2px; }
.problem { color: #c33; }
"""

_SCRIPT = """
const form = document.getElementById('try'), answer = document.getElementById('answer');
const cell = (row, text) => row.insertCell().append(text);
form.addEventListener('submit', async event => {
  event.preventDefault();
  const file = form.elements.picture.files[0];
  if (!file) return;
  answer.replaceChildren();
  const shown = document.createElement('img');
  shown.src = URL.createObjectURL(file); shown.alt = 'the picture';
  answer.append(shown);
  const reply = await fetch('v1/predict', {method: 'POST', body: file, headers: {'Content-Type': 'application/octet-stream'}});
  const content = await reply.json();
  const said = document.createElement('p');
  if (!reply.ok) { said.className = 'problem'; said.textContent = content.error; answer.append(said); return; }
  const first = content.answers[0];
  said.textContent = first.label === null ? first.value : `${first.label} (${(100 * first.confidence).toFixed(1)} %)`;
  answer.append(said);
  const table = document.createElement('table');
  const scores = first.top.map(one => one.score), low = Math.min(0, ...scores), high = Math.max(...scores);
  for (const one of first.top) {
    const row = table.insertRow(), bar = document.createElement('div');
    bar.className = 'bar'; bar.style.width = `${100 * (one.score - low) / (high - low || 1)}%`;
    cell(row, one.label); cell(row, one.score.toPrecision(4)); cell(row, bar);
    row.cells[2].style.width = '50%';
  }
  answer.append(table);
});
"""


def page(agent: Agent) -> str:
    """The page as HTML."""
    if agent.live is None:
        body = "<h1>No model yet</h1><p>This device waits for its first release.</p>"
        return _document("No model yet", body)
    model = agent.live.model
    manifest, delegation = model.manifest, model.delegation
    fraction = "unknown" if delegation.fraction is None else f"{delegation.fraction:.0%} of the operators"
    verdict = manifest.verdict
    facts = {
        "release": f"{model.version} of {manifest.created}",
        "device": agent.enrollment.device_id,
        "channel": f"{agent.enrollment.channel} of {agent.enrollment.url}",
        "quantized": manifest.recipe,
        "judged on": f"{verdict.num_examples:,} examples; metric {verdict.metric}",
        "runs on": f"{model.runtime}, {delegation.delegate}: {fraction}",
        "inputs": ", ".join(f"{spec.name} {list(spec.shape)} {spec.dtype}" for spec in model.inputs),
        "classes": ", ".join(manifest.labels[:20]) + (" ..." if len(manifest.labels) > 20 else ""),
        "latency": _latency(model.latency.percentile(0.5), model.latency.percentile(0.99)),
    }
    rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in facts.items() if value)
    warning = f'<p class="problem">{escape(delegation.warning)}</p>' if delegation.warning else ""
    form = (
        '<form id="try"><label>Try a picture: <input type="file" name="picture" accept="image/*"></label> '
        '<button>Ask</button><div id="answer" aria-live="polite"></div></form>'
        f"<script>{_SCRIPT}</script>"
        if model.takes_pictures
        else "<p>This model takes no pictures: send arrays to <code>POST /v1/predict</code>.</p>"
    )
    links = '<p><a href="healthz">health</a> · <a href="metrics">metrics</a> · <a href="v1/model">model</a></p>'
    return _document(
        f"{manifest.model_name} {model.version}",
        f"<h1>{escape(manifest.model_name)}</h1>{warning}<table>{rows}</table>{form}{links}",
    )


def _latency(middle: float | None, slowest: float | None) -> str:
    if middle is None or slowest is None:
        return "nothing asked yet"
    return f"about {middle:.3g} ms (p50), {slowest:.3g} ms (p99)"


def _document(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title><style>{_STYLE}</style></head>'
        f"<body>{body}</body></html>"
    )
