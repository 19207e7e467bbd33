/* Make each slide fit, then show the first. Nothing here uses a network. */
"use strict";

// In pixels on a slide of 1280 x 720: where sizes begin, and below which nothing may go.
const TEXT = {result: 30, predict: 34, claim: 34, title: 34, other: 40, smallest: 24};
const DATA = {few: 38, many: 28, large: 24, cut: 22, smallest: 18};
// A table or a printout of so few lines begins larger.
const FEW_LINES = 8;

window.MathJax = {
    startup: {typeset: false},
    options: {enableMenu: false},
    svg: {fontCache: "none"},
    tex: {inlineMath: [["\\(", "\\)"]], displayMath: [["\\[", "\\]"]]},
};

function fits(body) {
    return body.scrollHeight <= body.clientHeight + 1 && body.scrollWidth <= body.clientWidth + 1;
}

// Make a kind of text smaller until the slide fits; return whether it does.
function shrink(body, name, from, to) {
    for (let size = from; size >= to; size -= 1) {
        body.style.setProperty(name, `${size}px`);
        if (fits(body)) return true;
    }
    return false;
}

const isTable = part => part.tagName === "TABLE";
const shownOf = part => isTable(part) ? part.tBodies[0].rows.length : part.textContent.split("\n").length;
const allOf = part => Number((isTable(part) ? part.dataset.rows : part.dataset.lines) ?? shownOf(part));

// A slide that does not show all, or shows it small, says so at its foot.
function tell(body, words) {
    const note = body.parentElement.querySelector(".cut") ?? document.createElement("p");
    note.className = "cut";
    note.textContent = words;
    body.after(note);
}

// Take things from the end until the slide fits; return how many are left.
function cutUntilItFits(body, things) {
    while (things.length > 1 && !fits(body)) things.pop().remove();
    return things.length;
}

// A single line or sentence may be longer than a slide.
function shorten(body, part) {
    while (!fits(body) && part.textContent.length > 1)
        part.textContent = `${part.textContent.slice(0, -Math.ceil(part.textContent.length / 10) - 1)}…`;
}

// Give what is left of a table, as words.
function cutTable(body, table) {
    const rows = [...table.rows];
    const columns = Number(table.dataset.columns ?? 0);
    const isWide = () => body.scrollWidth > body.clientWidth + 1;
    let left = Math.max(...rows.map(row => row.cells.length));
    while (left > 2 && isWide()) {
        rows.forEach(row => { if (row.cells.length >= left) row.lastElementChild.remove(); });
        left -= 1;
    }
    if (isWide()) table.classList.add("squeezed");
    const kept = cutUntilItFits(body, [...table.tBodies[0].rows]);
    return [
        ...(columns > left ? [`the first ${left} of ${columns} columns`] : []),
        ...(kept < allOf(table) ? [`the first ${kept} of ${allOf(table)} rows`] : []),
    ];
}

// Give what is left of printed text, as words.
function cutText(body, pre) {
    const lines = pre.textContent.split("\n");
    while (lines.length > 1 && !fits(body)) {
        lines.pop();
        pre.textContent = lines.join("\n");
    }
    if (lines.length < allOf(pre)) return [`the first ${lines.length} of ${allOf(pre)} lines`];
    if (fits(body)) return [];
    shorten(body, pre);
    return ["the beginning of a long line"];
}

function cutData(body, parts) {
    removeWords(body);
    // Not all of it can be shown, so what is shown can be read.
    body.style.setProperty("--data", `${DATA.cut}px`);
    const said = [...parts].reverse().flatMap(part => (isTable(part) ? cutTable : cutText)(body, part));
    if (said.length) tell(body, `Only ${said.join(", ")}. All of it is in the lesson.`);
}

// Words that do not fit are in the notes, in full.
function cutWords(body) {
    const words = [...body.querySelectorAll(":scope > p, :scope > div, :scope > ul > li, :scope > ol > li")];
    cutUntilItFits(body, words);
    if (words.length) shorten(body, words.at(-1));
    tell(body, "There is more in the notes (S).");
}

function fit(body) {
    const kind = body.parentElement.classList[1];
    const text = TEXT[kind] ?? TEXT.other;
    const data = [...body.querySelectorAll(".data")];
    const start = data.every(part => allOf(part) <= FEW_LINES) ? DATA.few : DATA.many;
    if (data.some(part => shownOf(part) < allOf(part))) {
        cutData(body, data);
        return;
    }
    body.style.setProperty("--text", `${text}px`);
    // No line, cell or word is broken while that can be helped.
    for (const kind of data.length ? ["unbroken", "", "broken"] : []) {
        body.className = `body ${kind}`;
        if (shrink(body, "--data", start, DATA.large)) return;
    }
    if (shrink(body, "--text", text, TEXT.smallest)) return;
    if (data.length) {
        // Where the output needs the room, the words before and behind it give way: they are in the notes.
        removeWords(body);
        if (shrink(body, "--data", start, DATA.large)) return;
        tell(body, "Made smaller to fit. The lesson has it in full size.");
        if (shrink(body, "--data", DATA.large, DATA.smallest)) return;
        cutData(body, data);
    }
    if (!fits(body)) cutWords(body);
}

function removeWords(body) {
    if (body.parentElement.classList.contains("result"))
        body.querySelectorAll(":scope > p, :scope > .lead").forEach(words => words.remove());
}

// The window with the notes has no styles of MathJax; browsers draw MathML themselves.
function formulasOfNotes() {
    for (const formula of document.querySelectorAll("aside.notes mjx-container"))
        formula.replaceWith(formula.querySelector("math"));
}

function toggleCode() {
    const code = Reveal.getCurrentSlide().querySelector(".code");
    if (code) code.open = !code.open;
}

async function startDeck() {
    await Promise.allSettled([...document.fonts].map(font => font.load()));
    if (window.MathJax.typesetPromise) {
        await window.MathJax.startup.promise;
        await window.MathJax.typesetPromise();
        formulasOfNotes();
    }
    document.querySelectorAll(".frame .body").forEach(fit);
    document.body.classList.remove("measuring");
    await Reveal.initialize({
        width: 1280, height: 720, margin: 0, center: false, hash: true, navigationMode: "linear", controls: false,
        slideNumber: "c/t", transition: "none", backgroundTransition: "none", pdfSeparateFragments: false,
        plugins: [RevealNotes],
    });
    Reveal.addKeyBinding({keyCode: 67, key: "C", description: "The code behind a result"}, toggleCode);
    Reveal.on("slidechanged", event => event.previousSlide?.querySelector(".code")?.removeAttribute("open"));
    document.body.dataset.ready = "yes";
}
