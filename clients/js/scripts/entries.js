// The entry points, by the name in `exports` and the folder in `src`, and what each may weigh in bytes of gzip: the core
// whole, the others without the core. What is loaded only when it is needed, by `import()`, is counted by itself.
export const entries = [
  { name: ".", folder: "core", gzip_max: 6 * 1024, later_gzip_max: 2.5 * 1024 },
  { name: "./react", folder: "react", gzip_max: 2 * 1024 },
  { name: "./queue", folder: "queue", gzip_max: 2 * 1024 },
  { name: "./bridge", folder: "bridge", gzip_max: 2 * 1024 },
  { name: "./wse", folder: "wse", gzip_max: 15 * 1024, later_gzip_max: 5 * 1024 },
];
