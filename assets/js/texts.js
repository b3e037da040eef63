// The page's words by key, in the language that was chosen: app/texts.py has the same for Python, and the file's format.
(() => {
  const { code, thousands, decimal, texts, english, plurals } = window.slipstreamTexts;

  // Gradio names the browser's language when it starts.
  const root = document.documentElement, name = () => { if (root.lang !== code) root.lang = code; };
  name();
  new MutationObserver(name).observe(root, { attributes: true, attributeFilter: ["lang"] });

  // A number with so many digits behind its point, as the language writes it.
  window.decimal = (value, digits) => {
    const [whole, rest] = value.toFixed(digits).split(".");
    return whole.replace(/\B(?=(\d{3})+$)/g, () => thousands) + (rest ? decimal + rest : "");
  };

  window.tr = (key, values = {}) => {
    const text = texts[key] ?? english[key], count = values.count;
    const named = !(key in texts) ? (count === 1 ? "one" : "other") : plurals[count < 200 ? count : 100 + count % 100];
    const form = typeof text === "string" ? text : text[named] ?? text.other;
    return form.replace(/\{(\w+)\}/g, (_, name) => {
      if (!(name in values)) throw new Error(`the text ${key} has no ${name}`);
      return Number.isInteger(values[name]) ? window.decimal(values[name], 0) : values[name];
    });
  };
})();
