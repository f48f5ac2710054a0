"use strict";
for (const stage of document.querySelectorAll(".stage")) {
  const slider = stage.querySelector("input");
  const move = () => {
    stage.style.setProperty("--cut", slider.value + "%");
    slider.setAttribute("aria-valuetext", slider.value + " % scene, " + (100 - slider.value) + " % map");
  };
  slider.addEventListener("input", move);
  stage.classList.add("on");
  move();
}
