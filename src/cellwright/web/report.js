// The report is whole without this, which only shows in the list of screens where one is.
const links = [...document.querySelectorAll(".screens a")];
const parts = links.map((link) => document.querySelector(link.hash));
const show = () => {
  const above = parts.filter((part) => part.getBoundingClientRect().top < innerHeight / 3);
  const end = scrollY + innerHeight >= document.documentElement.scrollHeight - 2;
  const at = end && scrollY > 0 ? parts.length - 1 : Math.max(0, above.length - 1);
  for (const [k, link] of links.entries()) {
    if (k !== at) link.removeAttribute("aria-current");
    else if (!link.hasAttribute("aria-current")) {
      link.setAttribute("aria-current", "true");
      link.closest("ol").scrollTo({ left: link.offsetLeft - 48 });
    }
  }
};
addEventListener("scroll", show, { passive: true });
addEventListener("resize", show);
show();
document.documentElement.dataset.ready = "true";
