// Builds the page in page/, or its tests in build/tests/ with --tests.
import { cp, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { build } from "esbuild";

const RUNTIME = "node_modules/onnxruntime-web/dist";
const common = {
  bundle: true,
  format: "esm",
  target: "es2022",
  logLevel: "warning",
  conditions: ["onnxruntime-web-use-extern-wasm"],
};

async function buildPage() {
  for (const name of await readdir("page")) {
    if (name !== ".gitignore") await rm(`page/${name}`, { recursive: true });
  }
  await build({
    ...common,
    entryPoints: { page: "src/page.ts", worker: "src/worker.ts" },
    outdir: "page",
    splitting: true,
    chunkNames: "[name]-[hash]",
    minify: true,
    legalComments: "linked",
  });
  await build({ entryPoints: ["src/page.css"], outdir: "page", bundle: true, minify: true, logLevel: "warning" });
  for (const name of ["index.html", "icon.svg", "sample.jpg"]) await cp(`src/${name}`, `page/${name}`);
  await mkdir("page/runtime");
  await cp("src/onnxruntime-license.txt", "page/runtime/LICENSE.txt");
  for (const kind of ["", ".asyncify"]) {
    for (const ending of ["mjs", "wasm"]) {
      const name = `ort-wasm-simd-threaded${kind}.${ending}`;
      await cp(`${RUNTIME}/${name}`, `page/runtime/${name}`);
    }
  }
}

async function buildTests() {
  await rm("build/tests", { recursive: true, force: true });
  const tests = (await readdir("test")).filter((name) => name.endsWith(".test.ts")).map((name) => `test/${name}`);
  await build({
    ...common,
    entryPoints: tests,
    outdir: "build/tests",
    outExtension: { ".js": ".mjs" },
    platform: "node",
    external: ["onnxruntime-web", "onnxruntime-web/*"],
  });
  await writeFile("build/tests/package.json", '{ "type": "module" }\n');
}

await (process.argv.includes("--tests") ? buildTests() : buildPage());
