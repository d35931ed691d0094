//! The style sheet of the page.

/// Colors are legible in the light and the dark scheme, and to color-blind readers.
pub(super) const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b1e23; --soft: #5b6470; --ground: #ffffff;
  --rule: #d9dde3; --shade: #f4f6f8; --g0: #1f6fb4; --g1: #c2620c; --g2: #2a8250; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --soft: #9aa4b0;
  --ground: #14171b; --rule: #333a43; --shade: #1d2127; --g0: #6bb1f0; --g1: #f0a050;
  --g2: #66c791; } }
body { margin: 2rem auto; padding: 0 1.2rem; max-width: 80rem; background: var(--ground);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; }
dt, p, caption { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
code, td:first-child { font-family: ui-monospace, 'DejaVu Sans Mono', monospace; font-size: .9em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .8rem; white-space: nowrap; }
caption { text-align: left; }
th, td { text-align: left; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--rule);
  font-variant-numeric: tabular-nums; }
tbody tr:hover { background: var(--shade); }
svg { display: block; width: 100%; min-width: 40rem; max-width: 60rem; }
text { fill: var(--ink); font: 12px ui-monospace, 'DejaVu Sans Mono', monospace; }
.tick, .axis { fill: var(--soft); } .middle { text-anchor: middle; } .end { text-anchor: end; }
.label { paint-order: stroke; stroke: var(--ground); stroke-width: 3px; }
line { stroke: var(--rule); } .whisker { stroke-width: 2; } .thin { stroke-width: 1; opacity: .55; }
.path { stroke: var(--g0); stroke-width: 2; stroke-dasharray: 5 4; opacity: .6; }
.leader { stroke: var(--soft); }
.g0 { stroke: var(--g0); fill: var(--g0); } .g1 { stroke: var(--g1); fill: var(--g1); }
.g2 { stroke: var(--g2); fill: var(--g2); }
";
