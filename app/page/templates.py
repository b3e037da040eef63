"""The static markup of the page's own drawings. Scripts fill the parts marked with `data-part`.

`[[key]]` stands for a text: `app.texts.filled` puts it there.
"""

_SIDEBAR_ICON = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><rect x="3.5" y="4.5" width="17" height="15" rx="2.5"/>{}</svg>'
)

HEADER = f"""
<div class="head">
  <button type="button" class="drawer" data-drawer="left" aria-label="[[common.conversations]]"
    title="[[common.conversations]]" aria-controls="left">{_SIDEBAR_ICON.format('<path d="M9.5 4.5v15"/>')}</button>
  <h1 data-part="title">[[common.new_chat]]</h1>
  <button type="button" class="model" data-models aria-haspopup="true"><span data-part="model">[[head.starting]]</span>
    <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M7 10l5 5 5-5"/></svg></button>
  <span class="where" data-part="where" role="status"></span>
  <span class="gap"></span>
  <div class="badge" data-part="badge" hidden>
    <button type="button" aria-describedby="badge-explanation"><span class="mark" aria-hidden="true"></span>
      <span data-part="badge-label"></span></button>
    <div class="explain" id="badge-explanation" role="tooltip" data-part="badge-text"></div>
  </div>
  <button type="button" class="drawer" data-drawer="right" aria-label="[[head.meters_and_settings]]"
    title="[[head.meters_and_settings]]"
    aria-controls="right">{_SIDEBAR_ICON.format('<path d="M14.5 4.5v15"/>')}</button>
</div>
<p class="private-sign" data-part="private" role="status" hidden></p>
<div class="notices" data-part="notices" role="status"></div>
"""

LIVE = """
<div class="line">
  <span class="dot" aria-hidden="true"></span>
  <span class="sentence" data-part="sentence" role="status" aria-live="off">[[live.starting]]</span>
  <span class="track" data-part="progress" hidden><i></i></span>
  <span class="figure" data-part="speed"></span>
  <span class="figure" data-part="speedup"></span>
  <span class="loop" data-part="loop" hidden>
    <button type="button" data-part="loop-again" title="[[live.answer_again_tip]]">[[live.answer_again]]</button>
  </span>
</div>
"""

METERS = """
<section class="meters" aria-label="[[meters.label]]">
  <div class="meter" title="[[meters.speed_tip]]"><b data-part="speed">–</b><span>[[meters.speed]]</span></div>
  <div class="meter lead" title="[[meters.speedup_tip]]"><b data-part="speedup">–</b>
    <span data-part="speedup_note">[[meters.speedup]]</span></div>
  <div class="meter small" title="[[meters.per_round_tip]]"><b data-part="per_round">–</b>
    <span data-part="per_round_note">[[meters.per_round]]</span></div>
  <div class="meter small" title="[[meters.draft_tip]]"><b data-part="draft">–</b>
    <span data-part="draft_note">[[meters.draft]]</span></div>
  <figure>
    <canvas data-part="plot" role="img" aria-label="[[meters.no_rounds]]"></canvas>
    <div class="plot-empty" data-part="plot-empty">[[meters.plot_empty_1]]<br>[[meters.plot_empty_2]]</div>
    <figcaption><span><i class="key accepted"></i>[[meters.guessed_right]]</span>
      <span><i class="key drafted"></i>[[meters.guessed]]</span>
      <span class="newest">[[meters.newest]]</span></figcaption>
  </figure>
  <p class="served" data-part="served" hidden></p>
  <div class="context" data-part="context-row" title="[[meters.context_tip]]" hidden>
    <span data-part="context"></span><span class="track"><i data-part="context-bar"></i></span></div>
  <div class="memory" data-part="memory-row" hidden><span data-part="memory"></span></div>
  <div class="insights" role="group" aria-label="[[meters.look_into]]">
    <button type="button" data-part="show-origins" aria-pressed="false"
      title="[[origins.tip]]">[[origins.title]]</button>
    <button type="button" data-panel="report" aria-haspopup="dialog"
      title="[[report.tip]]">[[report.title]]</button>
    <button type="button" data-panel="memory-view" aria-haspopup="dialog"
      title="[[memory.tip]]">[[memory.title]]</button>
  </div>
</section>
"""

