/** The words of the canvas. */
export const canvasStrings = {
  stage: "Canvas",
  stageHelp:
    "Plus and minus zoom, 0 shows everything, the arrow keys move. In the relief they turn it. With a brush, arrow keys move the brush, Enter paints, and the brackets change its size.",
  views: { photo: "Photo", depth: "Depth", relief: "Relief", result: "Result" },
  divider: "Slider between the two pictures",
  noWebGL: "Your browser cannot draw depth here, because WebGL 2 is switched off or missing.",
  histogram: "Levels",
  near: "Near",
  far: "Far",
  gamma: "Gamma",
  invert: "Invert",
  nearHelp:
    "What is nearer than this becomes white. A percentile: 98 makes the nearest 2 % of the picture white.",
  farHelp:
    "What is farther than this becomes black. A percentile: 2 makes the farthest 2 % of the picture black.",
  gammaHelp: "Above 1 gives distant areas more contrast, below 1 near areas.",
  levelsMeet: "Near and far are the same depth here; move them apart.",
  reset: "Reset levels",
  brushes: "Brush",
  tools: { move: "Move", raise: "Nearer", lower: "Farther", smooth: "Smooth", set: "Set" },
  toolHelp: {
    move: "Move and zoom the picture",
    raise: "Bring nearer",
    lower: "Push farther",
    smooth: "Even out",
    set: "Paint one depth; Alt-click the picture to pick it",
  },
  maskBrushes: "Brush for what may change",
  maskTools: { free: "Change", keep: "Keep" },
  maskToolHelp: { free: "This may change", keep: "This stays as it is" },
  size: "Size",
  hardness: "Hardness",
  strength: "Strength",
  depthValue: "Depth",
  undo: "Undo",
  redo: "Redo",
};
