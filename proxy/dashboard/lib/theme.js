// Runs before the first paint, so that a page in the dark does not flash white. A plain script:
// modules wait for the document.
(() => {
  const kept = localStorage.getItem("turnout.theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
})();
