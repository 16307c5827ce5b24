import { simulate } from './run.ts';

// For a run in the process that loads the bundle (bundle.ts).
export { simulate };

// A process that runs the seeds it is told, one after the other. Its parent is workers.ts.

process.on('message', (seed: string) => {
  simulate(seed).then(
    (outcome) => process.send?.(outcome),
    (error: unknown) => process.send?.({ error: error instanceof Error ? error.stack : String(error) }),
  );
});
// Without its parent there is nobody to tell.
process.on('disconnect', () => process.exit());
