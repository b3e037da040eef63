"""The static markup of the page's own drawings. Scripts fill the parts marked with `data-part`."""

from app.view import words

_SIDEBAR_ICON = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><rect x="3.5" y="4.5" width="17" height="15" rx="2.5"/>{}</svg>'
)

HEADER = f"""
<div class="head">
  <button type="button" class="drawer" data-drawer="left" aria-label="Conversations" title="Conversations"
    aria-controls="left">{_SIDEBAR_ICON.format('<path d="M9.5 4.5v15"/>')}</button>
  <h1 data-part="title">New chat</h1>
  <button type="button" class="model" data-models aria-haspopup="true"><span data-part="model">starting</span>
    <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M7 10l5 5 5-5"/></svg></button>
  <span class="where" data-part="where" role="status"></span>
  <span class="gap"></span>
  <div class="badge" data-part="badge" hidden>
    <button type="button" aria-describedby="badge-explanation"><span class="mark" aria-hidden="true"></span>
      <span data-part="badge-label"></span></button>
    <div class="explain" id="badge-explanation" role="tooltip" data-part="badge-text"></div>
  </div>
  <button type="button" class="drawer" data-drawer="right" aria-label="Meters and settings" title="Meters and settings"
    aria-controls="right">{_SIDEBAR_ICON.format('<path d="M14.5 4.5v15"/>')}</button>
</div>
<p class="private-sign" data-part="private" role="status" hidden></p>
<div class="notices" data-part="notices" role="status"></div>
"""

LIVE = """
<div class="line">
  <span class="dot" aria-hidden="true"></span>
  <span class="sentence" data-part="sentence" role="status" aria-live="off">Starting</span>
  <span class="track" data-part="progress" hidden><i></i></span>
  <span class="figure" data-part="speed"></span>
  <span class="figure" data-part="speedup"></span>
  <span class="loop" data-part="loop" hidden>
    <button type="button" data-part="loop-stop">Stop</button>
    <button type="button" data-part="loop-again" title="Answer again with a repetition penalty">Answer again</button>
  </span>
</div>
"""

METERS = f"""
<section class="meters" aria-label="Meters">
  <div class="meter" title="{words.SPEED_TIP}"><b data-part="speed">–</b><span>{words.SPEED}</span></div>
  <div class="meter lead" title="{words.SPEEDUP_TIP}"><b data-part="speedup">–</b>
    <span data-part="speedup_note">{words.SPEEDUP}</span></div>
  <div class="meter small" title="{words.PER_ROUND_TIP}"><b data-part="per_round">–</b>
    <span data-part="per_round_note">{words.PER_ROUND}</span></div>
  <div class="meter small" title="{words.DRAFT_TIP}"><b data-part="draft">–</b>
    <span data-part="draft_note">{words.DRAFT}</span></div>
  <figure>
    <canvas data-part="plot" role="img" aria-label="No rounds yet"></canvas>
    <div class="plot-empty" data-part="plot-empty">Each round of an answer<br>draws one bar here.</div>
    <figcaption><span><i class="key accepted"></i>guessed right</span><span><i class="key drafted"></i>guessed</span>
      <span class="newest">newest on the right</span></figcaption>
  </figure>
  <p class="served" data-part="served" hidden></p>
  <div class="context" data-part="context-row" title="{words.CONTEXT_TIP}" hidden>
    <span data-part="context"></span><span class="track"><i data-part="context-bar"></i></span></div>
  <div class="memory" data-part="memory-row" hidden><span data-part="memory"></span></div>
  <div class="insights" role="group" aria-label="Look into it">
    <button type="button" data-part="show-origins" aria-pressed="false"
      title="{words.ORIGINS_TIP}">{words.ORIGINS}</button>
    <button type="button" data-panel="report" aria-haspopup="dialog"
      title="{words.REPORT_TIP}">{words.REPORT}</button>
    <button type="button" data-panel="memory-view" aria-haspopup="dialog"
      title="{words.MEMORY_TIP}">{words.MEMORY}</button>
  </div>
</section>
"""

CONVERSATIONS = """
<nav aria-label="Conversations">
  <div class="trash-head" data-part="trash-head" hidden>
    <button type="button" data-part="trash-back">‹ Back</button>
    <button type="button" data-part="trash-empty">Empty the trash</button>
  </div>
  <div class="shelves" data-part="shelves" role="group" aria-label="Narrow the list">
    <span data-part="labels"></span>
    <button type="button" class="choose" data-part="choose" aria-pressed="false" hidden
      title="Choose several chats: also Ctrl+click, Shift+click, or X in the list">Select</button>
  </div>
  <div class="chosen-bar" data-part="chosen" role="group" aria-label="Chosen chats" hidden>
    <p><b data-part="number" role="status"></b><button type="button" data-act="all">All</button>
      <button type="button" data-act="done">Done</button></p>
    <p><button type="button" data-act="pin">Pin</button><button type="button" data-act="archive">Archive</button>
      <button type="button" data-act="label" aria-expanded="false">Label</button>
      <button type="button" data-act="export" aria-expanded="false">Export</button>
      <button type="button" data-act="delete">Delete</button></p>
    <div data-part="label-panel" hidden>
      <span data-part="label-list"></span>
      <input type="text" maxlength="40" placeholder="New label, then Enter" aria-label="New label"
        data-part="label-name">
    </div>
    <div data-part="export-panel" hidden>
      <a data-kind="md" download>Markdown</a><a data-kind="html" download>Web page</a>
      <a data-kind="json" download>JSON</a>
    </div>
  </div>
  <div data-part="list"></div>
  <div class="undo" data-part="undo" role="status" hidden><span></span><button type="button">Undo</button></div>
</nav>
"""

