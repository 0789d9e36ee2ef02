"use strict";
// Sorts and filters tables, pages through flows, switches the theme. Builds text nodes
// only: nothing from traffic is ever parsed as markup.
(() => {
  // On a phone a row is a card.
  const PAGE_ROWS = matchMedia("(max-width: 40rem)").matches ? 10 : 50;
  // Texts up to so many letters stay in one line.
  const WORD_LETTERS = 22;

  const element = (name, text, attributes = {}) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };

  // ---- theme -------------------------------------------------------------------------
  const themes = ["auto", "light", "dark"];
  const button = document.getElementById("theme");
  const setTheme = (theme) => {
    document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    const now = themes.indexOf(document.documentElement.dataset.theme);
    setTheme(themes[(now + 1) % themes.length]);
  });

  const grouped = new Intl.NumberFormat("en");

  // ---- what cells hold ---------------------------------------------------------------
  const scaled = (value, units, step) => {
    let at = 0;
    while (value >= step && at + 1 < units.length) {
      value /= step;
      at += 1;
    }
    return `${at === 0 ? value : value.toFixed(1)} ${units[at]}`;
  };
  const shown = {
    text: (value, data) => data.strings[value],
    number: (value) => grouped.format(value),
    port: (value) => String(value),
    bytes: (value) => scaled(value, ["B", "kB", "MB", "GB", "TB"], 1000),
    duration: (value) =>
      value < 1000 ? `${value} µs` : value < 1e6 ? `${(value / 1e3).toFixed(1)} ms` : `${(value / 1e6).toFixed(2)} s`,
    time: (value, data) => {
      const micros = String(((value % 1000) + 1000) % 1000).padStart(3, "0");
      const date = new Date(data.base_ms + Math.floor(value / 1000));
      return date.toISOString().replace("T", " ").replace("Z", micros);
    },
  };
  const DATE_LETTERS = "2026-03-02".length;
  const isNumber = (kind) => kind !== "text" && kind !== "time";

  // Every word must be somewhere in the row.
  const words = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);

  const compare = (x, y) => (x < y ? -1 : x > y ? 1 : 0);

  // ---- heads and filter of one table -------------------------------------------------
  // `view.sort(column, descending)` and `view.filter(words)` do the work.
  const controls = (box, view) => {
    const heads = [...box.querySelectorAll("thead th")];
    heads.forEach((head, column) => {
      const name = head.textContent;
      // For paper: a browser that repeats heads on each page leaves buttons out.
      head.dataset.name = name;
      const sorter = element("button", name, { type: "button" });
      head.replaceChildren(sorter);
      sorter.addEventListener("click", () => {
        // Numbers begin with the largest, texts with the first.
        const was = head.getAttribute("aria-sort");
        const descending = was ? was === "ascending" : head.classList.contains("n");
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        view.sort(column, descending);
      });
    });
    if (!box.hasAttribute("data-filter")) return;
    const bar = element("p", undefined, { class: "filter" });
    const name = box.querySelector("caption").textContent;
    const input = element("input", undefined, {
      type: "search", placeholder: "Filter", "aria-label": `Filter ${name}`, spellcheck: "false",
    });
    const count = element("output");
    bar.append(input, " ", count);
    box.prepend(bar);
    let waiting = 0;
    input.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => {
        const [found, all] = view.filter(words(input.value));
        count.textContent = input.value ? `${found.toLocaleString("en")} of ${all.toLocaleString("en")}` : "";
      }, 80);
    });
  };

  // ---- tables whose rows are there ---------------------------------------------------
  const staticTable = (box) => {
    const body = box.querySelector("tbody");
    const rows = [...body.rows];
    const key = (row, column) => {
      const cell = row.cells[column];
      const number = cell.dataset.sort;
      return number === undefined ? cell.textContent : Number(number);
    };
    let lower = null;
    controls(box, {
      sort: (column, descending) => {
        const sign = descending ? -1 : 1;
        rows.sort((x, y) => sign * compare(key(x, column), key(y, column)));
        body.append(...rows);
      },
      filter: (wanted) => {
        lower ??= new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
        let found = 0;
        for (const row of rows) {
          row.hidden = !wanted.every((word) => lower.get(row).includes(word));
          if (!row.hidden) found += 1;
        }
        return [found, rows.length];
      },
    });
  };

  // ---- tables whose rows are data ----------------------------------------------------
  const lazyTable = (box) => {
    const data = JSON.parse(document.getElementById(box.dataset.source).textContent);
    const head = box.querySelector("thead tr");
    for (const [name, kind] of data.columns) {
      head.append(element("th", name, { scope: "col", class: isNumber(kind) ? "n" : "" }));
    }
    const body = box.querySelector("tbody");
    const pages = box.querySelector(".pages");
    // The date of all, where it is one, stands in the caption: rows have little room.
    const starts = data.rows.map((row) => row[0]);
    const [first, last] = [starts.reduce((x, y) => Math.min(x, y)), starts.reduce((x, y) => Math.max(x, y))];
    const date = (start) => shown.time(start, data).slice(0, DATE_LETTERS);
    const isOneDay = date(first) === date(last);
    if (isOneDay) box.querySelector("caption").append(` of ${date(first)}`);
    const text = (row, column) => {
      const kind = data.columns[column][1];
      const whole = shown[kind](row[column], data);
      return kind === "time" && isOneDay ? whole.slice(DATE_LETTERS + 1) : whole;
    };
    const columnsOf = (wanted) => data.columns.flatMap(([, kind], column) => (kind === wanted ? [column] : []));
    const texts = columnsOf("text");
    const ports = columnsOf("port");
    const times = columnsOf("time");
    // Looked for are texts, ports and times as shown; counts are not. A text is looked at once
    // however many rows have it, and times only by what can be in one.
    let lower = null;
    let timeTexts = null;
    const finder = (word) => {
      lower ??= data.strings.map((string) => string.toLowerCase());
      const inText = Uint8Array.from(lower, (string) => (string.includes(word) ? 1 : 0));
      const inPort = /^\d{1,5}$/.test(word)
        ? Uint8Array.from({ length: 65536 }, (_, port) => (String(port).includes(word) ? 1 : 0))
        : null;
      const inTime = /^[\d:.-]+$/.test(word);
      if (inTime) timeTexts ??= times.map((column) => data.rows.map((row) => shown.time(row[column], data)));
      return (at) => {
        const row = data.rows[at];
        for (const column of texts) if (inText[row[column]]) return true;
        if (inPort) for (const column of ports) if (inPort[row[column]]) return true;
        return inTime && timeTexts.some((column) => column[at].includes(word));
      };
    };
    // A text's place in the order of all texts, so that any column is sorted by numbers.
    let places = null;
    const place = () => {
      const inOrder = data.strings.map((_, at) => at);
      inOrder.sort((x, y) => compare(data.strings[x], data.strings[y]));
      const found = new Uint32Array(inOrder.length);
      inOrder.forEach((at, position) => {
        found[at] = position;
      });
      return found;
    };
    let order = data.rows.map((_, at) => at);
    let visible = order;
    let wanted = [];
    let page = 0;

    const draw = () => {
      const rows = visible.slice(page * PAGE_ROWS, (page + 1) * PAGE_ROWS).map((at) => {
        const row = element("tr");
        data.columns.forEach(([name, kind], column) => {
          const attributes = { "data-head": name };
          const content = text(data.rows[at], column);
          if (isNumber(kind)) attributes.class = "n";
          else if (kind === "time" || content.length <= WORD_LETTERS) attributes.class = "w";
          row.append(element("td", content, attributes));
        });
        return row;
      });
      body.replaceChildren(...rows);
      const last = Math.max(0, Math.ceil(visible.length / PAGE_ROWS) - 1);
      const turn = (name, to, possible) => {
        const made = element("button", name, { type: "button" });
        made.disabled = !possible;
        made.addEventListener("click", () => {
          page = to;
          draw();
        });
        return made;
      };
      pages.replaceChildren(
        turn("First", 0, page > 0), " ", turn("Previous", page - 1, page > 0),
        ` Page ${(page + 1).toLocaleString("en")} of ${(last + 1).toLocaleString("en")} `,
        turn("Next", page + 1, page < last), " ", turn("Last", last, page < last),
      );
    };
    const narrow = () => {
      visible = wanted.length ? order.filter((at) => wanted.every((has) => has(at))) : order;
      page = 0;
      draw();
    };
    controls(box, {
      sort: (column, descending) => {
        const sign = descending ? -1 : 1;
        const values = Float64Array.from(data.rows, (row) => row[column]);
        if (data.columns[column][1] === "text") {
          places ??= place();
          values.forEach((value, at) => {
            values[at] = places[value];
          });
        }
        order = [...order].sort((x, y) => sign * (values[x] - values[y]) || x - y);
        narrow();
      },
      filter: (those) => {
        wanted = those.map(finder);
        narrow();
        return [visible.length, order.length];
      },
    });
    draw();
  };

  for (const box of document.querySelectorAll(".table")) {
    if (box.classList.contains("lazy")) lazyTable(box);
    else staticTable(box);
  }

  // ---- details: open where one is led to, and on paper ---------------------------------
  const openTarget = () => {
    const at = location.hash.slice(1);
    const target = at && document.getElementById(decodeURIComponent(at));
    if (target && target.tagName === "DETAILS") target.open = true;
  };
  addEventListener("hashchange", openTarget);
  openTarget();
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const one of opened) one.open = true;
  });
  addEventListener("afterprint", () => {
    for (const one of opened) one.open = false;
  });
})();
