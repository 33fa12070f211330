"""The Jinja2 template of the page; its content security policy forbids loading other resources."""

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{{ name }} · emotune</title>
<style>
:root { color-scheme: light dark; --ink: #1c2430; --paper: #fff; --soft: #f3f5f8; --line: #d9dee6;
  --dim: #5b6675; --accent: #0b6bcb; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --paper: #14181f; --soft: #1e242d;
  --line: #343c49; --dim: #9aa5b4; --accent: #6cb2ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .5rem; }
p { margin: .3rem 0 .8rem; max-width: 46rem; }
.dim { color: var(--dim); }
.facts { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.2rem 0; }
.facts div { background: var(--soft); border-radius: .5rem; padding: .5rem .9rem; }
.facts b { display: block; font-size: 1.15rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.facts span { color: var(--dim); font-size: .85rem; }
.wide { overflow-x: auto; width: fit-content; max-width: 100%;
  border: 1px solid var(--line); border-radius: .5rem; max-height: 34rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .8rem; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--line); }
td.text { white-space: normal; min-width: 20rem; overflow-wrap: anywhere; }
th { position: sticky; top: 0; background: var(--soft); font-weight: 600; }
.number { text-align: right; }
tr:last-child td { border-bottom: 0; }
tr.best td { color: var(--accent); font-weight: 600; }
figure { margin: 0; } svg { display: block; width: 100%; max-width: 48rem; height: auto; }
svg text { font-family: system-ui, sans-serif; }
pre { background: var(--soft); border-radius: .5rem; padding: .8rem 1rem; overflow-x: auto; }
summary { cursor: pointer; }
</style>
</head>
<body><main>
{% macro show(table, best=false) %}
<div class="wide"><table>
<thead><tr>{% for column in table.columns -%}
<th{% if column.number %} class="number"{% endif %}>{{ column.title }}</th>
{%- endfor %}</tr></thead>
<tbody>{% for row in table.rows %}
<tr{% if best and loop.first %} class="best"{% endif %}>{% for cell in row -%}
{%- set column = table.columns[loop.index0] -%}
<td{% if column.number %} class="number"{% elif cell|length > 60 %} class="text"{% endif %}>{{ cell }}</td>
{%- endfor %}</tr>{% endfor %}
</tbody></table></div>
{% if table.left_out %}<p class="dim">{{ table.left_out }} more rows are not shown.</p>{% endif %}
{% endmacro %}
<h1>{{ name }}</h1>
<p class="dim">A search with emotune, {{ state }}. Started {{ begun }} UTC, last record {{ last }} UTC.</p>
<div class="facts">{% for title, value in facts -%}
<div><b>{{ value }}</b><span>{{ title }}</span></div>
{%- endfor %}</div>

<h2>Best configuration</h2>
{% if warning %}<p><b>{{ warning }}</b></p>{% endif %}
{% if best %}
<p>Configuration {{ best.config_id }}: {{ metric }} {{ best_objective }} after {{ best.epochs }} epochs.
{{ direction }} is better; only the configurations trained longest are compared.</p>
{{ show(best_values) }}
{% else %}<p>No evaluation has a result yet.</p>{% endif %}

{% if scores.rows %}<h2>Held-out scores</h2>
<p class="dim">Metrics on test data, from the last epoch of each configuration that has them.</p>
{{ show(scores) }}{% endif %}

{% for title, text, svg in figures %}
<h2>{{ title }}</h2><p class="dim">{{ text }}</p><figure>{{ svg }}</figure>
{% endfor %}

<h2>Leaderboard</h2>
<p class="dim">One row per configuration, sorted by trained epochs, then by objective.</p>
{{ show(leaderboard, best=true) }}

{% if agreement.rows %}<h2>Rank correlation between rungs</h2>
<p class="dim">Spearman's rank correlation of the objectives at two rungs, over the configurations evaluated at both: 1
for equal orders, 0 for no relation. It is lower than among all configurations, because only the best are promoted.</p>
{{ show(agreement) }}{% endif %}

{% if rung_weights.rows %}<h2>Weight of each rung</h2>
<p class="dim">Weight of each rung in the choice of new configurations: 1 if it orders the configurations as the largest
budget does, 0 if the orders are unrelated.</p>
{{ show(rung_weights) }}{% endif %}

{% if failures.rows %}<h2>Failures</h2>{{ show(failures) }}{% endif %}

<h2>Study and versions</h2>
<details><summary>Study</summary><pre>{{ study }}</pre></details>
<details><summary>Versions</summary>{{ show(software) }}</details>
<p class="dim">Study digest {{ digest }}, seed {{ seed }}, concurrency {{ concurrency }}.
{%- if warm_start %} Warm start: the best configurations of {{ warm_start }}.{% endif %}
{%- if limits %} Extended to {{ limits }}.{% endif %}</p>
</main></body>
</html>
"""
