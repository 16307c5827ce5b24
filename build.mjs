// Bundles the agent, the CLI and the CNI plugin into dist/. The CLI is split from the agent so that `weft status` does not
// load libp2p, and the plugin is a file of its own, read in one go; native addons stay outside the bundles because they find
// their binaries relative to themselves.
import { chmodSync, readFileSync, rmSync } from 'node:fs';
import { build } from 'esbuild';

const { version } = JSON.parse(readFileSync(new URL('./package.json', import.meta.url), 'utf8'));

rmSync('dist', { recursive: true, force: true });
const common = {
  outdir: 'dist',
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20.19',
  sourcemap: true,
  external: ['koffi', 'lmdb', 'msgpackr-extract', 'raw-socket'],
  define: { WEFT_VERSION: JSON.stringify(version) },
  // CommonJS dependencies inside an ES module bundle still call require().
  banner: {
    js: "import { createRequire as __weftCreateRequire } from 'node:module'; const require = __weftCreateRequire(import.meta.url);",
  },
  logLevel: 'warning',
};
await build({ ...common, entryPoints: { weft: 'agent/main.ts' }, splitting: true });
await build({ ...common, entryPoints: { 'weft-cni': 'agent/cni/main.ts' } });
for (const program of ['weft', 'weft-cni']) chmodSync(`dist/${program}.js`, 0o755);
