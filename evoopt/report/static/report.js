"use strict";
(() => {
  const root = document.documentElement;
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const data = JSON.parse(document.getElementById("data").textContent);
  const plots = [];

  const number = (value) => {
    if (value == null) return "–";
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e6)) return Number(value.toPrecision(3)).toExponential();
    return String(Number(value.toPrecision(4)));
  };
  const shown = (panel) => (value) =>
    value == null ? "–" : panel.percent ? number(100 * value) + " %" : number(value);

  const fromZero = (u, low, high) => [0, Math.min(1.02, Math.max(0.02, 1.08 * (high ?? 0)))];
  // A logarithmic axis from one round number to another, 0.2 to 3 and not to 10.
  const round = (value, up) => {
    const power = 10 ** Math.floor(Math.log10(value) + 1e-12);
    return power * (up ? Math.ceil(value / power - 1e-9) : Math.floor(value / power + 1e-9));
  };
  const tight = (u, low, high) => (low == null ? [0.1, 1] : low === high ? [low / 2, high * 2] : [round(low, false), round(high, true)]);
  const gridLines = (u, places) => {
    const wide = u.scales.y.max / u.scales.y.min > 200;
    return places.map((y) => {
      const digit = Math.round(y / 10 ** Math.floor(Math.log10(y) + 1e-9));
      return digit === 1 || (!wide && (digit === 2 || digit === 5)) ? y : null;
    });
  };

  // Panels as charts. A band is two more series, which the legend does not list and which follow their line.
  const options = (panel, width, height, readout) => {
    const text = shown(panel);
    const series = [{ label: panel.xLabel, value: (u, x) => (x == null ? "–" : number(x)) }];
    const columns = [panel.x];
    const bands = [];
    const edges = new Map();
    const names = ["--soft"];
    let plain = 0;
    for (const own of panel.series) {
      const reference = own.role === "reference";
      const name = reference ? "--reference" : "--c" + (plain++ % 8);
      const index = series.length;
      const show = own.role !== "extra";
      const points = own.role === "points";
      columns.push(own.y);
      names[index] = name;
      series.push({
        label: own.label,
        show,
        stroke: () => colour(name),
        width: 2,
        dash: reference ? [5, 4] : undefined,
        spanGaps: false,
        paths: points ? () => null : undefined,
        points: { show: points || panel.x.length < 2 ? true : undefined, size: points ? 9 : 5, fill: points ? () => colour(name) : undefined },
        value: (u, y, s, at) => {
          if (at == null || y == null) return "–";
          return own.low ? `${text(y)} (${text(own.low[at])} to ${text(own.high[at])})` : text(y);
        },
      });
      if (!own.low) continue;
      for (const edge of [own.high, own.low]) {
        columns.push(edge);
        series.push({ label: own.label, show, stroke: "transparent", width: 0, points: { show: false }, class: "edge-of-band" });
      }
      bands.push({ series: [index + 1, index + 2], fill: () => colour(name) + "2e" });
      edges.set(index, [index + 1, index + 2]);
    }
    const axis = (more) => ({
      stroke: () => colour("--soft"),
      grid: { stroke: () => colour("--grid"), width: 1 },
      ticks: { stroke: () => colour("--grid"), width: 1, size: 4 },
      font: "12px system-ui, sans-serif",
      labelFont: "12px system-ui, sans-serif",
      ...more,
    });
    const whole = panel.x.every(Number.isInteger);
    return [
      {
        width,
        height,
        scales: { x: { time: false, range: panel.x.length < 2 ? [panel.x[0] - 1, panel.x[0] + 1] : undefined },
                  y: { distr: panel.log ? 3 : 1, range: panel.log ? tight : panel.percent ? fromZero : undefined } },
        series,
        bands,
        axes: [
          axis({ label: readout ? undefined : panel.xLabel, labelSize: 18, size: 30, incrs: whole ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5] : undefined,
                 values: (u, ticks) => ticks.map(number) }),
          axis({ label: readout ? undefined : panel.yLabel || undefined, labelSize: 18, size: readout ? 48 : 56,
                 ...(panel.log ? { filter: gridLines, grid: { stroke: () => colour("--grid"), width: 1, filter: gridLines } } : {}),
                 values: (u, ticks) => ticks.map((y) => (y == null ? "" : text(y))) }),
        ],
        cursor: { points: { size: 7 }, drag: { x: true, y: false } },
        legend: { show: !readout, markers: { width: 0, fill: (u, k) => `var(${names[k]})` } },
        hooks: {
          setCursor: [(u) => {
            if (!readout) return;
            const at = u.cursor.idx;
            const said = series.map((own, k) => (k && names[k] ? own.value(u, columns[k][at], k, at) : null)).filter(Boolean);
            readout.textContent = at == null ? "" : `${number(panel.x[at])}: ${said.reverse().join(" · ")}`;
          }],
          setSeries: [(u, index, change) => {
            if (index == null || change.show == null) return;
            for (const edge of edges.get(index) || []) u.setSeries(edge, { show: change.show }, false);
          }],
        },
      },
      columns,
    ];
  };

  const draw = (holder) => {
    const panels = data[holder.dataset.figure];
    const many = panels.length > 4;
    for (const panel of panels) {
      const box = holder.appendChild(document.createElement("div"));
      box.className = "panel";
      if (panel.title) box.appendChild(document.createElement("h4")).textContent = panel.title;
      // Many small panels tell their values in a line of fixed height instead of a legend each.
      const readout = many ? box.appendChild(document.createElement("p")) : null;
      if (readout) readout.className = "readout";
      const place = box.appendChild(document.createElement("div"));
      const height = many ? 170 : panels.length > 1 ? 240 : 280;
      const [settings, columns] = options(panel, Math.max(200, box.clientWidth), height, readout);
      const plot = new uPlot(settings, columns, place);
      plots.push(plot);
      new ResizeObserver(() => {
        const width = Math.floor(box.clientWidth);
        if (width > 0 && width !== plot.width) plot.setSize({ width, height });
      }).observe(box);
    }
  };

  // Drawn when they come near the window, so that a page of fifty charts opens at once.
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      near.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "600px" });
  document.querySelectorAll(".lines").forEach((holder) => near.observe(holder));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach((plot) => plot.redraw()));
  addEventListener("beforeprint", () => {
    document.querySelectorAll(".lines:empty").forEach((holder) => { near.unobserve(holder); draw(holder); });
  });

  // Tables.
  document.querySelectorAll("table.sortable").forEach((table) => {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
      const numeric = head.classList.contains("number");
      const before = head.getAttribute("aria-sort");
      const down = before ? before === "ascending" : numeric;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => {
        const cell = row.cells[column];
        return numeric ? (cell.dataset.order == null ? null : Number(cell.dataset.order)) : cell.textContent;
      };
      const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
      rows.sort(([a], [b]) => {
        if (a == null || b == null) return (a == null) - (b == null);
        return (down ? -1 : 1) * (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
      });
      table.tBodies[0].append(...rows.map(([, row]) => row));
    }));
  });

  // What a mark stands for, on hover, tap or focus.
  const tip = document.body.appendChild(document.createElement("div"));
  tip.className = "tip";
  tip.hidden = true;
  const tell = (mark, x, y) => {
    tip.textContent = mark.dataset.tip;
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(x + 12, innerWidth - width - 4)) + "px";
    tip.style.top = (y + 16 + height > innerHeight ? y - height - 10 : y + 16) + "px";
  };
  document.addEventListener("pointerover", (event) => {
    const mark = event.target.closest("[data-tip]");
    if (mark) tell(mark, event.clientX, event.clientY);
    else tip.hidden = true;
  });
  document.addEventListener("focusin", (event) => {
    const mark = event.target.closest("[data-tip]");
    if (!mark || !mark.matches(":focus-visible")) return;
    const { right, bottom } = mark.getBoundingClientRect();
    tell(mark, right, bottom);
  });
  document.addEventListener("focusout", () => { tip.hidden = true; });

  document.querySelectorAll(".copy").forEach((button) => button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }));
})();
