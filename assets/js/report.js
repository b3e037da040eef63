// The speed report: figures, bars, one answer's rounds as an animation, and a picture to share, which is made here.
(() => {
  const { node, button } = window.slipstream;
  const SVG = "http://www.w3.org/2000/svg";
  let told = null, stop = () => {};

  function figure(value, words, gains) {
    const made = node("div", "figure", node("b", "", value), node("span", "", words));
    if (gains) made.dataset.gains = "yes";
    return made;
  }

  function section(title, ...content) {
    return node("section", "", node("h3", "", title), ...content);
  }

  // Bars as a table: readable without the picture.
  function bars(caption, head, rows) {
    const table = node("table", "bars", node("caption", "", caption));
    const heading = node("tr");
    for (const words of head) {
      const cell = node("th", "", words);
      cell.scope = "col";
      heading.append(cell);
    }
    table.append(node("thead", "", heading));
    const body = node("tbody");
    for (const { name, percent, rest, kind } of rows) {
      const first = node("th", "", kind ? node("span", `from-${kind}`, name) : name);
      first.scope = "row";
      const fill = node("i");
      fill.style.width = `${percent}%`;
      const bar = node("span", "bar", fill);
      bar.setAttribute("aria-hidden", "true");
      body.append(node("tr", "", first, node("td", "", bar, ` ${percent} %`), ...rest.map((words) => node("td", "", words))));
    }
    table.append(body);
    return table;
  }

  const answers = (count) => tr("count.answers", { count });
  const rounds = (count) => tr("count.rounds", { count });

  function draw(body) {
    stop();
    body.replaceChildren();
    if (told.failure) { body.append(node("p", "bad", told.failure)); return; }
    if (!told.answers) {
      body.append(node("p", "", tr("report.none")));
    } else {
      const { speed, saved, gained, per_round: perRound } = told;
      body.append(
        node("div", "figures",
          figure(speed.words, tr("report.speeds", { adaptive: told.tokens_per_s, plain: told.plain_per_s }), speed.gains),
          figure(saved.words, tr("report.over", { answers: answers(told.answers) })),
          figure(tr("count.words", { count: gained.words }), tr("report.no_round_of_their_own", { tokens: tr("count.tokens", { count: gained.tokens }) })),
          figure(decimal(perRound, 2), tr("report.tokens_a_round"))),
        node("p", "how", told.against),
        section(tr("report.when"), node("p", "", told.even.words)));
      if (told.positions.length) {
        body.append(section(tr("report.how_far"), bars(
          tr("report.how_far_caption"),
          [tr("report.guessed_tokens"), tr("report.right"), tr("report.rounds")],
          told.positions.map((p) => ({ name: p.at === 10 ? tr("report.ten_and_more") : String(p.at), percent: p.percent, rest: [decimal(p.rounds, 0)] })))));
      }
      if (told.sources.listed.length) {
        body.append(section(tr("report.where"), bars(
          tr("report.where_caption", { answers: answers(told.sources.answers) }),
          [tr("report.source"), tr("report.right"), tr("report.tokens"), tr("report.in_a_row")],
          told.sources.listed.map((s) => ({ name: s.words, percent: s.percent, kind: s.kind, rest: [decimal(s.tokens, 0), decimal(s.in_a_row, Number.isInteger(s.in_a_row) ? 0 : 1)] })))));
      }
      body.append(section(tr("report.where_paused"), ...pauses(told.pauses)));
    }
    if (told.left?.length) body.append(node("p", "how", tr("report.not_in", { what: told.left.join("; ") })));
    if (told.older) body.append(node("p", "how", tr("report.older", { count: told.older })));
    if (told.replays?.length) body.append(section(tr("report.watch"), replay()));
    if (told.answers) body.append(section(tr("report.picture"), share()));
  }

  function pauses({ percent, why, longest }) {
    const parts = [node("p", "", percent ? tr("report.no_guess", { percent }) : tr("report.every_round"))];
    const reasons = why.map(({ words, steps }) => tr("report.reason", { why: words, rounds: rounds(steps) })).join("; ");
    if (reasons) parts.push(node("p", "", tr("report.why", { reasons })));
    if (longest.length) {
      parts.push(node("ul", "", ...longest.map(({ steps, where, why: said }) => node("li", "", tr("report.pause", { rounds: rounds(steps), where, why: said })))));
    }
    return parts;
  }

  const numbers = (text) => (text ? text.split(",").map(Number) : []);

  // Two lanes under one clock. A round lasts as long as the answer's mean round did.
  function replay() {
    const pick = node("select");
    pick.setAttribute("aria-label", tr("report.answer"));
    told.replays.forEach((each, at) => pick.append(new Option(each.name, String(at))));
    const canvas = node("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", tr("report.rounds_label"));
    const play = button(tr("report.play"), () => (timer ? pause() : start()));
    const seek = node("input");
    seek.type = "range";
    seek.min = 0;
    seek.max = 1000;
    seek.value = 0;
    seek.setAttribute("aria-label", tr("report.time"));
    const plain = lane(tr("report.one_at_a_time")), fast = lane(tr("report.with_guesses"));
    const said = node("p", "how");
    let timer = null, last = 0, at = 0, data = null;

    function lane(name) {
      const bar = node("i"), count = node("span", "count", "");
      return { bar, count, box: node("div", "lane-row", node("span", "", name), node("span", "track", bar), count) };
    }

    function choose() {
      const chosen = told.replays[Number(pick.value)];
      data = { ...chosen, sizes: numbers(chosen.sizes), lengths: numbers(chosen.lengths) };
      data.total = Math.max(data.seconds, data.plain_seconds) || 1;
      data.rate = data.total > 20 ? data.total / 20 : data.total < 3 ? data.total / 3 : 1;  // seconds of it in one of ours
      const { verdict, rate } = data;
      if (rate === 1) said.textContent = tr("report.own_time", { verdict });
      else if (rate > 1) said.textContent = tr("report.faster", { verdict, rate: decimal(rate, 1) });
      else said.textContent = tr("report.slower", { verdict, rate: decimal(1 / rate, 1) });
      set(0);
    }

    function set(seconds) {
      at = Math.min(seconds, data.total);
      seek.value = Math.round(1000 * at / data.total);
      seek.setAttribute("aria-valuetext", tr("report.seconds_of", { at: decimal(at, 1), total: decimal(data.total, 1) }));
      const shown = Math.min(data.lengths.length, Math.floor(data.lengths.length * at / (data.seconds || 1)));
      let tokens = 0;
      for (let n = 0; n < shown; n++) tokens += data.lengths[n] + 1;
      tokens = Math.min(tokens, data.tokens);
      const alone = Math.min(data.tokens, Math.floor(data.tokens * at / (data.plain_seconds || 1)));
      fill(fast, tokens, Math.min(at, data.seconds));
      fill(plain, alone, Math.min(at, data.plain_seconds));
      plot(shown);
    }

    function fill({ bar, count }, tokens, seconds) {
      bar.style.width = `${100 * tokens / (data.tokens || 1)}%`;
      count.textContent = tr("report.lane", { tokens, time: decimal(seconds, seconds < 10 ? 2 : 1) });
    }

    function plot(shown) {
      const style = getComputedStyle(canvas), scale = window.devicePixelRatio || 1;
      const width = canvas.clientWidth, height = canvas.clientHeight;
      if (!width) return;
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
      const pen = canvas.getContext("2d");
      pen.scale(scale, scale);
      const step = 6, room = Math.floor(width / step), from = Math.max(0, shown - room);
      const unit = (height - 6) / Math.max(4, ...data.sizes.slice(from, shown));
      for (let n = from; n < shown; n++) {
        const x = (n - from) * step + 1, size = data.sizes[n] * unit, right = data.lengths[n] * unit;
        pen.strokeStyle = style.getPropertyValue("--draft");
        if (size) pen.strokeRect(x + 0.5, height - size - 0.5, 3, size);
        pen.fillStyle = style.getPropertyValue("--accent");
        pen.fillRect(x, height - Math.max(right, 1), 4, Math.max(right, 1));
      }
      canvas.setAttribute("aria-label", tr("report.shown_rounds", { shown, total: data.lengths.length }));
    }

    function start() {
      if (at >= data.total) set(0);
      last = performance.now();
      play.textContent = tr("report.pause_button");
      timer = setInterval(() => {
        const now = performance.now();
        set(at + (now - last) / 1000 * data.rate);
        last = now;
        if (at >= data.total) pause();
      }, 33);
    }

    function pause() {
      clearInterval(timer);
      timer = null;
      play.textContent = tr("report.play");
    }

    stop = pause;
    pick.addEventListener("change", () => { pause(); choose(); });
    seek.addEventListener("input", () => { pause(); set(data.total * seek.value / 1000); });
    requestAnimationFrame(choose);
    return node("div", "replay", pick, plain.box, fast.box, canvas, node("div", "acts", play, seek), said);
  }

  function today() {
    const now = new Date();
    return tr("dates.long", { day: now.getDate(), month: tr("dates.months").split(",")[now.getMonth()].trim(), year: String(now.getFullYear()) });
  }

  // The picture holds figures and the model's name, and no word of a conversation.
  function picture() {
    const svg = document.createElementNS(SVG, "svg");
    const add = (tag, attributes, text) => {
      const made = document.createElementNS(SVG, tag);
      for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
      if (text !== undefined) made.textContent = text;
      svg.append(made);
    };
    const ink = "#1b2625", soft = "#5f6f6d", accent = "#0f766e", font = "'IBM Plex Sans', system-ui, sans-serif";
    for (const [name, value] of Object.entries({ xmlns: SVG, viewBox: "0 0 1200 630", width: 1200, height: 630 })) svg.setAttribute(name, value);
    const write = (x, y, size, text, more = {}) => add("text", { x, y, "font-size": size, "font-family": font, fill: ink, ...more }, text);
    add("rect", { width: 1200, height: 630, fill: "#ffffff" });
    add("rect", { width: 14, height: 630, fill: accent });
    write(70, 92, 30, "Slipstream", { "font-weight": 700, fill: accent });
    write(70, 190, told.speed.words.length > 28 ? 56 : 76, told.speed.words, { "font-weight": 700, fill: told.speed.gains ? accent : ink });
    write(70, 236, 28, told.speed.gains ? tr("report.picture_gains") : tr("report.picture_same"), { fill: soft });
    const facts = [[told.saved.words, ""], [tr("count.words", { count: told.gained.words }), tr("report.guessed_right")], [decimal(told.per_round, 2), tr("report.picture_per_round")]];
    facts.forEach(([value, said], at) => {
      write(70, 320 + 78 * at, 40, value, { "font-weight": 700 });
      write(70, 348 + 78 * at, 22, said || tr("report.over", { answers: answers(told.answers) }), { fill: soft });
    });
    const left = 620, width = 500, floor = 530, tall = 210, step = width / 10;
    told.positions.forEach(({ at, percent }) => {
      const x = left + (at - 1) * step;
      add("rect", { x: x + 4, y: floor - tall, width: step - 8, height: tall, fill: "#0f766e14" });
      add("rect", { x: x + 4, y: floor - tall * percent / 100, width: step - 8, height: tall * percent / 100, fill: accent });
      write(x + step / 2, floor + 26, 18, at === 10 ? "10+" : String(at), { "text-anchor": "middle", fill: soft });
      write(x + step / 2, floor - tall * percent / 100 - 8, 15, `${percent}%`, { "text-anchor": "middle", fill: soft });
    });
    write(left, floor + 58, 20, tr("report.picture_bars"), { fill: soft });
    write(70, 590, 20, `${told.models.join(", ").slice(0, 70)} · ${today()}`, { fill: soft });
    return new XMLSerializer().serializeToString(svg);
  }

  function save(blob, name) {
    const link = node("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  function share() {
    const drawn = new Blob([picture()], { type: "image/svg+xml" });
    const image = node("img");
    image.src = URL.createObjectURL(drawn);
    image.alt = tr("report.picture_alt", { speed: told.speed.words, saved: told.saved.words, per_round: decimal(told.per_round, 2) });
    const png = () => {
      const canvas = document.createElement("canvas");
      canvas.width = 1200;
      canvas.height = 630;
      canvas.getContext("2d").drawImage(image, 0, 0, 1200, 630);
      canvas.toBlob((blob) => save(blob, "slipstream-speed.png"), "image/png");
    };
    return node("div", "share", image, node("div", "acts",
      button(tr("report.save_png"), png), button(tr("report.save_svg"), () => save(drawn, "slipstream-speed.svg")),
      node("span", "how", tr("report.made_here"))));
  }

  window.slipstream.panel("report", tr("report.title"), async (body, all) => {
    stop();
    body.replaceChildren(node("p", "how", tr("report.adding_up")));
    told = await window.slipstream.ask(`/report/${all ? 0 : window.slipstream.conversation}`);
    draw(body);
  });
  document.addEventListener("panel-closed", () => stop());
})();
