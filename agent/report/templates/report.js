"use strict";
const root = document.documentElement;
addEventListener("error", (event) => { root.dataset.error = event.message; });
document.addEventListener("securitypolicyviolation", (event) => { root.dataset.error = event.violatedDirective; });

function showShare(range) {
  range.closest(".compare").style.setProperty("--at", range.value + "%");
  range.setAttribute("aria-valuetext", Math.round(range.value) + " % before");
}

function setUp(scope) {
  for (const range of scope.querySelectorAll(".compare input")) {
    range.hidden = false;
    range.addEventListener("input", () => showShare(range));
    showShare(range);
  }
  for (const shot of scope.querySelectorAll(".shot")) {
    shot.addEventListener("click", () => {
      shots = [...shot.closest("article").querySelectorAll(".shot")];
      show(shots.indexOf(shot));
      viewer.showModal();
      viewer.querySelector("input").focus();
    });
  }
}

const viewer = document.getElementById("viewer");
const [previous, next, close] = viewer.querySelectorAll("button");
let shots = [];
let shown = 0;

function show(index) {
  shown = (index + shots.length) % shots.length;
  const shot = shots[shown];
  const step = shot.closest("article");
  const expert = shot.closest(".card").querySelector("h4").textContent;
  const input = document.getElementById(step.dataset.before);
  const [before, after] = viewer.querySelectorAll("img");
  const range = viewer.querySelector("input");
  document.getElementById("viewer-title").textContent = step.querySelector("h3").textContent + ": " + expert;
  const [from, to] = viewer.querySelectorAll("figcaption");
  from.textContent = before.alt = step.dataset.from ?? "Input of the step";
  to.textContent = expert;
  if (input) before.src = input.src; else before.removeAttribute("src");
  after.src = shot.querySelector("img").src;
  after.alt = expert;
  viewer.querySelector(".compare").style.setProperty("--ratio", shot.style.getPropertyValue("--ratio"));
  range.value = 50;
  showShare(range);
}

setUp(document);
previous.addEventListener("click", () => show(shown - 1));
next.addEventListener("click", () => show(shown + 1));
close.addEventListener("click", () => viewer.close());
viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
viewer.addEventListener("close", () => shots[shown].focus());
root.dataset.ready = "1";