CONVERSATIONS = """
<nav aria-label="[[common.conversations]]">
  <div class="trash-head" data-part="trash-head" hidden>
    <button type="button" data-part="trash-back">[[list.back]]</button>
    <button type="button" data-part="trash-empty">[[list.empty_trash]]</button>
  </div>
  <div class="shelves" data-part="shelves" role="group" aria-label="[[list.narrow]]">
    <span data-part="labels"></span>
    <button type="button" class="choose" data-part="choose" aria-pressed="false" hidden
      title="[[list.select_tip]]">[[list.select]]</button>
  </div>
  <div class="chosen-bar" data-part="chosen" role="group" aria-label="[[list.chosen]]" hidden>
    <p><b data-part="number" role="status"></b><button type="button" data-act="all">[[list.all]]</button>
      <button type="button" data-act="done">[[list.done]]</button></p>
    <p><button type="button" data-act="pin">[[list.pin]]</button>
      <button type="button" data-act="archive">[[list.archive]]</button>
      <button type="button" data-act="label" aria-expanded="false">[[list.label]]</button>
      <button type="button" data-act="export" aria-expanded="false">[[list.export]]</button>
      <button type="button" data-act="delete">[[list.delete]]</button></p>
    <div data-part="label-panel" hidden>
      <span data-part="label-list"></span>
      <input type="text" maxlength="40" placeholder="[[list.new_label_hint]]" aria-label="[[list.new_label]]"
        data-part="label-name">
    </div>
    <div data-part="export-panel" hidden>
      <a data-kind="md" download>[[common.markdown]]</a><a data-kind="html" download>[[common.web_page]]</a>
      <a data-kind="json" download>[[common.json]]</a>
    </div>
  </div>
  <div data-part="list"></div>
  <div class="undo" data-part="undo" role="status" hidden><span></span>
    <button type="button" data-part="undo-do">[[list.undo]]</button>
    <button type="button" data-part="undo-close" aria-label="[[page.dismiss]]">×</button></div>
</nav>
"""

FILES = """
<div class="files">
  <p class="export" data-part="one" hidden><span>[[files.export_chat]]</span>
    <a data-part="md" download>[[common.markdown]]</a><a data-part="html" download>[[common.web_page]]</a>
    <a data-part="json" download>[[common.json]]</a></p>
  <p class="export"><span>[[files.export_all]]</span>
    <a href="/export/all.md" download>[[common.markdown]]</a><a href="/export/all.html" download>[[common.web_page]]</a>
    <a href="/export/all.json" download>[[common.json]]</a></p>
  <button type="button" data-part="import">[[files.import]]</button>
  <button type="button" data-part="trash">[[files.trash]]</button>
  <button type="button" data-part="notify" aria-pressed="false"
    title="[[files.notify_tip]]">[[files.notify]]</button>
  <input type="file" accept=".json,.jsonl,.zip" multiple data-part="file" aria-label="[[files.to_import]]" hidden>
  <p data-part="answer" role="status" hidden></p>
  <div class="themes" role="group" aria-label="[[files.colours]]">
    <button type="button" data-theme="system">[[files.system]]</button>
    <button type="button" data-theme="light">[[files.light]]</button>
    <button type="button" data-theme="dark">[[files.dark]]</button>
  </div>
</div>
"""

ATTACHMENTS = """
<div class="attachments">
  <ul data-part="list" aria-label="[[box.attachments]]" hidden></ul>
  <p data-part="line" role="status" hidden></p>
  <p data-part="refusals" role="status" hidden></p>
  <input type="file" multiple data-part="file" aria-label="[[box.to_attach]]" hidden>
</div>
"""

ATTACH = """
<button type="button" class="attach" aria-label="[[box.attach]]" title="[[box.attach_tip]]">
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


def _lane(name: str) -> str:
    return f"""
  <section class="lane" data-lane="{name}" aria-label="[[compare.{name}]]">
    <header><h3>[[compare.{name}]]</h3><span class="clock" data-part="clock"></span></header>
    <div class="lane-speed"><b data-part="speed">–</b><span>[[compare.speed]]</span></div>
    <div class="track"><i data-part="bar"></i></div>
    <div class="lane-detail"><span data-part="count"></span><span data-part="detail"></span></div>
    <div class="answer" data-part="text" tabindex="0" role="region" aria-label="[[compare.{name}_answer]]"></div>
  </section>"""


COMPARE = f"""
<div class="compare">
  <header class="compare-head">
    <h2>[[box.compare]]</h2><p data-part="status" role="status"></p>
    <button type="button" id="compare-close" data-part="close">[[compare.back]]</button>
  </header>
  <p class="compare-prompt" data-part="prompt"></p>
  <div class="card" data-part="card" hidden>
    <b data-part="card-ratio"></b>
    <div><p data-part="card-speeds"></p><p data-part="card-verdict"></p><p data-part="card-detail"></p></div>
  </div>
  <div class="lanes" data-part="lanes">{_lane("plain")}{_lane("adaptive")}
  </div>
</div>
"""
