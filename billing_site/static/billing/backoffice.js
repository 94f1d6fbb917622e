/* Keyboard (/ j k enter ?), times in the reader's zone, rows that open in place, tables that stack where they do not fit.
   No dependency. */
(function () {
  "use strict";
  var current = null;

  function rows() {
    return Array.prototype.filter.call(
      document.querySelectorAll("#result_list tr.data-row, .bo-table[data-list] tbody tr:not(.bo-detail)"),
      function (row) { return row.offsetParent !== null || row.getClientRects().length; }
    );
  }
  function search() {
    return document.querySelector("#bo-search, #searchbar, #main input[type=search], #main input[name=q]");
  }
  function move(step) {
    var list = rows();
    if (!list.length) { return; }
    var index = current ? list.indexOf(current) : -1;
    index = index < 0 ? (step > 0 ? 0 : list.length - 1) : Math.max(0, Math.min(list.length - 1, index + step));
    if (current) { current.classList.remove("bo-current"); current.removeAttribute("aria-current"); }
    current = list[index];
    current.classList.add("bo-current");
    current.setAttribute("aria-current", "true");
    current.scrollIntoView({ block: "nearest" });
  }
  function open() {
    var door = current && (current.querySelector(".bo-toggle") || current.querySelector("th a, td a"));
    if (door) { door.click(); }
  }
  function help() {
    var dialog = document.getElementById("bo-keys");
    if (!dialog) {
      dialog = document.createElement("dialog");
      dialog.id = "bo-keys";
      dialog.className = "bo-keys";
      dialog.setAttribute("aria-label", "Keyboard");
      dialog.innerHTML =
        "<h2 class='bo-h1'>Keyboard</h2><dl><dt><kbd>/</kbd></dt><dd>Search</dd>" +
        "<dt><kbd>j</kbd> <kbd>k</kbd></dt><dd>Next and previous row</dd>" +
        "<dt><kbd>enter</kbd></dt><dd>Open the row</dd>" +
        "<dt><kbd>?</kbd></dt><dd>This list</dd></dl>" +
        "<form method='dialog'><button class='bo-button'>Close</button></form>";
      document.body.appendChild(dialog);
    }
    if (dialog.open) { dialog.close(); } else { dialog.showModal(); }
  }
  document.addEventListener("keydown", function (event) {
    var target = event.target;
    var typing = target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
    if (event.ctrlKey || event.metaKey || event.altKey) { return; }
    if (typing) { if (event.key === "Escape") { target.blur(); } return; }
    if (event.key === "/") { var box = search(); if (box) { event.preventDefault(); box.focus(); box.select(); } }
    else if (event.key === "j") { move(1); }
    else if (event.key === "k") { move(-1); }
    else if (event.key === "?") { help(); }
    else if (event.key === "Enter" && current && target === document.body) { open(); }
  });

  var format = null;
  function localise(root) {
    format = format || new Intl.DateTimeFormat("en-GB", {
      year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZoneName: "short"
    });
    root.querySelectorAll("time[datetime]:not([data-local])").forEach(function (time) {
      var part = {};
      format.formatToParts(new Date(time.dateTime)).forEach(function (piece) { part[piece.type] = piece.value; });
      time.textContent = part.year + "-" + part.month + "-" + part.day + " " + part.hour + ":" + part.minute + " " + part.timeZoneName;
      time.dataset.local = "yes";
    });
  }

  /* A table that is wider than its place would cut its last column, which is the money: its rows become lists. */
  function label(table) {
    var titles = Array.prototype.map.call(table.tHead ? table.tHead.rows[0].cells : [], function (cell) { return cell.textContent.trim(); });
    Array.prototype.forEach.call(table.rows, function (row) {
      if (row.parentElement === table.tHead) { return; }
      Array.prototype.forEach.call(row.cells, function (cell, index) {
        if (index && cell.colSpan === 1 && titles[index]) { cell.dataset.label = titles[index]; }
        if (!cell.textContent.trim() && !cell.querySelector("input, select, textarea, button, img")) { cell.dataset.empty = "yes"; }
      });
    });
  }
  function fit(place) {
    if (!place.clientWidth || place.dataset.width === String(place.clientWidth)) { return; }
    place.dataset.width = place.clientWidth;
    place.querySelectorAll(":scope > table").forEach(function (table) {
      var wide = function () { return table.offsetWidth > place.clientWidth + 1; };
      table.classList.remove("bo-stacked", "bo-tight");
      if (wide()) { table.classList.add("bo-tight"); }
      if (wide()) { table.classList.replace("bo-tight", "bo-stacked"); }
    });
  }
  var places = new ResizeObserver(function (entries) { entries.forEach(function (entry) { fit(entry.target); }); });
  function name(cell) {
    var text = cell.querySelector("input.action-select") ? "Select" : cell.dataset.label.trim();
    cell.dataset.label = text.charAt(0).toUpperCase() + text.slice(1);
  }
  function watch(root) {
    root.querySelectorAll("#result_list [data-label]").forEach(name);
    root.querySelectorAll(".bo-scroll").forEach(function (place) {
      place.querySelectorAll("table").forEach(label);
      places.observe(place);
    });
  }
  document.addEventListener("click", function (event) {
    var toggle = event.target.closest(".bo-toggle");
    if (!toggle) { return; }
    var detail = document.getElementById(toggle.getAttribute("aria-controls"));
    detail.hidden = !detail.hidden;
    toggle.setAttribute("aria-expanded", String(!detail.hidden));
    var place = toggle.closest(".bo-scroll");
    if (place) { delete place.dataset.width; fit(place); }
  });
  /* One more row of a form whose rows are alike: the next that is hidden, else a copy of the last one, empty. */
  document.addEventListener("click", function (event) {
    var more = event.target.closest("[data-another-row]");
    if (!more) { return; }
    var before = more.parentElement.previousElementSibling;
    var body = (before.tBodies ? before : before.querySelector("table")).tBodies[0];
    var row = body.querySelector("tr[hidden]");
    if (row) {
      row.hidden = false;
      more.hidden = !body.querySelector("tr[hidden]");
    } else {
      row = body.rows[body.rows.length - 1].cloneNode(true);
      row.querySelectorAll("input, select").forEach(function (field) { field.value = ""; field.removeAttribute("id"); });
      body.appendChild(row);
    }
    row.querySelector("input, select").focus();
  });
  /* The public holidays of a country are added to those that a policy has; its weekend takes the place of the one that was chosen. */
  document.addEventListener("click", function (event) {
    var button = event.target.closest("[data-holidays] button");
    if (!button) { return; }
    var place = button.parentElement, terms = place.closest(".bo-terms"), told = place.querySelector("[role=status]");
    var of = place.querySelector("input").value.trim().toUpperCase(), field = terms.querySelector("[name$=-holidays]");
    fetch(place.dataset.holidays + "?place=" + encodeURIComponent(of)).then(function (answer) { return answer.json(); }).then(function (found) {
      if (found.problem) { told.textContent = found.problem; return; }
      var had = field.value.split(",").map(function (day) { return day.trim(); }).filter(Boolean);
      var added = found.holidays.filter(function (day) { return !had.includes(day); });
      field.value = had.concat(added).sort().join(", ");
      terms.querySelectorAll("[name$=-weekend]").forEach(function (day) { day.checked = found.weekend.includes(Number(day.value)); });
      terms.querySelector("[name$=-business_days]").checked = true;
      told.textContent = added.length + " holidays of " + of + " added, and its weekend chosen. Look at them before you publish.";
    }).catch(function () { told.textContent = "They could not be read: try again, or write the days yourself."; });
  });
  /* What instalments come to, against what they have to, while they are typed; in whole minor units, as money is. */
  function minor(text, places) {
    var parts = text.replace(/[,\s]/g, "").match(/^(\d+)(?:\.(\d*))?$/);
    if (!parts || (parts[2] || "").length > places) { return null; }
    return Number(parts[1] + (parts[2] || "").padEnd(places, "0"));
  }
  function major(amount, places) {
    var digits = String(amount).padStart(places + 1, "0"), cut = digits.length - places;
    return digits.slice(0, cut).replace(/\B(?=(\d{3})+$)/g, ",") + (places ? "." + digits.slice(cut) : "");
  }
  function add(place) {
    var told = place.querySelector("[data-sum]"), places = (place.dataset.comesTo.split(".")[1] || "").length;
    var amounts = Array.prototype.filter.call(place.querySelectorAll("[name$=-amount]"), function (field) { return field.value.trim(); });
    var read = amounts.map(function (field) { return minor(field.value, places); });
    told.hidden = !read.length || read.includes(null);
    if (told.hidden) { return; }
    var sum = read.reduce(function (one, other) { return one + other; }), rest = minor(place.dataset.comesTo, places) - sum;
    told.textContent = "They come to " + major(sum, places) + (rest ? ": " + major(Math.abs(rest), places) + (rest > 0 ? " is missing." : " too much.") : ", what is late.");
  }
  document.addEventListener("input", function (event) {
    var place = event.target.closest("[data-comes-to]");
    if (place) { add(place); }
  });
  /* Groups of the sidebar that were opened or folded by hand stay so from page to page; that of the page is always open. */
  function menu() {
    var kept = {};
    try { kept = JSON.parse(localStorage.getItem("bo-menu") || "{}") || {}; } catch (refused) { kept = {}; }
    Array.prototype.forEach.call(document.querySelectorAll(".bo-menu details[data-menu]"), function (group) {
      var name = group.dataset.menu;
      if (name in kept && !group.querySelector(".active")) { group.open = kept[name]; }
      group.firstElementChild.addEventListener("click", function () {
        kept[name] = !group.open;
        try { localStorage.setItem("bo-menu", JSON.stringify(kept)); } catch (refused) { /* Then it is not kept. */ }
      });
    });
  }
  /* The sidebar has many links: the first stop of the tab key leads past them. */
  function skip() {
    var main = document.getElementById("main");
    if (!main) { return; }
    var door = document.createElement("a");
    door.className = "bo-skip";
    door.href = "#main";
    door.textContent = "Skip to content";
    main.tabIndex = -1;
    document.body.insertBefore(door, document.body.firstChild);
  }
  document.addEventListener("DOMContentLoaded", function () { skip(); menu(); localise(document); watch(document); });
  document.addEventListener("htmx:afterSwap", function (event) { localise(event.target); watch(event.target); });
})();
