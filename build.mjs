// Bundles the agent and the CLI into dist/. The CLI is split from the agent so that `weft status` does not
// load libp2p; native addons stay outside the bundle because they find their binaries relative to themselves.
import { chmodSync, readFileSync, rmSync } from 'node:fs';
import { build } from 'esbuild';

const { version } = JSON.parse(readFileSync(new URL('./package.json', import.meta.url), 'utf8'));

rmSync('dist', { recursive: true, force: true });
await build({
  entryPoints: { weft: 'agent/main.ts' },
  outdir: 'dist',
  bundle: true,
  splitting: true,
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
});
chmodSync('dist/weft.js', 0o755);