FILES = """
<div class="files">
  <p class="export" data-part="one" hidden><span>Export chat</span>
    <a data-part="md" download>Markdown</a><a data-part="html" download>Web page</a>
    <a data-part="json" download>JSON</a></p>
  <p class="export"><span>Export all</span>
    <a href="/export/all.md" download>Markdown</a><a href="/export/all.html" download>Web page</a>
    <a href="/export/all.json" download>JSON</a></p>
  <button type="button" data-part="import">Import</button>
  <button type="button" data-part="trash">Trash</button>
  <button type="button" data-part="notify" aria-pressed="false"
    title="A notification when an answer that took long has ended while this page is out of sight">Notify me</button>
  <input type="file" accept=".json,.jsonl,.zip" multiple data-part="file" aria-label="Files to import" hidden>
  <p data-part="answer" role="status" hidden></p>
  <div class="themes" role="group" aria-label="Colours">
    <button type="button" data-theme="system">System</button>
    <button type="button" data-theme="light">Light</button>
    <button type="button" data-theme="dark">Dark</button>
  </div>
</div>
"""

ATTACHMENTS = """
<div class="attachments">
  <ul data-part="list" aria-label="Attachments" hidden></ul>
  <p data-part="line" role="status" hidden></p>
  <p data-part="refusals" role="status" hidden></p>
  <input type="file" multiple data-part="file" aria-label="Files to attach" hidden>
</div>
"""

ATTACH = """
<button type="button" class="attach" aria-label="Attach files" title="Attach text, code, PDF or Word files">
  <svg viewBox="0 0 24 24" aria-hidden="true"><path
    d="M19 11.5l-7.6 7.6a4.6 4.6 0 0 1-6.5-6.5l8-8a3.1 3.1 0 0 1 4.4 4.4l-7.9 7.9a1.6 1.6 0 0 1-2.2-2.2l7-7"/></svg>
</button>
"""

SECTION = """
<button type="button" aria-expanded="false"><span>{title}</span>
  <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M7 10l5 5 5-5"/></svg></button>
"""

SAID = """
<p class="said" role="status" data-part="said" hidden></p>
"""

LOAD = """
<div class="load" data-part="root">
  <p data-part="sentence" role="status"></p>
  <div class="track" data-part="track" hidden><i></i></div>
  <p data-part="detail"></p>
</div>
"""

GET = """
<div class="load" data-part="root" hidden>
  <p data-part="sentence" role="status" aria-live="off"></p>
  <div class="track" data-part="track" hidden><i></i></div>
</div>
"""

OFFER_LINE = """
<div class="load" data-part="root">
  <p data-part="sentence" role="status"></p>
  <div class="track" data-part="track" hidden><i></i></div>
  <button type="button" data-part="button" hidden></button>
  <button type="button" data-part="second" hidden></button>
</div>
"""


def _lane(name: str, title: str) -> str:
    return f"""
  <section class="lane" data-lane="{name}" aria-label="{title}">
    <header><h3>{title}</h3><span class="clock" data-part="clock"></span></header>
    <div class="lane-speed"><b data-part="speed">–</b><span>tok/s</span></div>
    <div class="track"><i data-part="bar"></i></div>
    <div class="lane-detail"><span data-part="count"></span><span data-part="detail"></span></div>
    <div class="answer" data-part="text" tabindex="0" role="region" aria-label="{title}: answer"></div>
  </section>"""


COMPARE = f"""
<div class="compare">
  <header class="compare-head">
    <h2>Compare</h2><p data-part="status" role="status"></p>
    <button type="button" id="compare-close" data-part="close">Back to the conversation</button>
  </header>
  <p class="compare-prompt" data-part="prompt"></p>
  <div class="card" data-part="card" hidden>
    <b data-part="card-ratio"></b>
    <div><p data-part="card-speeds"></p><p data-part="card-verdict"></p><p data-part="card-detail"></p></div>
  </div>
  <div class="lanes" data-part="lanes">{_lane("plain", "Plain")}{_lane("adaptive", "With drafting")}
  </div>
</div>
"""
