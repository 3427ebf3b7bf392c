// The entry points, by the name in `exports` and the folder in `src`, and what each may weigh in bytes of gzip: the core
// whole, the others without the core.
export const entries = [
  { name: ".", folder: "core", gzip_max: 6 * 1024 },
  { name: "./wse", folder: "wse", gzip_max: 15 * 1024 },
];
