"use strict";
// Draws each chart anew, live: the still picture that the page came with stays where this cannot run.
const NARROW = 520;
const narrowed = (specification) => {
  const made = structuredClone(specification);
  made.config.axis.labelLimit = 120;
  made.config.axis.labelFontSize = 11;
  made.config.legend.columns = 2;
  if (made.layer) made.layer = made.layer.filter((each) => each.mark.type !== "text");
  return made;
};
const draw = async (place) => {
  const specification = JSON.parse(document.getElementById(`${place.id}-data`).textContent);
  const made = place.clientWidth < NARROW ? narrowed(specification) : specification;
  const live = document.createElement("div");
  live.style.width = "100%";
  live.style.position = "absolute";
  live.style.visibility = "hidden";
  place.append(live);
  await vegaEmbed(live, { ...made, width: "container" }, { actions: false, renderer: "svg", tooltip: { theme: "dark" } });
  live.style.position = "";
  live.style.visibility = "";
  place.replaceChildren(live);
  place.dataset.live = "yes";
};
for (const place of document.querySelectorAll(".chart")) draw(place).catch((error) => console.error(error));
