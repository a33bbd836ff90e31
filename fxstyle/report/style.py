"""The page's style sheet: one column, calm, the same in light, dark and on paper."""

CSS = """
:root { color-scheme: light dark;
  --paper: #fcfbf9; --ink: #1c1e21; --soft: #666b73; --rule: #dcd9d3; --panel: #f3f1ed;
  --input: #8b8f97; --output: #1d5fd1; --reference: #c4510a;
  --t0: #8a4fbf; --t1: #1a8a6d; --t2: #b0781a; --t3: #c43d6b; --t4: #4a7d9c; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #17191c; --ink: #e9e7e3; --soft: #9ba1aa; --rule: #34383e; --panel: #202327;
  --input: #8f959e; --output: #74a9ff; --reference: #ff9a57;
  --t0: #c39bf0; --t1: #57c9a8; --t2: #e3b45c; --t3: #f088ac; --t4: #8dbfdd; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 58rem; padding: 2.5rem 1.5rem 4rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: .2rem 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.6rem 0 .3rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .2rem; }
p { margin: .3rem 0 .8rem; }
.kind, .soft { color: var(--soft); }
.kind { margin: 0; font-size: .85rem; letter-spacing: .06em; text-transform: uppercase; }
.verdict { font-size: 1.15rem; margin: .8rem 0 1.2rem; }
.verdict::before { content: "\\2713"; font-weight: 700; color: var(--t1); margin-right: .5em; }
.verdict.none::before { content: "="; color: var(--reference); }
.panel { background: var(--panel); border-radius: 8px; padding: 1rem 1.2rem; }
.meter { display: grid; grid-template-columns: 4.5rem 1fr 5.5rem; gap: .35rem .8rem; align-items: center; }
.meter div { height: .8rem; border-radius: 3px; }
.meter .input { background: var(--input); } .meter .output { background: var(--output); }
.meter span:nth-child(3n) { text-align: right; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .94rem; }
th, td { text-align: left; padding: .32rem .6rem .32rem 0; border-bottom: 1px solid var(--rule);
  vertical-align: baseline; }
th { font-weight: 600; } thead th { color: var(--soft); font-weight: 500; font-size: .85rem; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.soft { font-size: .85rem; }
td.range { width: 26%; padding-left: .8rem; vertical-align: middle; }
code, pre { font: .9em/1.45 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
pre { background: var(--panel); padding: .8rem 1rem; border-radius: 6px; overflow-x: auto; }
.bar { position: relative; height: .55rem; border-radius: 3px; background: var(--rule); }
.bar i { position: absolute; top: -3px; bottom: -3px; width: 2px; background: var(--soft); }
.bar b { position: absolute; top: -3px; width: .9rem; height: .9rem; margin-left: -.45rem;
  border-radius: 50%; background: var(--output); border: 2px solid var(--paper); }
.bar s { position: absolute; top: 0; bottom: 0; border-radius: 3px; background: var(--output); opacity: .55; }
.bar s.unsure { opacity: .22; }
details { margin: .5rem 0; } summary { cursor: pointer; color: var(--soft); }
figure { margin: .4rem 0 0; }
figcaption { color: var(--soft); font-size: .88rem; }
svg.plot { width: 100%; height: auto; display: block; }
svg text { font: 12px system-ui, sans-serif; fill: var(--soft); }
svg .grid { stroke: var(--rule); stroke-width: 1; } svg .zero { stroke: var(--soft); }
svg .mark { stroke: var(--soft); stroke-dasharray: 2 3; }
svg .curve { fill: none; stroke-width: 2.2; stroke-linejoin: round; }
.input { stroke: var(--input); } svg .curve.input { stroke-dasharray: 2 4; stroke-linecap: round; }
.output { stroke: var(--output); } .reference { stroke: var(--reference); }
svg .curve.reference { stroke-dasharray: 9 4; }
svg .term0 { stroke: var(--t0); } svg .term1 { stroke: var(--t1); } svg .term2 { stroke: var(--t2); }
svg .term3 { stroke: var(--t3); } svg .term4 { stroke: var(--t4); }
svg [class*=" term"] { stroke-width: 1.4; }
@media print { body { max-width: none; padding: 0; font-size: 11pt; }
  h2 { break-after: avoid; } figure, tr, .panel { break-inside: avoid; }
  .bar, .bar b, .meter div { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
